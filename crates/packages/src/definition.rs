//! How a tool is published: data, and never code.

use crate::Version;
use crate::wish::{is_architecture, is_name};
use serde::Deserialize;
use std::path::PathBuf;

/// How a tool is published.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// What it is asked for by.
    pub name: String,
    /// What it is, in a few words.
    #[serde(default)]
    pub description: String,
    /// Where a release is; see [`Definition::url`].
    url: String,
    /// Where its checksums are.
    checksum: Option<String>,
    /// The name of a program that is published without an archive.
    pub binary: Option<String>,
    /// Its OpenPGP signature.
    pub openpgp: Option<OpenPgp>,
    /// Its keyless cosign signature.
    pub cosign: Option<Cosign>,
    /// Who knows the latest version.
    latest: Option<Latest>,
    /// For which architectures it is published.
    #[serde(default = "everywhere")]
    pub architectures: Vec<String>,
    /// What its project calls an architecture, where that is not Go's word.
    #[serde(default)]
    architecture_names: std::collections::BTreeMap<String, String>,
    /// Where its files go.
    #[serde(default)]
    pub install: Vec<Install>,
}

/// An OpenPGP signature.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenPgp {
    /// The file of checksums is a clear-signed message.
    #[serde(default)]
    pub clear_signed: bool,
    /// Where the detached signature of the release is.
    detached: Option<String>,
    /// Where the detached signature of the checksums is.
    checksum: Option<String>,
    /// The keys that may sign, armoured or not; relative to the file of definitions.
    pub keyring: Option<PathBuf>,
}

/// A keyless cosign signature in two files, as `cosign sign-blob --output-signature --output-certificate` writes them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cosign {
    signature: String,
    certificate: String,
    /// Who signs: an e-mail address or a URI.
    pub identity: String,
    /// Who vouches for that identity.
    pub issuer: String,
}

/// Who knows the latest version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Latest {
    url: String,
    /// The field of a JSON answer; otherwise the answer is the version.
    field: Option<String>,
    /// The newest of a series, with `{minor}`.
    minor: Option<String>,
}

/// A file or directory of the archive, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Install {
    /// In the archive; `.` is all of it. The content of a directory goes into `to`.
    from: String,
    /// On the node: absolute, without `..`.
    pub to: String,
}

/// A version's question: a URL, and the field of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) url: String,
    pub(crate) field: Option<String>,
}

