//! Where images are looked for: what a user names, and how it gets here.

use crate::{Engine, Error, Result};
use larder_core::{Manifest, Reference, Tag};
use larder_discover::cluster::WantedSource;
use larder_discover::manifest::{Rules, Scanner};
use larder_discover::running::{self, RunningOptions};
use larder_discover::{Input, Survey, Trouble};
use larder_gotemplate::semver::{Constraints, Version};
use larder_gotemplate::{Map, Value, yaml};
use larder_remote::{ApiServer, Fault, Kubeconfig, Plugin};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Something that asks for images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `-`: standard input, which the caller has to read.
    Standard,
    /// A file or a directory.
    Path(PathBuf),
    /// Something that has to be brought first.
    Remote(RemoteSource),
    /// `kubeconfig:[FILE][#CONTEXT]`: a running cluster, which is asked.
    Running {
        /// The file that says how to reach it; the caller knows where it is otherwise.
        kubeconfig: Option<PathBuf>,
        /// A context of it; the current one otherwise.
        context: Option<String>,
    },
}

/// Something that asks for images, and is not on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteSource {
    /// `oci://REGISTRY/REPOSITORY[:VERSION]`: a chart in a registry.
    Registry {
        /// Without a tag it is the newest version.
        reference: Reference,
        /// Whether the user named a version in it.
        is_pinned: bool,
        /// A version, or a range of versions, where it does not name one.
        version: Option<String>,
    },
    /// `https://….tgz`: a packaged chart.
    Archive(String),
    /// `https://….yaml`: manifests.
    Manifest(String),
    /// A chart by its name in a chart repository.
    Repository {
        /// The address that `index.yaml` lies below.
        url: String,
        /// The chart.
        chart: String,
        /// A version, or a range of versions; the newest one otherwise.
        version: Option<String>,
    },
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason| Err(Error::Source { source_name: text.to_owned(), reason });
        if text == "-" {
            return Ok(Self::Standard);
        }
        if let Some(name) = text.strip_prefix("oci://") {
            if !name.contains('/') {
                return refuse("a chart in a registry is oci://REGISTRY/REPOSITORY[:VERSION]".into());
            }
            let last = name.rsplit('/').next().unwrap_or_default();
            let is_pinned = last.contains([':', '@']);
            // Versions have build metadata, tags have no plus (Helm writes an underscore).
            return match name.replace('+', "_").parse() {
                Ok(reference) => {
                    Ok(Self::Remote(RemoteSource::Registry { reference, is_pinned, version: None }))
                }
                Err(error) => refuse(format!("it is no reference: {error}")),
            };
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            if has_credential(text) {
                let text = "an address".to_owned();
                let reason =
                    "credentials do not belong into addresses, which are written down and shown".into();
                return Err(Error::Source { source_name: text, reason });
            }
            let path = text.split(['?', '#']).next().unwrap_or_default();
            if path.ends_with(".tgz") || path.ends_with(".tar.gz") {
                return Ok(Self::Remote(RemoteSource::Archive(text.to_owned())));
            }
            if [".yaml", ".yml", ".json"].iter().any(|end| path.ends_with(end)) {
                return Ok(Self::Remote(RemoteSource::Manifest(text.to_owned())));
            }
            return refuse("a chart repository needs the name of a chart".into());
        }
        if let Some(cluster) = text.strip_prefix("kubeconfig:") {
            let (file, context) = match cluster.split_once('#') {
                Some((file, context)) => (file, Some(context.to_owned())),
                None => (cluster, None),
            };
            let kubeconfig = (!file.is_empty()).then(|| file.into());
            return Ok(Self::Running { kubeconfig, context });
        }
        if text.is_empty() {
            return refuse("it is empty".into());
        }
        Ok(Self::Path(text.into()))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str("-"),
            Self::Path(path) => path.display().fmt(f),
            Self::Remote(remote) => remote.fmt(f),
            Self::Running { kubeconfig, context } => {
                f.write_str("kubeconfig:")?;
                if let Some(file) = kubeconfig {
                    file.display().fmt(f)?;
                }
                context.as_ref().map_or(Ok(()), |context| write!(f, "#{context}"))
            }
        }
    }
}

