//! One run of the command: what a verb may use, and how its end is told.

use crate::args::{Cli, Format, Global};
use crate::commands;
use crate::exit::Exit;
use crate::problem::{Interrupted, Problem};
use crate::settings::{self, Environment, Settings};
use crate::terminal::{Style, Terminal};
use anyhow::{Context, Result};
use larder_core::Progress;
use larder_engine::Engine;
use serde::Serialize;
use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// What a verb may use.
pub(crate) struct Invocation {
    pub(crate) global: Global,
    pub(crate) environment: Environment,
    pub(crate) terminal: Terminal,
}

/// Most threads that drive transfers; hashing and inflating have threads of their own, and need the processors more.
const WORKERS: usize = 2;
/// How long work that nobody waits for any more may take to notice.
const GRACE: Duration = Duration::from_secs(2);

/// Runs a verb. Whatever happens is told here, once.
pub(crate) fn run(cli: Cli) -> Exit {
    let environment = Environment::read();
    let style = match (cli.global.quiet, std::io::stderr().is_terminal() && environment.has_cursor()) {
        (true, _) => Style::Silent,
        (false, true) => Style::Bars,
        (false, false) => Style::Lines,
    };
    let invocation = Invocation { global: cli.global, environment, terminal: Terminal::new(style) };
    let ended = commands::run(cli.command, &invocation);
    invocation.terminal.finish();
    ended.unwrap_or_else(|error| {
        let problem = Problem::of(&error);
        invocation.terminal.complain(&problem);
        if invocation.global.output == Format::Json {
            tell_in_json(&problem);
        }
        problem.exit
    })
}

/// Tells what is wrong with the command line, or prints the help or the version that was asked for.
pub(crate) fn refuse(error: &clap::Error, arguments: &[OsString]) -> Exit {
    // Nobody is left to tell when this cannot be printed.
    let _ = error.print();
    if error.exit_code() == 0 {
        return Exit::Done;
    }
    if wants_json(arguments) {
        // What is wrong comes first, then an empty line and advice.
        let text = error.render().to_string();
        let message: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let message = message.join(" ");
        tell_in_json(&Problem::new(message.trim_start_matches("error: "), Exit::Usage, Vec::new()));
    }
    Exit::Usage
}

impl Invocation {
    /// The configuration in force.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let settings = Settings::read(&self.environment, &self.global)?;
        for warning in &settings.warnings {
            self.terminal.warn(warning);
        }
        Ok(settings)
    }

    /// The engine over the store.
    pub(crate) fn engine(&self) -> Result<Engine> {
        self.engine_reporting_to(self.terminal.progress())
    }

    /// The engine over the store, for a verb that shows what happens in its own way.
    pub(crate) fn engine_reporting_to(&self, progress: Progress) -> Result<Engine> {
        let config = self.settings()?.config;
        Ok(Engine::open(config, settings::host(&self.environment), progress)?)
    }

    /// The engine over a store that is to be repaired: one whose database cannot be opened gets a new one.
    pub(crate) fn repairing_engine(&self) -> Result<Engine> {
        let config = self.settings()?.config;
        Ok(Engine::open_damaged(config, settings::host(&self.environment), self.terminal.progress())?)
    }

    /// Runs what waits for networks and disks, until it ends or a signal comes. State on disk is whole at any moment, so
    /// a signal needs no cleaning up: what is half done is continued by the next run.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = runtime((processors / 2).clamp(1, WORKERS))?;
        let ended = runtime.block_on(async {
            let mut interrupts = signal(SignalKind::interrupt()).context("cannot watch for signals")?;
            let mut terminations = signal(SignalKind::terminate()).context("cannot watch for signals")?;
            // On a thread of its own: work that blocks does not keep signals waiting.
            let work = tokio::spawn(work);
            tokio::select! {
                ended = work => match ended {
                    Ok(value) => Ok(value),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                _ = interrupts.recv() => Err(Interrupted::ByUser.into()),
                _ = terminations.recv() => Err(Interrupted::ByHost.into()),
            }
        });
        match &ended {
            Ok(_) => runtime.shutdown_timeout(GRACE),
            Err(_) => runtime.shutdown_background(),
        }
        ended
    }

    /// Prints what was asked for.
    pub(crate) fn answer(&self, document: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        match self.global.output {
            Format::Json => print_json(document),
            _ => print(text().as_bytes()),
        }
    }

    /// Prints what was done; with `--quiet` only as JSON.
    pub(crate) fn done(&self, document: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        match (&self.global.output, self.global.quiet) {
            (Format::Json, _) | (_, false) => self.answer(document, text),
            (_, true) => Ok(()),
        }
    }
}

/// Threads for what waits.
pub(crate) fn runtime(workers: usize) -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("larder")
        .enable_all()
        .build()
        .context("cannot start threads")
}

/// Lets this process have as many files and connections open as its host allows.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // With the limit as it was the server takes fewer connections, and says so in its metrics.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Writes to standard output. A reader that has seen enough, like `head`, is no error.
pub(crate) fn print(bytes: &[u8]) -> Result<()> {
    let mut output = std::io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

fn print_json(document: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(document).context("cannot print the result as JSON")?;
    text.push('\n');
    print(text.as_bytes())
}

fn tell_in_json(problem: &Problem) {
    // The exit code tells it too, should standard output be gone.
    let _ = print_json(&std::collections::BTreeMap::from([("error", problem)]));
}

/// Whether JSON was asked for on a command line that could not be understood as a whole.
fn wants_json(arguments: &[OsString]) -> bool {
    let words: Vec<&str> =
        arguments.iter().take_while(|word| *word != "--").filter_map(|word| word.to_str()).collect();
    words.iter().any(|word| matches!(*word, "--output=json" | "-ojson" | "-o=json"))
        || words.windows(2).any(|pair| matches!(pair, ["--output" | "-o", "json"]))
}
