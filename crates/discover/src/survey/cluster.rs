//! What a description of a cluster asks for.

use super::unit;
use super::{Input, Survey, SurveyOptions, Trouble, Worker, survey};
use crate::chart::KubeVersion;
use crate::cluster::{Catalog, Description, Kubeadm, Wanted, WantedSource, is_description};
use larder_core::Kind;
use larder_gotemplate::yaml::{self, Node};
use std::path::Path;

impl Worker<'_> {
    /// The description in a file, if that is what the file is.
    pub(super) fn cluster(&self, path: &Path, bytes: &[u8]) -> Option<Survey> {
        let node = description(bytes)?;
        let name = path.display().to_string();
        if self.options.is_within_cluster {
            return Some(
                Trouble::error(name, "a description of a cluster within another is not followed").into(),
            );
        }
        let cluster = Description::read(&name, &node, &Kubeadm::built_in(), &Catalog::built_in());
        let mut result = Survey { finds: cluster.finds, sources: 1, ..Survey::default() };
        let place = |line: u32| format!("{name}:{line}");
        if has_more(bytes) {
            let message = "behind a description of a cluster nothing else is read";
            result
                .troubles
                .push(Trouble::error(name.as_str(), message).hint("put it into a file of its own"));
        }
        for problem in &cluster.problems {
            result.troubles.push(Trouble::error(place(problem.line), problem.fault.to_string()));
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        for wanted in &cluster.wanted {
            let input = match &wanted.source {
                WantedSource::Path(path) => Some(Input::Path(directory.join(path))),
                source => self
                    .options
                    .brought
                    .iter()
                    .find(|(other, _)| other == source)
                    .map(|(_, input)| input.clone()),
            };
            let Some(input) = input else {
                let (message, hint) = missing(wanted);
                result
                    .troubles
                    .push(Trouble::error(place(wanted.line), message).hint(hint).kind(Kind::NotFound));
                continue;
            };
            let options = self.options_for(wanted, directory, cluster.kubernetes_version.as_deref());
            result.extend(survey(&[input], &options));
        }
        Some(result)
    }

    /// The options of the survey, with what the description says of one thing over them.
    fn options_for(&self, wanted: &Wanted, directory: &Path, version: Option<&str>) -> SurveyOptions {
        let mut options = SurveyOptions { threads: 1, is_within_cluster: true, ..self.options.clone() };
        let files = wanted.values.iter().map(|file| directory.join(file).into());
        // What the user says on the command line wins, as it is said later.
        options.overrides.files.splice(0..0, files);
        options.overrides.json.splice(0..0, wanted.inline.clone());
        if let Some(version) = version.and_then(|version| KubeVersion::parse(version).ok()) {
            options.capabilities.kube_version = version;
        }
        if let Some(release) = &wanted.release {
            options.release.clone_from(release);
        }
        if let Some(namespace) = &wanted.namespace {
            options.namespace.clone_from(namespace);
        }
        options
    }
}

/// What the descriptions of clusters among some files want that is not on this machine.
pub fn wanted_by(inputs: &[Input]) -> Vec<WantedSource> {
    let mut all = Vec::new();
    for input in inputs {
        let Input::Path(path) = input else { continue };
        // What cannot be read is told when it is surveyed.
        let bytes = Some(path).filter(|path| unit::is_plain(path)).and_then(|path| unit::read(path).ok());
        let Some(node) = bytes.and_then(|bytes| description(&bytes)) else { continue };
        let cluster = Description::read("", &node, &Kubeadm::built_in(), &Catalog::built_in());
        let sources = cluster.wanted.into_iter().map(|wanted| wanted.source);
        all.extend(sources.filter(|source| !matches!(source, WantedSource::Path(_))));
    }
    all
}

fn description(bytes: &[u8]) -> Option<Node> {
    if !bytes.windows(MARK.len()).any(|window| window == MARK) {
        return None;
    }
    let node = yaml::documents(bytes, &yaml::Limits::default()).next()?.ok()?;
    is_description(&node).then_some(node)
}

/// Whether other documents follow the first one.
fn has_more(bytes: &[u8]) -> bool {
    yaml::documents(bytes, &yaml::Limits::default())
        .skip(1)
        .any(|next| !next.is_ok_and(|node| node.is_null()))
}

/// Says that something was not fetched, and how it can be.
fn missing(wanted: &Wanted) -> (String, String) {
    match &wanted.source {
        WantedSource::Chart { repository, name, version } => {
            let version =
                version.as_deref().map_or_else(String::new, |version| format!(" --version {version}"));
            let from = match repository.strip_prefix("oci://") {
                Some(registry) => format!("oci://{}/{name}", registry.trim_end_matches('/')),
                None => format!("--repo {repository} {name}"),
            };
            let hint = format!("`helm pull {from}{version}`, and say `path:` where it is");
            (format!("{}: the chart {name} is not on this machine", wanted.purpose), hint)
        }
        WantedSource::Manifest { url } => {
            let hint = format!("`curl -LO {url}`, and say `path:` where it is");
            (format!("{}: {url} is not on this machine", wanted.purpose), hint)
        }
        WantedSource::Path(path) => {
            (format!("{}: there is no {}", wanted.purpose, path.display()), String::new())
        }
    }
}

const MARK: &[u8] = b"larder.dev/";