impl fmt::Display for RemoteSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { reference, .. } => write!(f, "oci://{reference}"),
            Self::Archive(url) | Self::Manifest(url) => f.write_str(url),
            Self::Repository { url, chart, version: Some(version) } => {
                write!(f, "{chart} {version} of {url}")
            }
            Self::Repository { url, chart, version: None } => write!(f, "{chart} of {url}"),
        }
    }
}

impl Engine {
    /// Brings what is not on this machine. Charts of registries go through the store, as every artifact does.
    ///
    /// # Errors
    /// `NotFound` where there is no such chart or version, and whatever registries and repositories answer.
    pub async fn bring_source(&self, source: &RemoteSource) -> Result<Input> {
        let name = source.to_string();
        match source {
            RemoteSource::Manifest(url) => {
                let bytes = self.download(url, INDEX_LIMIT).await?;
                Ok(Input::Text { name, bytes })
            }
            RemoteSource::Archive(url) => {
                let bytes = self.download(url, CHART_LIMIT).await?;
                Ok(Input::Archive { name, bytes })
            }
            RemoteSource::Registry { reference, is_pinned, version } => {
                let reference = match is_pinned {
                    true => reference.clone(),
                    false => self.newest(reference, version.as_deref()).await?,
                };
                let bytes = self.chart_artifact(&reference).await?;
                Ok(Input::Archive { name: format!("oci://{reference}"), bytes })
            }
            RemoteSource::Repository { url, .. } if has_credential(url) => {
                let reason =
                    "credentials do not belong into addresses, which are written down and shown".into();
                Err(Error::Source { source_name: "the repository".into(), reason })
            }
            RemoteSource::Repository { url, chart, version } => {
                let base = url.trim_end_matches('/');
                let index = self.download(&format!("{base}/index.yaml"), INDEX_LIMIT).await?;
                let entry = pick(&index, url, chart, version.as_deref())?;
                let address = match entry.url.contains("://") {
                    true => entry.url,
                    false => format!("{base}/{}", entry.url),
                };
                if let Some(Ok(Source::Remote(oci @ RemoteSource::Registry { .. }))) =
                    address.starts_with("oci://").then(|| address.parse())
                {
                    return Box::pin(self.bring_source(&oci)).await;
                }
                let bytes = self.download(&address, CHART_LIMIT).await?;
                if let Some(expected) = entry.digest {
                    let found = larder_core::Digest::of(&bytes);
                    if !found.hex().eq_ignore_ascii_case(expected.trim_start_matches("sha256:")) {
                        return Err(Error::ChartDigest { url: address, expected, found: Box::new(found) });
                    }
                }
                Ok(Input::Archive { name: address, bytes })
            }
        }
    }

    /// What the descriptions of clusters among `inputs` want: charts and manifests from elsewhere. What cannot be had is named with
    /// its error; a survey says who wants it.
    pub async fn bring_wanted(&self, inputs: &[Input]) -> (Vec<(WantedSource, Input)>, Vec<(String, Error)>) {
        let (mut brought, mut failures) = (Vec::new(), Vec::new());
        for wanted in larder_discover::wanted_by(inputs) {
            let source = match &wanted {
                WantedSource::Path(path) => {
                    let input = Input::Path(path.clone());
                    brought.push((wanted, input));
                    continue;
                }
                WantedSource::Manifest { url } => RemoteSource::Manifest(url.clone()),
                WantedSource::Chart { repository, name, version } if repository.starts_with("oci://") => {
                    let version = version.as_ref().map(|version| format!(":{version}")).unwrap_or_default();
                    let address = format!("{}/{name}{version}", repository.trim_end_matches('/'));
                    match address.parse() {
                        Ok(Source::Remote(source)) => source,
                        Ok(_) => unreachable!("what begins with oci:// is in a registry"),
                        Err(error) => {
                            failures.push((address, error));
                            continue;
                        }
                    }
                }
                WantedSource::Chart { repository, name, version } => RemoteSource::Repository {
                    url: repository.clone(),
                    chart: name.clone(),
                    version: version.clone(),
                },
            };
            match self.bring_source(&source).await {
                Ok(input) => brought.push((wanted, input)),
                Err(error) => failures.push((source.to_string(), error)),
            }
        }
        (brought, failures)
    }

