//! What a running cluster asks for.

use crate::{Engine, Error, Result};
use larder_core::Kind;
use larder_discover::manifest::{Rules, Scanner};
use larder_discover::running::{Kubeconfig, RunningOptions, scan};
use larder_discover::{Survey, Trouble};
use larder_remote::ApiServer;
use std::path::Path;

impl Engine {
    /// Reads the cluster that a context of a kubeconfig leads to, or its current one. It is only read.
    ///
    /// # Errors
    /// A kubeconfig that cannot be used, or a server that cannot be reached. What the server refuses is a trouble of the survey.
    pub async fn survey_cluster(
        &self,
        kubeconfig: &Path,
        context: Option<&str>,
        rules: Rules,
        options: &RunningOptions,
    ) -> Result<Survey> {
        let refuse = |reason: String| Error::Source { source_name: kubeconfig.display().to_string(), reason };
        let bytes = std::fs::read(kubeconfig).map_err(|error| refuse(format!("cannot read it: {error}")))?;
        let directory = kubeconfig.parent().unwrap_or(Path::new(""));
        let access = Kubeconfig::read(&bytes, directory).and_then(|file| file.access(context));
        let (name, access) = access.map_err(|fault| refuse(fault.to_string()))?;
        let failed = |source| Error::Remote { action: format!("cannot read the cluster {name}"), source };
        let server = ApiServer::new(&access, larder_remote::Config::default()).map_err(failed)?;
        let label = format!("kubeconfig:{name}");
        let running = scan(&server, &label, &Scanner::new(rules), options).await.map_err(failed)?;
        let troubles = running.problems.into_iter().map(|problem| {
            Trouble::error(format!("{label}{}", problem.place), problem.reason).kind(Kind::Denied)
        });
        Ok(Survey { finds: running.finds, troubles: troubles.collect(), sources: 1 })
    }
}
