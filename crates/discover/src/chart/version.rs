//! Versions of charts and of Kubernetes, and whether they are in a range.

use larder_gotemplate::semver::{Constraints, Version};

pub(crate) fn is_version(text: &str) -> bool {
    Version::parse(text).is_ok()
}

/// Whether `version` is in `range`; no, too, if one of them cannot be read (Helm, `IsCompatibleRange`).
pub(crate) fn is_in_range(range: &str, version: &str) -> bool {
    match (Constraints::parse(range), Version::parse(version)) {
        (Ok(range), Ok(version)) => range.check(&version),
        _ => false,
    }
}