    /// What a running cluster asks for. Only read. Of several kubeconfigs the first one to name something decides, as kubectl has it.
    /// Where they name a program for credentials, it is run, once.
    ///
    /// # Errors
    /// A kubeconfig that cannot be used, and a server that cannot be reached. What it refuses otherwise is in
    /// [`Survey::troubles`].
    pub async fn survey_running(
        &self,
        kubeconfigs: &[PathBuf],
        context: Option<&str>,
        rules: Rules,
    ) -> Result<Survey> {
        let unusable = |fault| match fault {
            Fault::Read { path, source } => Error::File { action: "cannot read", path, source },
            fault => {
                let name = std::env::join_paths(kubeconfigs).unwrap_or_default();
                let source_name = format!("kubeconfig:{}", name.display());
                Error::Source { source_name, reason: fault.to_string() }
            }
        };
        let run = |plugin: &Plugin| crate::plugin::run(plugin, PLUGIN_LIMIT);
        let read = Kubeconfig::read(kubeconfigs).and_then(|file| file.access(context, &run));
        let access = read.map_err(unusable)?;
        let context = access.context().to_owned();
        let label = format!("kubeconfig:{context}");
        let failed = |source| Error::Remote { action: format!("cannot read the cluster {context}"), source };
        let config = crate::keychain::client_config(self.config(), self.host(), self.progress().clone())?;
        let server = ApiServer::new(&access, config, ANSWER_LIMIT).map_err(failed)?;
        let scanner = Scanner::new(rules);
        let running = running::scan(&server, &label, &scanner, &RunningOptions::default()).await;
        let running = running.map_err(failed)?;
        let troubles = running.problems.into_iter().map(|problem| {
            let trouble = Trouble::error(format!("{label} {}", problem.place), problem.reason);
            problem.hints.into_iter().fold(trouble.kind(problem.kind), Trouble::hint)
        });
        Ok(Survey { troubles: troubles.collect(), finds: running.finds, sources: 1 })
    }

    async fn download(&self, url: &str, limit: u64) -> Result<Vec<u8>> {
        let fetched = self.client()?.document(url, limit).await;
        let bytes =
            fetched.map_err(|source| Error::Remote { action: format!("cannot fetch {url}"), source })?;
        Ok(bytes.to_vec())
    }

    /// The highest version among the tags of a chart.
    async fn newest(&self, reference: &Reference, wanted: Option<&str>) -> Result<Reference> {
        let lease = self.lease("discover")?;
        let scope = self.scope(reference, None, &lease)?;
        let repo = self.client()?.repository(scope.registry(), scope.repository(), scope.auth.clone());
        let tags = repo.tags().await.map_err(|source| Error::Remote {
            action: format!("cannot list the versions of oci://{}", reference.name()),
            source,
        })?;
        let version = |tag: &Tag| Version::parse(&tag.as_str().replace('_', "+")).ok();
        let range = match wanted {
            Some(wanted) => Some(Constraints::parse(wanted).map_err(|error| Error::NoChart {
                chart: format!("oci://{}", reference.name()),
                problem: format!("has no version {wanted:?}: {error}"),
            })?),
            None => None,
        };
        let fits = |version: &Version| match (&range, wanted) {
            (Some(range), Some(wanted)) => version.original == wanted || range.check(version),
            _ => version.prerelease.is_empty(),
        };
        let versions = tags.into_iter().filter_map(|tag| Some((version(&tag)?, tag)));
        let newest = versions
            .filter(|(version, _)| fits(version))
            .max_by(|(a, _), (b, _)| a.compare(b))
            .map(|(_, tag)| tag);
        match newest {
            Some(tag) => Ok(reference.with_tag(tag)),
            None => Err(Error::NoChart {
                chart: format!("oci://{}", reference.name()),
                problem: match wanted {
                    Some(wanted) => format!("has no version {wanted}"),
                    None => "has no version that is not a pre-release; name one".into(),
                },
            }),
        }
    }

