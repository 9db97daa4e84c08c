//! Public charts, rendered by larder and by Helm.

use crate::workspace::{Workspace, cargo};
use crate::{helm, program};
use anyhow::Result;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A directory with unpacked charts that have their dependencies in `charts/`.
    #[arg(long, value_name = "DIR")]
    charts: PathBuf,
    /// Only charts whose directory has this in its name.
    #[arg(long, default_value = "")]
    only: String,
    /// Keep what Helm says in files of this name, and do not ask again for what is there.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// How many of each kind of difference to show.
    #[arg(long, default_value_t = 10)]
    show: usize,
    /// Also compare the documents in their order.
    #[arg(long)]
    manifests: bool,
    /// Also run Helm 3.10.1 as a program.
    #[arg(long)]
    program: bool,
}

/// Errors if a chart gives something else than in Helm.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    helm::require(&Workspace::read()?.target)?;
    let charts = std::path::absolute(&arguments.charts)?;
    let mut command = cargo();
    command.args(["run", "--release", "--quiet", "--package", "larder-discover"]);
    command.args(["--example", "helm_comparison", "--"]).arg(charts);
    command.args(["--only", &arguments.only, "--show", &arguments.show.to_string()]);
    if arguments.manifests {
        command.args(["--manifests", "yes"]);
    }
    if arguments.program {
        command.args(["--program", "yes"]);
    }
    if let Some(answers) = &arguments.answers {
        command.arg("--answers").arg(std::path::absolute(answers)?);
    }
    program::run(&mut command)
}
