//! The file of accounts, as `htpasswd -B` writes it.

use super::AccessError;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A file of accounts that is read again when it changes.
pub(super) struct Htpasswd {
    path: PathBuf,
    state: Mutex<State>,
}

/// The accounts of one version of the file.
pub(super) struct Accounts {
    /// Grows with every version.
    pub(super) generation: u64,
    hashes: HashMap<String, String>,
    /// All hashes in the order of the file, to choose one by number.
    order: Vec<String>,
}

struct State {
    accounts: Arc<Accounts>,
    content: Vec<u8>,
    seen: Option<Stamp>,
    problem: Option<String>,
}

/// What tells two versions of a file apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Htpasswd {
    /// Reads the file.
    pub(super) fn open(path: &Path, now: SystemTime) -> Result<Self, AccessError> {
        let (stamp, content) = read(path)?;
        let accounts = Arc::new(Accounts::parse(path, &content, 0)?);
        let seen = stamp.is_settled(now).then_some(stamp);
        Ok(Self {
            path: path.to_owned(),
            state: Mutex::new(State { accounts, content, seen, problem: None }),
        })
    }

    /// The accounts as the file has them now. While the file cannot be read or has a mistake, those it had before: it may be in the
    /// middle of being written.
    pub(super) fn accounts(&self, now: SystemTime) -> Arc<Accounts> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.refresh(&mut state, now) {
            state.problem = Some(larder_core::report(&error));
        }
        Arc::clone(&state.accounts)
    }

    /// What is wrong with the file, while something is.
    pub(super) fn problem(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).problem.clone()
    }

    fn refresh(&self, state: &mut State, now: SystemTime) -> Result<(), AccessError> {
        let failed = |source| AccessError::Htpasswd { path: self.path.clone(), source };
        if state.seen == Some(Stamp::of(&std::fs::metadata(&self.path).map_err(failed)?)) {
            return Ok(());
        }
        let (stamp, content) = read(&self.path)?;
        let settled = stamp.is_settled(now);
        if content != state.content {
            if content.is_empty() && !settled {
                // `htpasswd` empties the file before it writes it.
                return Ok(());
            }
            let generation = state.accounts.generation + 1;
            state.accounts = Arc::new(Accounts::parse(&self.path, &content, generation)?);
            state.content = content;
        }
        state.problem = None;
        state.seen = settled.then_some(stamp);
        Ok(())
    }
}

impl Accounts {
    pub(super) fn hash(&self, name: &str) -> Option<&str> {
        self.hashes.get(name).map(String::as_str)
    }

    /// Some hash of the file, chosen by a number: what to check a password of nobody against.
    pub(super) fn any_hash(&self, number: u64) -> Option<&str> {
        let count = u64::try_from(self.order.len()).ok().filter(|count| *count > 0)?;
        usize::try_from(number % count).ok().and_then(|index| self.order.get(index)).map(String::as_str)
    }

    fn parse(path: &Path, content: &[u8], generation: u64) -> Result<Self, AccessError> {
        let wrong = |line: usize, reason| AccessError::HtpasswdLine { path: path.to_owned(), line, reason };
        let mut hashes = HashMap::new();
        let mut order = Vec::new();
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            let line = std::str::from_utf8(line).map_err(|_| wrong(index + 1, "it is not UTF-8"))?;
            let line = line.trim_end_matches('\r');
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, rest) =
                line.split_once(':').ok_or_else(|| wrong(index + 1, "no colon stands after the name"))?;
            // Apache keeps comments after a second colon.
            let hash = rest.split(':').next().unwrap_or_default().trim_end();
            if name.is_empty() || name.contains(char::is_control) {
                return Err(wrong(index + 1, "the name is empty or has control characters"));
            }
            check_hash(hash).map_err(|reason| wrong(index + 1, reason))?;
            if hashes.insert(name.to_owned(), hash.to_owned()).is_some() {
                return Err(wrong(index + 1, "the account stands there twice"));
            }
            order.push(hash.to_owned());
            if order.len() > COUNT_LIMIT {
                return Err(wrong(index + 1, "there are more than 100,000 accounts"));
            }
        }
        Ok(Self { generation, hashes, order })
    }
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a further change would have another time. Time stamps of files are coarse, and all hashes have one length.
    fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::from_secs(u64::try_from(self.changed.0).unwrap_or_default());
        now.checked_sub(changed).is_some_and(|age| age > SETTLING)
    }
}

fn read(path: &Path) -> Result<(Stamp, Vec<u8>), AccessError> {
    let failed = |source| AccessError::Htpasswd { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.len() > SIZE_LIMIT {
        return Err(failed(std::io::Error::other("it is larger than 16 MiB")));
    }
    // The stamp is older than the content: what is written in between is read again.
    let content = std::fs::read(path).map_err(failed)?;
    Ok((Stamp::of(&metadata), content))
}

fn check_hash(hash: &str) -> Result<(), &'static str> {
    let bcrypt = ["$2y$", "$2b$", "$2a$"].iter().any(|prefix| hash.starts_with(prefix));
    if !bcrypt {
        return Err("the hash is not bcrypt");
    }
    let parts: bcrypt::HashParts = hash.parse().map_err(|_| "the bcrypt hash is malformed")?;
    match parts.get_cost() {
        4..=16 => Ok(()),
        _ => Err("the cost of the hash is not between 4 and 16; 17 would take seconds"),
    }
}

