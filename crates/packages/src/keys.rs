//! Who may sign: keys of projects, and authorities that vouch for identities.

use crate::cosign::Authorities;
use crate::openpgp::Keyring;
use crate::{Definition, Error, Result};
use std::path::{Path, PathBuf};

/// Directories with the keys of projects (`NAME.asc`, `NAME.gpg`) and certificate authorities (`fulcio.pem`), the first that has one
/// counts. The authorities of the public Sigstore instance are built in.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    directories: Vec<PathBuf>,
}

impl Keys {
    /// Keys are looked for in these directories. One that does not exist has none.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories }
    }

    /// The keys that may sign a package; `None` where there are none.
    pub(crate) fn keyring(&self, definition: &Definition) -> Result<Option<Keyring>> {
        let given = definition.openpgp.as_ref().and_then(|openpgp| openpgp.keyring.clone());
        let name = &definition.name;
        let path = match given {
            Some(path) => path,
            None => match self.find(&[format!("{name}.asc"), format!("{name}.gpg")]) {
                Some(path) => path,
                None => return Ok(None),
            },
        };
        let keyring = Keyring::parse(&read(&path)?);
        keyring.map(Some).map_err(|problem| Error::Settings { path, problem })
    }

    /// The authorities for keyless signatures.
    pub(crate) fn authorities(&self) -> Result<Authorities> {
        match self.find(&["fulcio.pem".to_owned()]) {
            None => Ok(Authorities::public()),
            Some(path) => {
                Authorities::parse(&read(&path)?).map_err(|problem| Error::Settings { path, problem })
            }
        }
    }

    fn find(&self, names: &[String]) -> Option<PathBuf> {
        self.directories
            .iter()
            .flat_map(|dir| names.iter().map(move |name| dir.join(name)))
            .find(|path| path.exists())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).map_err(Error::file("read", path))?.len();
    if size > KEY_LIMIT {
        return Err(Error::Settings { path: path.to_owned(), problem: "it is larger than 16 MiB".into() });
    }
    std::fs::read(path).map_err(Error::file("read", path))
}

const KEY_LIMIT: u64 = 16 << 20;
