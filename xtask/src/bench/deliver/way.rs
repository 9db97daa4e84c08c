//! The ways to bring an image to nodes.

use super::sample::Sample;
use crate::larder::Larder;
use anyhow::Result;
use larder_testkit::nodes::{Fleet, Node};
use std::process::{Command, Stdio};

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `larder deliver --method …`.
    Larder(&'static str),
    /// An archive of the image, read by skopeo and piped into each node's import.
    Skopeo,
}

/// Commands that run at the same time; the end of the last is the end.
pub(super) type Commands = Vec<Command>;

impl Way {
    pub(super) fn all() -> Vec<Self> {
        let methods = ["agent", "thin", "tunnel", "archive"];
        methods.into_iter().map(Self::Larder).chain([Self::Skopeo]).collect()
    }

    pub(super) fn is_larder(self) -> bool {
        matches!(self, Self::Larder(_))
    }

    /// How the tables name it.
    pub(super) fn name(self) -> String {
        match self {
            Self::Larder(method) => format!("larder, {method}"),
            Self::Skopeo => "skopeo, `ssh ctr import`".into(),
        }
    }

    /// What a person would type.
    pub(super) fn commands(
        self,
        larder: &Larder,
        fleet: &Fleet,
        sample: &Sample,
        name: &str,
    ) -> Result<Commands> {
        match self {
            Self::Larder(method) => {
                let mut command = larder.command(["deliver", "--quiet", "--method", method, "--node", "all"]);
                command.arg("--inventory").arg(fleet.inventory()).arg(name);
                command.arg("--node-binary").arg(larder.binary().with_file_name("larder-node"));
                Ok(vec![command])
            }
            // Side by side to all nodes, as `pssh` and shell scripts do it.
            Self::Skopeo => fleet.nodes().iter().map(|node| pipe(node, sample, name)).collect(),
        }
    }
}

/// `skopeo copy … docker-archive:/dev/stdout | ssh NODE ctr images import -`
fn pipe(node: &Node, sample: &Sample, name: &str) -> Result<Command> {
    let ssh = format!(
        "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={} -i {} {}@{}",
        node.known_hosts().display(),
        node.key().display(),
        node.user(),
        node.address()
    );
    let script = format!(
        "set -o pipefail; skopeo --insecure-policy copy --quiet {} docker-archive:/dev/stdout:{name} | \
         {ssh} ctr --namespace k8s.io images import - >/dev/null",
        sample.layout(name)?
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).stdin(Stdio::null());
    Ok(command)
}