impl Definition {
    /// The definition of something that only its name is known of.
    pub(crate) fn unknown(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: String::new(),
            url: String::new(),
            checksum: None,
            binary: None,
            openpgp: None,
            cosign: None,
            latest: None,
            architectures: Vec::new(),
            architecture_names: std::collections::BTreeMap::new(),
            install: Vec::new(),
        }
    }

    /// Where a release is. Empty where nothing defines it.
    pub fn url(&self, version: &Version, architecture: &str) -> String {
        self.fill(&self.url, version, architecture, "")
    }

    /// Where its checksums are, and whether they are of this one file.
    pub(crate) fn checksum(&self, version: &Version, architecture: &str) -> Option<(String, bool)> {
        let pattern = self.checksum.as_ref()?;
        Some((self.filled(pattern, version, architecture), pattern.contains("{url}")))
    }

    /// Where the detached signature of the release is.
    pub(crate) fn detached(&self, version: &Version, architecture: &str) -> Option<String> {
        Some(self.filled(self.openpgp.as_ref()?.detached.as_ref()?, version, architecture))
    }

    /// Where the detached signature of the checksums is.
    pub(crate) fn checksum_signature(&self, version: &Version, architecture: &str) -> Option<String> {
        Some(self.filled(self.openpgp.as_ref()?.checksum.as_ref()?, version, architecture))
    }

    /// Where the cosign signature and its certificate are.
    pub(crate) fn cosign(&self, version: &Version, architecture: &str) -> Option<(String, String, &Cosign)> {
        let cosign = self.cosign.as_ref()?;
        let fill = |pattern: &str| self.filled(pattern, version, architecture);
        Some((fill(&cosign.signature), fill(&cosign.certificate), cosign))
    }

    /// Whom to ask for the latest version, or for the newest of a series.
    pub(crate) fn latest(&self, series: Option<&str>) -> Option<Question> {
        let latest = self.latest.as_ref()?;
        let url = match series {
            None => latest.url.clone(),
            Some(series) => latest.minor.as_ref()?.replace("{minor}", series),
        };
        Some(Question { url, field: latest.field.clone() })
    }

    /// What goes where on a node.
    pub fn installs(&self, version: &Version, architecture: &str) -> Vec<Install> {
        let fill = |install: &Install| Install {
            from: self.fill(&install.from, version, architecture, ""),
            to: install.to.clone(),
        };
        self.install.iter().map(fill).collect()
    }

    fn filled(&self, pattern: &str, version: &Version, architecture: &str) -> String {
        let url = self.url(version, architecture);
        self.fill(pattern, version, architecture, &url)
    }

    fn fill(&self, pattern: &str, version: &Version, architecture: &str, url: &str) -> String {
        let named = self.architecture_names.get(architecture).map_or(architecture, String::as_str);
        pattern
            .replace("{url}", url)
            .replace("{tag}", &version.tag())
            .replace("{version}", version.as_str())
            .replace("{minor}", &version.minor())
            .replace("{arch}", named)
    }

    /// What is wrong with it.
    pub(crate) fn problem(&self) -> Option<String> {
        let patterns = [
            Some(&self.url),
            self.checksum.as_ref(),
            self.openpgp.as_ref().and_then(|openpgp| openpgp.detached.as_ref()),
            self.openpgp.as_ref().and_then(|openpgp| openpgp.checksum.as_ref()),
            self.cosign.as_ref().map(|cosign| &cosign.signature),
            self.cosign.as_ref().map(|cosign| &cosign.certificate),
            self.latest.as_ref().map(|latest| &latest.url),
            self.latest.as_ref().and_then(|latest| latest.minor.as_ref()),
        ];
        if !is_name(&self.name) {
            return Some(format!("{:?} is not a name of a package", self.name));
        }
        for pattern in patterns.into_iter().flatten() {
            if let Some(unknown) = unknown_place(pattern) {
                return Some(format!("{}: there is no {{{unknown}}} to put into {pattern:?}", self.name));
            }
            if !pattern.starts_with("https://")
                && !pattern.starts_with("http://")
                && !pattern.starts_with("{url}")
            {
                return Some(format!("{}: {pattern:?} is neither an http nor an https URL", self.name));
            }
        }
        if self.url.contains("{url}") {
            return Some(format!("{}: the URL cannot contain itself", self.name));
        }
        if let Some(openpgp) = &self.openpgp {
            let ways = usize::from(openpgp.clear_signed)
                + usize::from(openpgp.detached.is_some())
                + usize::from(openpgp.checksum.is_some());
            if ways == 0 || self.checksum.is_none() && openpgp.detached.is_none() {
                return Some(format!("{}: nothing says what is signed with OpenPGP", self.name));
            }
        }
        let file_name = |name: &String| is_name(&name.to_ascii_lowercase()) && !name.contains('/');
        if self.binary.as_ref().is_some_and(|name| !file_name(name)) {
            return Some(format!("{}: `binary` is not a file name", self.name));
        }
        if let Some(wrong) = self.architectures.iter().find(|name| !is_architecture(name)) {
            return Some(format!("{}: {wrong:?} is not an architecture", self.name));
        }
        let bad = self.install.iter().find(|install| !install.is_safe());
        bad.map(|install| {
            format!("{}: nothing can be installed from {:?} to {:?}", self.name, install.from, install.to)
        })
    }
}

impl Install {
    /// Where it is in the archive, without `.` and slashes at either end; empty is all of it.
    pub fn from(&self) -> &str {
        match self.from.trim_start_matches("./").trim_matches('/') {
            "." => "",
            from => from,
        }
    }

    fn is_safe(&self) -> bool {
        let plain = |path: &str| {
            path.split('/').all(|part| part != "..")
                && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-{}+".contains(&b))
        };
        let from = self.from.trim_end_matches('/');
        self.to.starts_with('/')
            && self.to.len() > 1
            && !self.to.ends_with('/')
            && plain(&self.to)
            && plain(from)
            && unknown_place(from).is_none()
            && !from.starts_with('/')
    }
}

/// A `{…}` that nothing is put into.
fn unknown_place(pattern: &str) -> Option<String> {
    let mut rest = pattern;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, next)) = after.split_once('}') else { return Some(after.to_owned()) };
        if !matches!(name, "url" | "tag" | "version" | "minor" | "arch") {
            return Some(name.to_owned());
        }
        rest = next;
    }
    None
}

fn everywhere() -> Vec<String> {
    vec!["amd64".into(), "arm64".into()]
}
