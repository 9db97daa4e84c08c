//! One file of a chart, as all loaders give it.

/// A file of a chart: where it is below the chart's own directory, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Relative to the chart, with `/`: `templates/deployment.yaml`.
    pub name: String,
    /// Its bytes, without a byte order mark.
    pub data: Vec<u8>,
}

impl File {
    /// A file without the UTF-8 byte order mark that Helm takes off, too (pkg/chart/loader/archive).
    pub fn new(name: impl Into<String>, mut data: Vec<u8>) -> Self {
        if data.starts_with(BYTE_ORDER_MARK) {
            data.drain(..BYTE_ORDER_MARK.len());
        }
        Self { name: name.into(), data }
    }

    /// The last component of its name.
    pub fn base(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
