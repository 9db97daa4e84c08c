//! Docker on a node, by its own `docker`.

use crate::archive::Archive;
use crate::host::{Flow, Host, Input};
use crate::probe::{DockerImage, Facts};
use crate::{Result, Shipment, ShippedImage};
use larder_core::{Digest, Reference};
use std::collections::HashSet;

/// `docker` with the socket of a node.
pub(crate) struct Docker<'a> {
    pub(crate) host: Host<'a>,
    pub(crate) socket: String,
}

impl Docker<'_> {
    /// Loads an archive that carries what is missing.
    pub(crate) async fn load(&self, archive: &Archive, flow: &Flow) -> Result<()> {
        self.run(&["load", "--quiet"], Input::Archive(archive, flow)).await.map(drop)
    }

    /// Loads an archive that lies on the node.
    pub(crate) async fn load_file(&self, path: &str) -> Result<()> {
        self.run(&["load", "--quiet", "--input", path], Input::Bytes(b"")).await.map(drop)
    }

    /// Gives an image a name.
    pub(crate) async fn name(&self, image: &Digest, name: &str) -> Result<()> {
        self.run(&["tag", &image.to_string(), name], Input::Bytes(b"")).await.map(drop)
    }

    async fn run(&self, words: &[&str], input: Input<'_>) -> Result<Vec<u8>> {
        let socket = format!("unix://{}", self.socket);
        let mut argv = vec!["docker", "--host", &socket];
        argv.extend(words);
        let output = self.host.run(&argv, input).await?;
        output.success(self.host.node().name(), &format!("docker {}", words[0]))
    }
}

/// The image of a shipment that runs on a node. Docker has one platform's.
pub(crate) fn image<'a>(shipment: &'a Shipment, facts: &Facts) -> Option<&'a ShippedImage> {
    shipment.best_for(&facts.platform())
}

/// The names that Docker can have for an image: tags. A name by digest is what only a pull from a registry leaves.
pub(crate) fn names(name: &Reference) -> Vec<String> {
    match (name.tag(), name.digest()) {
        (Some(_), None) => vec![name.familiar()],
        (Some(tag), Some(_)) => {
            let (registry, repository) = (name.registry().clone(), name.repository().clone());
            vec![Reference::new(registry, repository, Some(tag.clone()), None).familiar()]
        }
        _ => Vec::new(),
    }
}

/// The layers of an image that a node lacks, by what is in them. Docker knows a layer by all that is below it: only the lowest
/// ones that an image of it shares are there.
pub(crate) fn lacking(image: &ShippedImage, present: &[DockerImage]) -> HashSet<Digest> {
    let wanted: Vec<Digest> = image.layers.iter().map(|(_, diff_id)| *diff_id).collect();
    let shared = |other: &DockerImage| wanted.iter().zip(&other.layers).take_while(|(a, b)| a == b).count();
    let shared = present.iter().map(shared).max().unwrap_or_default();
    wanted[shared..].iter().copied().collect()
}

/// Why an image of a node is not what was sent, if it is not.
pub(crate) fn flaw(shipment: &Shipment, image: &ShippedImage, facts: &Facts) -> Option<String> {
    let Some(found) = facts.docker.iter().find(|found| found.id == image.config) else {
        return Some(format!("there is no image {}", image.config));
    };
    let diff_ids: Vec<Digest> = image.layers.iter().map(|(_, diff_id)| *diff_id).collect();
    if found.layers != diff_ids {
        return Some("it has other layers".into());
    }
    let absent = names(shipment.name()).into_iter().find(|name| !found.tags.contains(name));
    absent.map(|name| format!("it has no {name}"))
}
