//! The files that kubeconfigs are and name, each read up to a limit: any of them may be a device or a pipe.

use super::Fault;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kube::config::KubeconfigError;
use std::fs::File;
use std::io::{Error, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// The kubeconfig in a file. Paths in it are absolute, or as the file's own path is: client-go sees them from its directory.
pub(super) fn kubeconfig(path: &Path) -> Result<kube::config::Kubeconfig, Fault> {
    let text = text(path)?;
    let mut read = kube::config::Kubeconfig::from_yaml(&text).map_err(|error| match error {
        KubeconfigError::Parse(error) => {
            let place = error.location().map(|at| format!(": line {}, column {}", at.line(), at.column()));
            Fault::Malformed { path: path.to_owned(), place: place.unwrap_or_default() }
        }
        error => Fault::Kubeconfig(error),
    })?;
    let directory = path.parent().unwrap_or(Path::new(""));
    for cluster in read.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        seen_from(directory, &mut cluster.certificate_authority);
    }
    for user in read.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        for path in [&mut user.client_certificate, &mut user.client_key, &mut user.token_file] {
            seen_from(directory, path);
        }
        // A name without a directory is looked up in PATH.
        if let Some(exec) = user.exec.as_mut()
            && exec.command.as_ref().is_some_and(|command| command.contains('/'))
        {
            seen_from(directory, &mut exec.command);
        }
    }
    Ok(read)
}

/// The content of the file that a path names, as the fields beside such a path hold it. The path is used up.
pub(super) fn base64(path: &mut Option<String>) -> Result<Option<String>, Fault> {
    let path = path.take().filter(|path| !path.is_empty());
    path.map(|path| Ok(BASE64_STANDARD.encode(bytes(Path::new(&path))?))).transpose()
}

/// The content of a file: UTF-8, or UTF-16 with its mark, as editors on Windows write it.
pub(super) fn text(path: &Path) -> Result<String, Fault> {
    let bytes = bytes(path)?;
    let decoded = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes).ok(),
    };
    let malformed = || Fault::Malformed { path: path.to_owned(), place: ": it is no text".to_owned() };
    decoded.ok_or_else(malformed)
}

/// The content of a file.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, Fault> {
    let failed = |source: Error| Fault::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LIMIT {
        return Err(Fault::TooLarge { path: path.to_owned(), limit: LIMIT });
    }
    Ok(bytes)
}

fn wide(bytes: &[u8], number: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| number(*pair)).collect();
    String::from_utf16(&units).ok().filter(|_| rest.is_empty())
}

fn seen_from(directory: &Path, path: &mut Option<String>) {
    if let Some(path) = path.as_mut().filter(|path| !path.is_empty()) {
        let seen: PathBuf = directory.join(path.as_str());
        // Both were text, and so is what they make.
        *path = seen.to_string_lossy().into_owned();
    }
}

/// Whether there is no such file.
pub(super) fn is_absent(fault: &Fault) -> bool {
    matches!(fault, Fault::Read { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// Bytes of a kubeconfig, a certificate, a key or a token; the largest that there are have some hundred kilobytes.
const LIMIT: u64 = 8 << 20;
