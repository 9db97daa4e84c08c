//! The files of a packed chart (Helm, pkg/chart/loader/archive): a compressed tar in which everything lies below one directory.

use super::file::File;
use super::limits::Limits;
use crate::error::{Error, Result};
use larder_rootfs::{Body, Decoder, Layer, Limits as TarLimits};
use std::io::{Cursor, Read as _};

/// Reads every file, in the order of the archive. `place` is how the archive is called in errors. `.helmignore` means nothing
/// here: it was obeyed when the chart was packed.
pub(crate) fn read(place: &str, bytes: &[u8], limits: &Limits) -> Result<Vec<File>> {
    let damaged = |source| Error::Archive { place: place.into(), source };
    if !bytes.starts_with(GZIP) {
        return Err(Error::NoArchive { place: place.into() });
    }
    let tar = inflate(place, bytes, limits)?;
    let layer = Layer::read(&mut Cursor::new(&tar), &tar_limits(limits)).map_err(damaged)?;
    let mut files = Vec::new();
    for entry in layer.entries() {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let data = match &entry.body {
            Body::Directory => continue,
            Body::File(content) => {
                if content.size > limits.file_bytes {
                    let limit = limits.file_bytes;
                    return Err(Error::Limit { what: "bytes of a file of a chart", limit, place: path });
                }
                let mut data = vec![0; usize::try_from(content.size).unwrap_or_default()];
                for extent in content.extents.iter() {
                    let from = tar.get(range(extent.offset, extent.len));
                    let to = data.get_mut(range(extent.at, extent.len));
                    if let (Some(from), Some(to)) = (from, to) {
                        to.copy_from_slice(from);
                    }
                }
                data
            }
            // Helm reads all others as files without content.
            _ => Vec::new(),
        };
        files.push(File::new(inner_name(place, &path)?, &data));
    }
    if files.is_empty() {
        return Err(Error::EmptyArchive { place: place.into() });
    }
    Ok(files)
}

fn inflate(place: &str, bytes: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    let mut tar = Vec::new();
    let mut decoder = Decoder::new(bytes, None, &tar_limits(limits)).take(limits.bytes + 1);
    decoder.read_to_end(&mut tar).map_err(|error| Error::Archive {
        place: place.into(),
        source: larder_rootfs::Error::from_io(error),
    })?;
    if tar.len() as u64 > limits.bytes {
        return Err(Error::Limit { what: "bytes of a chart", limit: limits.bytes, place: place.into() });
    }
    Ok(tar)
}

/// The name below the chart's directory.
fn inner_name(place: &str, path: &str) -> Result<String> {
    let refuse = |reason| Error::ArchivePath { place: place.into(), path: path.into(), reason };
    let path = path.replace('\\', "/");
    let (top, inner) = path.split_once('/').unwrap_or((&path, ""));
    if top == "Chart.yaml" {
        return Err(refuse("chart yaml not in base directory"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in inner.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => {
                return Err(refuse("chart illegally references parent directory"));
            }
            ".." => {}
            part => parts.push(part),
        }
    }
    let is_drive = |part: &&str| matches!(part.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic());
    if parts.len() > 1 && parts.first().is_some_and(is_drive) {
        return Err(refuse("chart contains illegally named files"));
    }
    if parts.is_empty() {
        return Err(refuse("chart illegally contains content outside the base directory"));
    }
    Ok(parts.join("/"))
}

fn tar_limits(limits: &Limits) -> TarLimits {
    let entries = u32::try_from(limits.files).unwrap_or(u32::MAX);
    TarLimits { bytes: limits.bytes, entries, ..TarLimits::default() }
}

fn range(start: u64, length: u64) -> std::ops::Range<usize> {
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    start..start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX))
}

const GZIP: &[u8] = b"\x1f\x8b\x08";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_the_directory_of_the_chart_and_cannot_leave_it() {
        assert_eq!(inner_name("x", "app/templates/a.yaml").unwrap(), "templates/a.yaml");
        assert_eq!(inner_name("x", "app\\templates\\a.yaml").unwrap(), "templates/a.yaml");
        assert_eq!(inner_name("x", "app/a/../b").unwrap(), "b");
        for bad in ["app/../b", "Chart.yaml", "app", "app/c:/x", "app/."] {
            assert!(inner_name("x", bad).is_err(), "{bad}");
        }
    }
}
