//! Media types of the OCI image-spec and of Docker's schema 2, and what they say about compression.

use std::borrow::Cow;
use std::fmt;

/// A media type. The well-known ones are constants; any other string is kept as it is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaType(Cow<'static, str>);

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A plain tar.
    None,
    /// RFC 1952, one or several members.
    Gzip,
    /// RFC 8878, one or several frames.
    Zstd,
}

impl Compression {
    /// The word used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// What the first bytes of a stream say. Labels lie, so readers ask the bytes.
    pub fn sniff(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame (RFC 8878 §3.1.2) may precede the first zstd frame.
            [low, 0x2a, 0x4d, 0x18, ..] if (0x50..=0x5f).contains(low) => Self::Zstd,
            _ => Self::None,
        }
    }
}

impl MediaType {
    /// OCI image manifest.
    pub const OCI_MANIFEST: Self = Self::known("application/vnd.oci.image.manifest.v1+json");
    /// OCI image index.
    pub const OCI_INDEX: Self = Self::known("application/vnd.oci.image.index.v1+json");
    /// OCI image config.
    pub const OCI_CONFIG: Self = Self::known("application/vnd.oci.image.config.v1+json");
    /// OCI layer, uncompressed.
    pub const OCI_LAYER: Self = Self::known("application/vnd.oci.image.layer.v1.tar");
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: Self = Self::known("application/vnd.oci.image.layer.v1.tar+gzip");
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: Self = Self::known("application/vnd.oci.image.layer.v1.tar+zstd");
    /// The empty JSON object, `{}`.
    pub const OCI_EMPTY: Self = Self::known("application/vnd.oci.empty.v1+json");
    /// Docker schema 2 manifest.
    pub const DOCKER_MANIFEST: Self = Self::known("application/vnd.docker.distribution.manifest.v2+json");
    /// Docker manifest list.
    pub const DOCKER_INDEX: Self = Self::known("application/vnd.docker.distribution.manifest.list.v2+json");
    /// Docker image config.
    pub const DOCKER_CONFIG: Self = Self::known("application/vnd.docker.container.image.v1+json");
    /// Docker layer, uncompressed.
    pub const DOCKER_LAYER: Self = Self::known("application/vnd.docker.image.rootfs.diff.tar");
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: Self = Self::known("application/vnd.docker.image.rootfs.diff.tar.gzip");

    /// Everything a client should say it accepts where a manifest is asked for.
    pub const MANIFESTS: [Self; 4] =
        [Self::OCI_INDEX, Self::OCI_MANIFEST, Self::DOCKER_INDEX, Self::DOCKER_MANIFEST];

    const fn known(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// Takes any string; parameters (`; charset=utf-8`) and letter case are dropped (RFC 9110 §8.3.1).
    pub fn new(text: &str) -> Self {
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Self(Cow::Owned(essence))
    }

    /// The string itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An index or a manifest list.
    pub fn is_index(&self) -> bool {
        *self == Self::OCI_INDEX || *self == Self::DOCKER_INDEX
    }

    /// An image manifest of either family.
    pub fn is_manifest(&self) -> bool {
        *self == Self::OCI_MANIFEST || *self == Self::DOCKER_MANIFEST
    }

    /// Docker's schema 1, which larder refuses with a clear word.
    pub fn is_schema1(&self) -> bool {
        self.0.starts_with("application/vnd.docker.distribution.manifest.v1+")
    }

    /// A config from which a root file system can be made.
    pub fn is_image_config(&self) -> bool {
        *self == Self::OCI_CONFIG || *self == Self::DOCKER_CONFIG
    }

    /// A file-system layer of either family, foreign or not, whatever the compression.
    pub fn is_layer(&self) -> bool {
        self.0.starts_with("application/vnd.oci.image.layer.")
            || self.0.starts_with("application/vnd.docker.image.rootfs.")
    }

    /// A layer that registries usually do not hold (`urls` say where it is).
    pub fn is_foreign(&self) -> bool {
        self.0.starts_with("application/vnd.oci.image.layer.nondistributable.")
            || self.0.starts_with("application/vnd.docker.image.rootfs.foreign.")
    }

    /// The compression the name promises; `None` where it is not a layer or the suffix is unknown.
    pub fn compression(&self) -> Option<Compression> {
        if !self.is_layer() {
            return None;
        }
        let text = self.as_str();
        if text.ends_with(".tar") {
            Some(Compression::None)
        } else if text.ends_with(".tar+gzip") || text.ends_with(".tar.gzip") {
            Some(Compression::Gzip)
        } else if text.ends_with(".tar+zstd") || text.ends_with(".tar.zstd") {
            Some(Compression::Zstd)
        } else {
            None
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for MediaType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for MediaType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&Cow::<'de, str>::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_parameters_do_not_matter() {
        assert_eq!(
            MediaType::new("Application/vnd.OCI.image.index.v1+json; charset=utf-8"),
            MediaType::OCI_INDEX
        );
    }

    #[test]
    fn compression_by_name() {
        assert_eq!(MediaType::DOCKER_LAYER_GZIP.compression(), Some(Compression::Gzip));
        assert_eq!(MediaType::OCI_LAYER_ZSTD.compression(), Some(Compression::Zstd));
        assert_eq!(MediaType::OCI_LAYER.compression(), Some(Compression::None));
        assert_eq!(MediaType::OCI_CONFIG.compression(), None);
        assert_eq!(
            MediaType::new("application/vnd.oci.image.layer.v1.tar+gzip+encrypted").compression(),
            None
        );
    }

    #[test]
    fn compression_by_magic() {
        assert_eq!(Compression::sniff(&[0x1f, 0x8b, 8]), Compression::Gzip);
        assert_eq!(Compression::sniff(&[0x28, 0xb5, 0x2f, 0xfd]), Compression::Zstd);
        assert_eq!(Compression::sniff(&[0x50, 0x2a, 0x4d, 0x18]), Compression::Zstd);
        assert_eq!(Compression::sniff(b"./usr/"), Compression::None);
    }
}
