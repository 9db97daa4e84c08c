//! The command line: what all verbs share, and the list of verbs. The arguments of a verb are in its own file.

use crate::commands::{
    audit, completions, config, copy, deliver, discover, doctor, gc, inspect, list, lock, login, logout, man,
    mount, nodes, package, pin, preheat, prune, pull, push, ready, remove, render, serve, stats, tag,
    unmount, unpack, values_images, verify,
};
use crate::exit;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::convert::Infallible;
use std::path::PathBuf;

/// Pulls container images fast into a store that cannot be corrupted, and runs from it.
#[derive(Debug, Parser)]
#[command(
    name = "larder",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{FILES}\n\n{}", exit::table()),
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  larder pull debian:12                          bring an image into the store
  larder mount debian:12 /mnt/debian             use it as a file tree, read-only
  larder copy docker://alpine:3 oci:./alpine     take it along as an OCI layout
  larder list                                    what is here
  larder discover ./manifests ./chart            which images does a cluster ask for?
  larder deliver debian:12 --node role=worker    onto nodes, over SSH
  larder preheat --lock larder.lock --node all   onto a whole cluster, or not at all
  larder gc --dry-run                            what could go

`larder help COMMAND` explains a command and shows what it prints with --output json.";

const FILES: &str = "\
Configuration, later ones win (`larder config show` says what is in force and why):
  built in               every key has a default; `larder config keys` lists them
  /etc/larder/config.yaml
  HOME/config.yaml       HOME is the store: $LARDER_HOME, else $OMYKUBE_HOME/larder, else `home` in
                         /etc/larder/config.yaml, else /var/lib/larder for root, else
                         $XDG_DATA_HOME/larder, which is ~/.local/share/larder
  environment            LARDER_ and the key in capitals: certs_dir is LARDER_CERTS_DIR; lists are
                         separated by commas; an empty variable counts as not set
  flags

Output:
  Results go to standard output, everything else to standard error. With --output json there is
  exactly one JSON document on standard output (`audit show` prints one per line), also when the
  command fails: {\"error\": {\"message\", \"kind\", \"exit_code\", \"hints\": []}}. Sizes are bytes, times
  are seconds since 1970, fields named elapsed are milliseconds. New fields may appear; none goes
  or changes.";

/// What all verbs share.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// How results are printed: for people, or one JSON document
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) output: Format,

    /// No progress, no warnings, no summary; errors are still shown
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Read this file in place of /etc/larder/config.yaml and HOME/config.yaml
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Where the store is [default: $LARDER_HOME, else see `larder --help`]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,

    /// How much is done at the same time: blobs that move, or nodes that are spoken to [default: 4 blobs; 10 nodes, 64 where they are only asked]
    #[arg(short, long, global = true, value_name = "N")]
    pub(crate) jobs: Option<usize>,

    /// How images are mounted; auto is the best that this kernel can [default: auto]
    #[arg(long, global = true, value_enum, hide_short_help = true)]
    pub(crate) driver: Option<Driver>,

    /// A containerd-style certs.d directory with HOST/hosts.toml; may be given several times
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub(crate) certs_dir: Vec<PathBuf>,

    /// An additional certificate authority, PEM; may be given several times
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub(crate) ca_file: Vec<PathBuf>,

    /// A registry (HOST[:PORT]) that may use http or an unverified certificate; may be given several times
    #[arg(long, global = true, value_name = "HOST", value_delimiter = ',', hide_short_help = true)]
    pub(crate) insecure: Vec<String>,

    /// The docker-compatible credential file that login writes and that is read first
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub(crate) auth_file: Option<PathBuf>,
}

/// How results are printed.
#[derive(Debug, Clone, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    #[default]
    #[value(alias = "table")]
    Text,
    Json,
    /// Of `discover` only, as the ones below.
    #[value(hide = true)]
    Yaml,
    /// References only.
    #[value(hide = true)]
    Images,
    /// A lock file.
    #[value(hide = true)]
    Lock,
    /// No format, but the file that `lock -o FILE` writes.
    #[value(skip)]
    File(PathBuf),
}

impl Format {
    /// What `discover` prints.
    pub(crate) fn of_discover() -> impl TypedValueParser<Value = Self> {
        let known = ["table", "json", "yaml", "images", "lock"].map(PossibleValue::from);
        let known = known.into_iter().chain([PossibleValue::new("text").hide(true)]);
        PossibleValuesParser::new(known)
            .map(|word| Self::from_str(&word, false).expect("each of them is a value"))
    }

    /// What `lock` prints, or the file it writes: whatever is no format.
    pub(crate) fn or_file(word: &str) -> Result<Self, Infallible> {
        Ok(<Self as ValueEnum>::from_str(word, false).unwrap_or_else(|_| Self::File(word.into())))
    }
}

/// How images are mounted: by an EROFS index over the inflated layers, or by extracted directories under overlayfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Driver {
    Auto,
    Erofs,
    Overlay,
}

impl Driver {
    /// The word in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Erofs => "erofs",
            Self::Overlay => "overlay",
        }
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Pull(pull::Args),
    Push(push::Args),
    #[command(visible_alias = "cp")]
    Copy(copy::Args),
    #[command(visible_aliases = ["ls", "images"])]
    List(list::Args),
    Inspect(inspect::Args),
    Tag(tag::Args),
    #[command(visible_aliases = ["rm", "rmi"])]
    Remove(remove::Args),
    Pin(pin::Args),
    Unpin(pin::UnpinArgs),
    Mount(mount::Args),
    #[command(visible_alias = "umount")]
    Unmount(unmount::Args),
    Unpack(unpack::Args),
    Login(login::Args),
    Logout(logout::Args),
    Stats(stats::Args),
    Gc(gc::Args),
    Prune(prune::Args),
    Verify(verify::Args),
    Discover(Box<discover::Args>),
    Lock(Box<lock::Args>),
    Ready(Box<ready::Args>),
    Render(Box<render::Args>),
    ValuesImages(Box<values_images::Args>),
    Nodes(nodes::Args),
    Package(Box<package::Args>),
    Deliver(Box<deliver::Args>),
    Preheat(Box<preheat::Args>),
    Serve(Box<serve::Args>),
    Audit(audit::Args),
    Config(config::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Man(man::Args),
    /// What the exit codes mean
    #[command(name = "exit-codes", hide = true, long_about = exit::table())]
    ExitCodes,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_argument_is_explained_and_every_verb_has_an_example() {
        fn walk(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some() || name == "help", "{name} is not explained");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name}: {} is not explained", argument.get_id());
            }
            let leaf = command.get_subcommands().next().is_none();
            if leaf && !command.is_hide_set() && name != "help" {
                let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(after.contains("Example") && after.contains("larder "), "{name} has no example");
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }

    #[test]
    fn what_help_shows_fits_the_width_it_is_wrapped_to() {
        fn walk(command: &clap::Command) {
            let texts = [command.get_after_help(), command.get_after_long_help()];
            for text in texts.into_iter().flatten().map(ToString::to_string) {
                for line in text.lines() {
                    assert!(line.chars().count() <= 100, "{}: {line}", command.get_name());
                }
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}