    /// The packaged chart in an artifact of a registry (Helm, "Helm OCI MediaTypes").
    async fn chart_artifact(&self, reference: &Reference) -> Result<Vec<u8>> {
        let lease = self.lease("discover")?;
        let selection = larder_core::Selection::All;
        let (root, _) = self.pull_unnamed(reference, &selection, false, None, &lease).await?;
        let failed = |source| Error::Store { action: format!("cannot read oci://{reference}"), source };
        let document = self.store().document(&root.digest).map_err(failed)?;
        let layer = match document.as_ref().map(larder_core::Document::manifest) {
            Some(Manifest::Image(image) | Manifest::Artifact(image)) => {
                image.layers.iter().find(|layer| layer.media_type.as_str() == CHART_TYPE).cloned()
            }
            _ => None,
        };
        let no_chart = || Error::NoChart {
            chart: format!("oci://{reference}"),
            problem: "is an artifact, but no chart".into(),
        };
        let layer = layer.ok_or_else(no_chart)?;
        self.store().read(&layer.digest, CHART_LIMIT).map_err(failed)?.ok_or_else(no_chart)
    }
}

/// Whether an address names a user.
fn has_credential(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

/// An entry of a repository's index.
struct Entry {
    url: String,
    digest: Option<String>,
}

/// The chart that is asked for, out of an `index.yaml` (Helm, "The Chart Repository Guide").
fn pick(index: &[u8], url: &str, chart: &str, wanted: Option<&str>) -> Result<Entry> {
    let no = |problem: String| Error::NoChart { chart: chart.to_owned(), problem };
    let index = yaml::parse(index)
        .map_err(|error| no(format!("cannot be looked up: index.yaml of {url} is not readable: {error}")))?;
    let entries = index.as_map().and_then(|index| index.get("entries"));
    let Some(entries) = entries.as_ref().and_then(Value::as_map).cloned() else {
        return Err(no(format!(
            "cannot be looked up: {url}/index.yaml is not the index of a chart repository"
        )));
    };
    let Some(Value::List(versions)) = entries.get(chart) else {
        return Err(no(format!("is not in the repository {url}")));
    };
    let range = match wanted {
        Some(wanted) => Some(
            Constraints::parse(wanted).map_err(|error| no(format!("has no version {wanted:?}: {error}")))?,
        ),
        None => None,
    };
    let text =
        |map: &Map, key: &str| map.get(key).and_then(|value| Some(value.as_text()?.to_str().into_owned()));
    let fits = |version: &Version, text: &str| match (wanted, &range) {
        (Some(wanted), _) if wanted == text => true,
        (_, Some(range)) => range.check(version),
        _ => version.prerelease.is_empty(),
    };
    let candidates = versions.items().iter().filter_map(Value::as_map).filter_map(|entry| {
        let number = text(entry, "version")?;
        let version = Version::parse(&number).ok()?;
        fits(&version, &number).then_some((version, entry))
    });
    let Some((version, entry)) = candidates.max_by(|(a, _), (b, _)| a.compare(b)) else {
        return Err(no(match wanted {
            Some(wanted) => format!("has no version {wanted} in the repository {url}"),
            None => format!("has only pre-releases in the repository {url}; name one with --version"),
        }));
    };
    let urls = entry.get("urls");
    let first = urls.as_ref().and_then(Value::as_list).and_then(|urls| urls.items().first());
    let Some(first) = first.and_then(Value::as_text) else {
        return Err(no(format!("{} has no address in the repository {url}", version.original)));
    };
    if entry.get("digest").is_some_and(|digest| !digest.is_nil() && digest.as_text().is_none()) {
        return Err(no(format!(
            "{} has a digest in the repository {url} that is not a text",
            version.original
        )));
    }
    Ok(Entry {
        url: first.to_str().into_owned(),
        digest: text(entry, "digest").filter(|text| !text.is_empty()),
    })
}

/// FORMAT: the layer of a chart in a registry.
const CHART_TYPE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// Larger charts are not charts.
const CHART_LIMIT: u64 = 64 << 20;
/// The largest public repositories have some 20 MB.
/// How long a program may take for credentials; some ask a server elsewhere.
/// Bytes of one answer of an API server: 500 objects, which have 1.5 MiB each at most, rarely have any.
const ANSWER_LIMIT: u64 = 256 << 20;
const PLUGIN_LIMIT: std::time::Duration = std::time::Duration::from_secs(60);
const INDEX_LIMIT: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        let parse = |text: &str| text.parse::<Source>().unwrap();
        assert_eq!(parse("-"), Source::Standard);
        assert_eq!(parse("./charts/app"), Source::Path("./charts/app".into()));
        let remote = |text: &str| match parse(text) {
            Source::Remote(source) => source,
            other => panic!("{other:?} is here"),
        };
        assert_eq!(remote("https://x.test/a-1.tgz"), RemoteSource::Archive("https://x.test/a-1.tgz".into()));
        let pinned = remote("oci://r.test/charts/app:1.0.0+up1");
        let RemoteSource::Registry { reference, is_pinned: true, .. } = pinned else {
            panic!("it names a version");
        };
        assert_eq!(reference.to_string(), "r.test/charts/app:1.0.0_up1");
        assert!(matches!(remote("oci://r.test:5000/app"), RemoteSource::Registry { is_pinned: false, .. }));
        let manifest = RemoteSource::Manifest("https://x.test/i.yaml?v=1".into());
        assert_eq!(remote("https://x.test/i.yaml?v=1"), manifest);
        let running = |kubeconfig: Option<&str>, context: Option<&str>| Source::Running {
            kubeconfig: kubeconfig.map(Into::into),
            context: context.map(str::to_owned),
        };
        assert_eq!(parse("kubeconfig:"), running(None, None));
        assert_eq!(parse("kubeconfig:#a"), running(None, Some("a")));
        assert_eq!(parse("kubeconfig:/etc/k#a/b"), running(Some("/etc/k"), Some("a/b")));
        for wrong in ["", "https://charts.test/stable", "oci://"] {
            assert!(wrong.parse::<Source>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_newest_version_that_fits_is_picked() {
        let index = b"
entries:
  app:
  - {version: 1.9.0, urls: [app-1.9.0.tgz], digest: aa}
  - {version: 1.10.0, urls: ['https://elsewhere.test/app-1.10.0.tgz']}
  - {version: 2.0.0-rc.1, urls: [app-2.tgz]}
  - {version: not-a-version, urls: [x.tgz]}
  bare:
  - {version: 1.0.0}
";
        let pick = |chart, version| pick(index, "https://charts.test", chart, version);
        assert_eq!(pick("app", None).unwrap().url, "https://elsewhere.test/app-1.10.0.tgz");
        let exact = pick("app", Some("1.9.0")).unwrap();
        assert_eq!((exact.url.as_str(), exact.digest.as_deref()), ("app-1.9.0.tgz", Some("aa")));
        assert_eq!(pick("app", Some("~1.9")).unwrap().url, "app-1.9.0.tgz");
        assert_eq!(pick("app", Some("2.0.0-rc.1")).unwrap().url, "app-2.tgz");
        for (chart, version) in [("app", Some("3")), ("other", None), ("bare", None), ("app", Some("%"))] {
            assert!(pick(chart, version).is_err(), "{chart} {version:?}");
        }
    }
}
