//! How much a chart may ask for.

/// Bounds on what a hostile chart can cost to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file. Helm's own limit.
    pub file_bytes: u64,
    /// Bytes of all files, those of archives within archives counted each time. Helm stops at 100 MiB for an archive.
    pub bytes: u64,
    /// Files, in all charts below the one that is loaded.
    pub files: usize,
    /// Charts within charts.
    pub depth: usize,
    /// Whether symbolic links may lead out of the chart's directory, as they may in Helm. Only for charts whose author may read
    /// every file of this machine.
    pub outside_links: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 5 << 20, bytes: 256 << 20, files: 50_000, depth: 32, outside_links: false }
    }
}
