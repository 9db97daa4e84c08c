//! Platforms: what an image runs on (OCI image-spec, image-index.md).

use crate::Error;
use std::fmt;
use std::str::FromStr;

/// An operating system and a processor, in Go's words (`linux`, `amd64`), normalized.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Platform {
    /// `linux`, `windows`, …
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, `v8`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Windows build, for example `10.0.20348.2113`.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// For example `win32k`.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
}

impl Platform {
    /// A platform without variant.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: None,
            os_version: None,
            os_features: Vec::new(),
        }
        .normalized()
    }

    /// The platform this program was compiled for, with `linux` in place of systems that run Linux images in a machine.
    pub fn host() -> Self {
        let os = if std::env::consts::OS == "windows" { "windows" } else { "linux" };
        Self::new(os, std::env::consts::ARCH)
    }

    /// Aliases replaced (`x86_64` → `amd64`), default variants dropped (`arm64/v8` → `arm64`) or filled in (`arm` → `arm/v7`),
    /// as containerd does.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        self.os = self.os.to_ascii_lowercase();
        if self.os == "macos" {
            self.os = "darwin".into();
        }
        self.architecture = self.architecture.to_ascii_lowercase();
        let variant = self.variant.take().map(|v| v.to_ascii_lowercase()).filter(|v| !v.is_empty());
        let (architecture, variant) = match (self.architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", Some("v1") | None) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
            ("i386" | "i686" | "x86" | "386", _) => ("386", None),
            ("aarch64" | "arm64", Some("8" | "v8") | None) => ("arm64", None),
            ("aarch64" | "arm64", v) => ("arm64", v),
            ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            ("powerpc64" | "ppc64el", None) => ("ppc64le", None),
            (other, v) => (other, v),
        };
        let (architecture, variant) = (architecture.to_owned(), variant.map(str::to_owned));
        self.architecture = architecture;
        self.variant = variant;
        self
    }

    /// How well content for `self` runs where `wanted` was asked for: `None` not at all, 0 exactly, higher is worse.
    pub fn distance(&self, wanted: &Self) -> Option<u32> {
        let (have, want) = (self.clone().normalized(), wanted.clone().normalized());
        if have.os != want.os || have.architecture != want.architecture {
            return None;
        }
        if let Some(version) = &want.os_version
            && have.os_version.as_ref().is_some_and(|v| !v.starts_with(version.as_str()))
        {
            return None;
        }
        if have.variant == want.variant {
            return Some(0);
        }
        // A processor runs what was made for an older variant; `amd64` and `arm64` without one are the oldest.
        let level = |variant: &Option<String>| match variant {
            None => Some(0),
            Some(v) => v.trim_start_matches('v').parse::<u32>().ok(),
        };
        match (level(&have.variant), level(&want.variant)) {
            (Some(have), Some(want)) if have < want => Some(want - have),
            _ => None,
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::Platform(text.chars().take(100).collect());
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.len() <= 64
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(word) {
            return Err(invalid());
        }
        let mut platform = Self::new(parts[0], parts[1]);
        if let Some(variant) = parts.get(2) {
            platform.variant = Some((*variant).to_owned());
        }
        Ok(platform.normalized())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// Which children of an index are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// The best child for each of these platforms.
    Only(Vec<Platform>),
    /// Every child.
    All,
}

impl Selection {
    /// The platform of this machine.
    pub fn host() -> Self {
        Self::Only(vec![Platform::host()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn normalizes_as_containerd_does() {
        for (given, expected) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/i686", "linux/386"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            assert_eq!(parse(given).to_string(), expected, "{given}");
        }
    }

    #[test]
    fn refuses_nonsense() {
        for case in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/am d64", "linux/../x"] {
            assert!(case.parse::<Platform>().is_err(), "{case:?}");
        }
    }

    #[test]
    fn older_variants_run_on_newer_processors() {
        assert_eq!(parse("linux/arm/v6").distance(&parse("linux/arm/v7")), Some(1));
        assert_eq!(parse("linux/arm/v7").distance(&parse("linux/arm/v6")), None);
        assert_eq!(parse("linux/amd64").distance(&parse("linux/amd64/v3")), Some(3));
        assert_eq!(parse("linux/arm64").distance(&parse("linux/amd64")), None);
        assert_eq!(parse("linux/arm64/v8").distance(&parse("linux/arm64")), Some(0));
    }
}
