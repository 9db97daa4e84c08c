//! One file per verb: its arguments, what it asks of the engine, and how it shows the answer.

use crate::args::{Command, Format};
use crate::exit::{self, Exit};
use crate::invocation::{self, Invocation};
use crate::problem::Usage;
use anyhow::Result;

pub(crate) mod audit;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod copy;
pub(crate) mod deliver;
pub(crate) mod discover;
pub(crate) mod doctor;
pub(crate) mod gc;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod man;
pub(crate) mod mount;
pub(crate) mod nodes;
pub(crate) mod package;
pub(crate) mod pin;
pub(crate) mod preheat;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod ready;
pub(crate) mod remove;
pub(crate) mod render;
pub(crate) mod serve;
pub(crate) mod stats;
pub(crate) mod tag;
pub(crate) mod unmount;
pub(crate) mod unpack;
pub(crate) mod values_images;
pub(crate) mod verify;

/// Runs one verb.
pub(crate) fn run(command: Command, invocation: &Invocation) -> Result<Exit> {
    let is_own = match (&invocation.global.output, &command) {
        (Format::Text | Format::Json, _) | (Format::File(_), Command::Lock(_)) => true,
        (_, command) => matches!(command, Command::Discover(_)),
    };
    if !is_own {
        return Err(Usage::new("this verb prints text or json").hint("--output json").into());
    }
    match command {
        Command::Pull(args) => pull::run(&args, invocation),
        Command::Push(args) => push::run(&args, invocation),
        Command::Copy(args) => copy::run(&args, invocation),
        Command::List(args) => list::run(&args, invocation),
        Command::Inspect(args) => inspect::run(&args, invocation),
        Command::Tag(args) => tag::run(&args, invocation),
        Command::Remove(args) => remove::run(&args, invocation),
        Command::Pin(args) => pin::run(&args.references, true, invocation),
        Command::Unpin(args) => pin::run(&args.references, false, invocation),
        Command::Mount(args) => mount::run(&args, invocation),
        Command::Unmount(args) => unmount::run(&args, invocation),
        Command::Unpack(args) => unpack::run(&args, invocation),
        Command::Login(args) => login::run(&args, invocation),
        Command::Logout(args) => logout::run(&args, invocation),
        Command::Stats(_) => stats::run(invocation),
        Command::Gc(args) => gc::run(&args, invocation),
        Command::Prune(args) => prune::run(&args, invocation),
        Command::Verify(args) => verify::run(&args, invocation),
        Command::Discover(args) => discover::run(&args, invocation),
        Command::Lock(args) => lock::run(&args, invocation),
        Command::Ready(args) => ready::run(&args, invocation),
        Command::Render(args) => render::run(&args, invocation),
        Command::ValuesImages(args) => values_images::run(&args, invocation),
        Command::Nodes(args) => nodes::run(&args, invocation),
        Command::Package(args) => package::run(&args, invocation),
        Command::Deliver(args) => deliver::run(&args, invocation),
        Command::Preheat(args) => preheat::run(&args, invocation),
        Command::Serve(args) => serve::run(&args, invocation),
        Command::Audit(args) => audit::run(&args, invocation),
        Command::Config(args) => config::run(&args, invocation),
        Command::Doctor(_) => doctor::run(invocation),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::ExitCodes => invocation::print((exit::table() + "\n").as_bytes()).map(|()| Exit::Done),
    }
}
