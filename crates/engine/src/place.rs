//! Where an image comes from and goes to, in the words of skopeo.

use crate::{Error, Result};
use larder_core::Reference;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A source or a destination of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `REF`: a name in the store.
    Store(Reference),
    /// `docker://REF`: a registry.
    Registry(Reference),
    /// `oci:DIR[:TAG]`: an OCI image layout.
    Layout {
        /// The directory.
        dir: PathBuf,
        /// The value of `org.opencontainers.image.ref.name`.
        name: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`: an OCI image layout in a tar.
    OciArchive {
        /// The tar.
        file: PathBuf,
        /// The value of `org.opencontainers.image.ref.name`.
        name: Option<String>,
    },
    /// `docker-archive:FILE[:REF]`: what `docker save` writes and `docker load` reads.
    DockerArchive {
        /// The tar.
        file: PathBuf,
        /// One of its `RepoTags`.
        name: Option<Reference>,
    },
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: String| Error::Place { input: text.chars().take(300).collect(), reason };
        let reference = |text: &str| text.parse::<Reference>().map_err(|error| invalid(error.to_string()));
        // As in skopeo, the first colon after the path separates the name; the name may have colons of its own.
        let split = |rest: &str| -> Result<(PathBuf, Option<String>)> {
            let (path, name) = match rest.split_once(':') {
                Some((path, name)) => (path, Some(name.to_owned()).filter(|name| !name.is_empty())),
                None => (rest, None),
            };
            if path.is_empty() {
                return Err(invalid("the path is missing".into()));
            }
            Ok((path.into(), name))
        };
        if let Some(rest) = text.strip_prefix("docker://") {
            return Ok(Self::Registry(reference(rest)?));
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            let (file, name) = split(rest)?;
            return Ok(Self::OciArchive { file, name });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (file, name) = split(rest)?;
            let name = name.map(|name| reference(&name)).transpose()?;
            return Ok(Self::DockerArchive { file, name });
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            let (dir, name) = split(rest)?;
            return Ok(Self::Layout { dir, name });
        }
        if let Some((scheme, _)) = text.split_once("://") {
            let known = "docker://, oci:DIR, oci-archive:FILE, docker-archive:FILE, or a plain reference for the store";
            return Err(invalid(format!("unknown transport {scheme}; there are {known}")));
        }
        Ok(Self::Store(reference(text)?))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |name: &Option<String>| name.as_ref().map(|name| format!(":{name}")).unwrap_or_default();
        match self {
            Self::Store(reference) => write!(f, "{reference}"),
            Self::Registry(reference) => write!(f, "docker://{reference}"),
            Self::Layout { dir, name } => write!(f, "oci:{}{}", dir.display(), named(name)),
            Self::OciArchive { file, name } => write!(f, "oci-archive:{}{}", file.display(), named(name)),
            Self::DockerArchive { file, name } => {
                write!(
                    f,
                    "docker-archive:{}{}",
                    file.display(),
                    named(&name.as_ref().map(ToString::to_string))
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for text in [
            "docker://localhost:5000/a:1",
            "oci:/tmp/layout",
            "oci:layout:docker.io/library/nginx:1.25",
            "oci-archive:x.tar:1",
            "docker-archive:x.tar",
            "docker-archive:x.tar:localhost/a:1",
            "ghcr.io/a/b:1",
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        assert_eq!("nginx".parse::<Place>().unwrap().to_string(), "docker.io/library/nginx:latest");
    }

    #[test]
    fn refuses() {
        for text in ["", "oci:", "oci::x", "docker://", "https://x/y", "dir:/x", "docker-archive:f:NOT VALID"]
        {
            assert!(text.parse::<Place>().is_err(), "{text:?}");
        }
    }
}