const SETTLING: Duration = Duration::from_secs(2);
const SIZE_LIMIT: u64 = 16 << 20;
const COUNT_LIMIT: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$05$QTxH.uCVyLanjEz5QLhUXuLQNS2XBqlnGonhuIhimBagaHNrKWOQe";

    fn parse(content: &str) -> Result<Accounts, String> {
        let parsed = Accounts::parse(Path::new("/accounts"), content.as_bytes(), 0);
        parsed.map_err(|error| format!("{} {error:?}", larder_core::report(&error)))
    }

    /// Long enough after every change for time stamps to tell.
    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(60)
    }

    #[test]
    fn other_hashes_are_refused_with_their_line_and_not_repeated() {
        for (hash, reason) in [
            ("$apr1$canary00$canarycanarycanaryca", "not bcrypt"),
            ("{SHA}canarycanarycanarycanarycan=", "not bcrypt"),
            ("$6$canary$canary", "not bcrypt"),
            ("$2x$05$QTxH.uCVyLanjEz5QLhUXuLQNS2XBqlnGonhuIhimBagaHNrKWcan", "not bcrypt"),
            ("canary", "not bcrypt"),
            ("", "not bcrypt"),
            ("$2y$05$canary", "malformed"),
            ("$2y$17$QTxH.uCVyLanjEz5QLhUXuLQNS2XBqlnGonhuIhimBagaHNrKWOQe", "cost"),
            ("$2y$31$QTxH.uCVyLanjEz5QLhUXuLQNS2XBqlnGonhuIhimBagaHNrKWOQe", "cost"),
            ("$2y$03$QTxH.uCVyLanjEz5QLhUXuLQNS2XBqlnGonhuIhimBagaHNrKWOQe", "cost"),
        ] {
            let error = parse(&format!("# comment\nalice:{HASH}\n\nbob:{hash}\n")).map(|_| ()).unwrap_err();
            assert!(error.starts_with("/accounts line 4: ") && error.contains(reason), "{error}");
            assert!(!error.contains("canary") && !error.contains("QTxH"), "{error}");
        }
    }

    #[test]
    fn what_is_no_account_is_refused() {
        for content in ["alice\n", ":$2y$05$\n", &format!("a:{HASH}\na:{HASH}"), &format!("a\0:{HASH}")] {
            assert!(parse(content).is_err(), "{content:?}");
        }
        assert!(Accounts::parse(Path::new("/accounts"), b"\xff:x", 0).is_err());
    }

    #[test]
    fn comments_line_ends_and_remarks_are_understood() {
        let accounts =
            parse(&format!("# all\r\nalice:{HASH}\r\n\r\nbob:{HASH}:Bob of accounting\ncarol:{HASH}"))
                .unwrap();
        for name in ["alice", "bob", "carol"] {
            assert_eq!(accounts.hash(name), Some(HASH));
        }
        assert_eq!(accounts.hash("dave"), None);
        assert_eq!(accounts.order.len(), 3);
    }

    #[test]
    fn a_password_that_changes_within_a_tick_of_the_clock_counts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let other = HASH.replace("QTxH", "RTxH");
        std::fs::write(file.path(), format!("alice:{HASH}\n")).unwrap();
        let htpasswd = Htpasswd::open(file.path(), SystemTime::now()).unwrap();
        for round in 0..200 {
            let hash = if round % 2 == 0 { &other } else { HASH };
            std::fs::write(file.path(), format!("alice:{hash}\n")).unwrap();
            assert_eq!(htpasswd.accounts(SystemTime::now()).hash("alice"), Some(hash), "{round}");
        }
    }

    #[test]
    fn a_file_that_is_wrong_now_changes_nothing_and_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts");
        std::fs::write(&path, format!("alice:{HASH}\n")).unwrap();
        let htpasswd = Htpasswd::open(&path, later()).unwrap();
        let knows = |name| htpasswd.accounts(later()).hash(name).is_some();
        for wrong in ["alice:plain\n", "half a li"] {
            std::fs::write(&path, wrong).unwrap();
            assert!(knows("alice"));
            assert!(htpasswd.problem().unwrap().contains("line 1"), "{:?}", htpasswd.problem());
        }
        std::fs::remove_file(&path).unwrap();
        assert!(knows("alice"));
        assert!(htpasswd.problem().unwrap().contains("cannot read"), "{:?}", htpasswd.problem());
        std::fs::write(&path, format!("bob:{HASH}\n")).unwrap();
        assert!(knows("bob") && !knows("alice"));
        assert_eq!(htpasswd.problem(), None);
    }

    #[test]
    fn a_file_that_stays_empty_has_no_accounts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("alice:{HASH}\n")).unwrap();
        let htpasswd = Htpasswd::open(file.path(), SystemTime::now()).unwrap();
        std::fs::write(file.path(), "").unwrap();
        assert!(htpasswd.accounts(SystemTime::now()).hash("alice").is_some(), "it is being written");
        assert!(htpasswd.accounts(later()).hash("alice").is_none());
    }

    #[test]
    fn a_file_that_did_not_change_is_not_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("alice:{HASH}\n")).unwrap();
        let htpasswd = Htpasswd::open(file.path(), later()).unwrap();
        assert!(htpasswd.state.lock().unwrap().seen.is_some());
        let before = htpasswd.accounts(later());
        std::fs::write(file.path(), format!("bob:{HASH}\nalice:{HASH}\n")).unwrap();
        assert_eq!(htpasswd.accounts(later()).generation, before.generation + 1);
        assert_eq!(htpasswd.accounts(later()).generation, before.generation + 1);
    }
}
