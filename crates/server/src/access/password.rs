//! Checking passwords without letting them eat the machine.
//!
//! bcrypt is slow on purpose, and clients send the password with every request. So what was right once is remembered (as a keyed
//! hash, until the file changes), equal checks that come at once are one check, a few run at the same time, a bounded number wait,
//! and no address may take all places.

use super::htpasswd::{Accounts, Htpasswd};
use super::token_service::random;
use super::{AccessError, Refused};
use aws_lc_rs::hmac;
use larder_core::Secret;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::sync::{OnceCell, Semaphore};

/// The accounts with passwords, and the checks under way.
pub(super) struct Passwords {
    file: Htpasswd,
    /// Of this process; what is remembered means nothing elsewhere.
    secret: hmac::Key,
    right: Mutex<Remembered>,
    running: Mutex<HashMap<Mark, Arc<OnceCell<bool>>>>,
    waiting: Mutex<Waiting>,
    places: Arc<Semaphore>,
    verify: Verify,
}

/// `verify(password, hash)`.
type Verify = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// Stands for a name and a password in one version of the file.
type Mark = [u8; 32];

#[derive(Default)]
struct Remembered {
    /// When each was last used, by a count of uses.
    used: HashMap<Mark, u64>,
    count: u64,
}

#[derive(Default)]
struct Waiting {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One of those who wait for the same check.
struct Check<'a> {
    running: &'a Mutex<HashMap<Mark, Arc<OnceCell<bool>>>>,
    mark: Mark,
    cell: Arc<OnceCell<bool>>,
}

/// A place in the queue.
struct Place<'a> {
    waiting: &'a Mutex<Waiting>,
    address: IpAddr,
}

impl Passwords {
    pub(super) fn open(path: &Path, now: SystemTime) -> Result<Self, AccessError> {
        let bcrypt = |password: &str, hash: &str| bcrypt::verify(password, hash).unwrap_or(false);
        Self::with_verify(path, now, Arc::new(bcrypt))
    }

    fn with_verify(path: &Path, now: SystemTime, verify: Verify) -> Result<Self, AccessError> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            file: Htpasswd::open(path, now)?,
            secret: hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()?),
            right: Mutex::default(),
            running: Mutex::default(),
            waiting: Mutex::default(),
            places: Arc::new(Semaphore::new((processors / 2).max(1))),
            verify,
        })
    }

    /// Whether there is such an account now.
    pub(super) fn knows(&self, name: &str, now: SystemTime) -> bool {
        self.file.accounts(now).hash(name).is_some()
    }

    /// What is wrong with the file, while something is.
    pub(super) fn problem(&self) -> Option<String> {
        self.file.problem()
    }

    /// Checks a password. A name that is unknown costs what a wrong password costs.
    pub(super) async fn check(
        &self,
        name: &str,
        password: &Secret,
        address: IpAddr,
        now: SystemTime,
    ) -> Result<(), Refused> {
        let accounts = self.file.accounts(now);
        let mark = self.mark(&accounts, name, password);
        let account = || accounts.hash(name).map(|_| name.to_owned());
        if lock(&self.right).has(&mark) {
            return Ok(());
        }
        if name.len() > LENGTH_LIMIT || password.reveal().len() > LENGTH_LIMIT {
            return Err(Refused::Password { account: account() });
        }
        let check = Check::join(&self.running, mark);
        let right = check.cell.get_or_try_init(|| self.verify(&accounts, name, password, address)).await;
        if *right? {
            lock(&self.right).add(mark);
            return Ok(());
        }
        Err(Refused::Password { account: account() })
    }

    async fn verify(
        &self,
        accounts: &Accounts,
        name: &str,
        password: &Secret,
        address: IpAddr,
    ) -> Result<bool, Refused> {
        let queued = Place::take(&self.waiting, address)?;
        let places = Arc::clone(&self.places);
        let permit = places.acquire_owned().await.map_err(|_| Refused::Busy)?;
        let known = accounts.hash(name);
        // The hash of somebody else, always the same for one name: its cost is as likely as any.
        let number = hmac::sign(&self.secret, name.as_bytes());
        let number = number.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
        let hash = known.or_else(|| accounts.any_hash(number)).unwrap_or(NOBODY).to_owned();
        let (password, verify, known) = (password.clone(), Arc::clone(&self.verify), known.is_some());
        let right = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            verify(password.reveal(), &hash)
        });
        drop(queued);
        Ok(right.await.unwrap_or(false) && known)
    }

    fn mark(&self, accounts: &Accounts, name: &str, password: &Secret) -> Mark {
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(&accounts.generation.to_be_bytes());
        context.update(&(name.len() as u64).to_be_bytes());
        context.update(name.as_bytes());
        context.update(password.reveal().as_bytes());
        let mut mark = [0; 32];
        mark.copy_from_slice(context.sign().as_ref());
        mark
    }
}

impl Remembered {
    fn has(&mut self, mark: &Mark) -> bool {
        self.count += 1;
        let count = self.count;
        self.used.get_mut(mark).map(|used| *used = count).is_some()
    }

    fn add(&mut self, mark: Mark) {
        self.count += 1;
        if self.used.len() >= REMEMBERED_LIMIT
            && let Some(oldest) = self.used.iter().min_by_key(|(_, used)| **used).map(|(mark, _)| *mark)
        {
            self.used.remove(&oldest);
        }
        self.used.insert(mark, self.count);
    }
}

impl<'a> Check<'a> {
    fn join(running: &'a Mutex<HashMap<Mark, Arc<OnceCell<bool>>>>, mark: Mark) -> Self {
        let cell = Arc::clone(lock(running).entry(mark).or_default());
        Self { running, mark, cell }
    }
}

impl Drop for Check<'_> {
    /// A check that is done, or that everybody has left, is over.
    fn drop(&mut self) {
        let mut running = lock(self.running);
        // One reference is the map's, one is this one's.
        let over = self.cell.initialized() || Arc::strong_count(&self.cell) <= 2;
        if over && running.get(&self.mark).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell)) {
            running.remove(&self.mark);
        }
    }
}

impl<'a> Place<'a> {
    fn take(waiting: &'a Mutex<Waiting>, address: IpAddr) -> Result<Self, Refused> {
        let mut all = lock(waiting);
        let own = all.by_address.get(&address).copied().unwrap_or_default();
        if all.total >= WAITING_LIMIT || own >= WAITING_LIMIT_OF_ADDRESS {
            return Err(Refused::Busy);
        }
        all.total += 1;
        all.by_address.insert(address, own + 1);
        drop(all);
        Ok(Self { waiting, address })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut all = lock(self.waiting);
        all.total -= 1;
        let own = all.by_address.get(&self.address).copied().unwrap_or_default();
        if own <= 1 {
            all.by_address.remove(&self.address);
        } else {
            all.by_address.insert(self.address, own - 1);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const REMEMBERED_LIMIT: usize = 4096;
const WAITING_LIMIT: usize = 64;
const WAITING_LIMIT_OF_ADDRESS: usize = 16;
/// Longer names and passwords are wrong without being checked.
const LENGTH_LIMIT: usize = 1024;
/// What a password is checked against when the file has no account at all: cost 10, and no password is known for it.
const NOBODY: &str = "$2y$10$QTxH.uCVyLanjEz5QLhUXuLQNS2XBqlnGonhuIhimBagaHNrKWOQe";

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    /// Two accounts of different cost.
    const FILE: &str = "alice:$2y$04$QTxH.uCVyLanjEz5QLhUXuLQNS2XBqlnGonhuIhimBagaHNrKWOQe\n\
                        bob:$2y$09$QTxH.uCVyLanjEz5QLhUXuLQNS2XBqlnGonhuIhimBagaHNrKWOQe\n";
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    struct Fixture {
        passwords: Arc<Passwords>,
        /// The hashes that were checked against.
        seen: Arc<Mutex<Vec<String>>>,
        folder: tempfile::TempDir,
    }

    /// `right` is the one good password.
    fn fixture(content: &str, verify: impl Fn(&str) -> bool + Send + Sync + 'static) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("htpasswd");
        std::fs::write(&path, content).unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&seen);
        let verify: Verify = Arc::new(move |password: &str, hash: &str| {
            log.lock().unwrap().push(hash.to_owned());
            verify(password)
        });
        let mut passwords = Passwords::with_verify(&path, SystemTime::now(), verify).unwrap();
        passwords.places = Arc::new(Semaphore::new(1));
        Fixture { passwords: Arc::new(passwords), seen, folder }
    }

    impl Fixture {
        async fn check(&self, name: &str, password: &str) -> Result<(), Refused> {
            self.passwords.check(name, &Secret::new(password), HERE, SystemTime::now()).await
        }

        fn spawn(
            &self,
            name: &str,
            password: String,
            address: IpAddr,
        ) -> tokio::task::JoinHandle<Result<(), Refused>> {
            let (passwords, name) = (Arc::clone(&self.passwords), name.to_owned());
            tokio::spawn(async move {
                passwords.check(&name, &Secret::new(password), address, SystemTime::now()).await
            })
        }

        async fn until_waiting(&self, count: usize) {
            let wait = async {
                while lock(&self.passwords.waiting).total != count {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
        }

        fn runs(&self) -> usize {
            self.seen.lock().unwrap().len()
        }

        fn is_idle(&self) -> bool {
            let waiting = lock(&self.passwords.waiting);
            lock(&self.passwords.running).is_empty() && waiting.total == 0 && waiting.by_address.is_empty()
        }
    }

    #[tokio::test]
    async fn an_unknown_name_costs_one_bcrypt_and_is_never_right() {
        let all = fixture(FILE, |_| true);
        for name in ["mallory", "eve", "trent", "peggy", "victor", "walter", "oscar", "sybil"] {
            let before = all.runs();
            assert_eq!(all.check(name, "x").await, Err(Refused::Password { account: None }));
            assert_eq!(all.runs(), before + 1);
            assert_eq!(all.check(name, "y").await, Err(Refused::Password { account: None }));
            let seen = all.seen.lock().unwrap().clone();
            assert_eq!(seen[before], seen[before + 1], "the cost says that the account does not exist");
            assert!(FILE.contains(&seen[before]));
        }
        let costs: std::collections::HashSet<String> = all.seen.lock().unwrap().drain(..).collect();
        assert_eq!(costs.len(), 2, "all unknown names have one cost, which sets them apart from known ones");
        assert!(all.is_idle());
    }

    #[tokio::test]
    async fn without_any_account_a_password_still_costs_what_it_costs() {
        let all = fixture("", |_| true);
        assert_eq!(all.check("alice", "x").await, Err(Refused::Password { account: None }));
        assert_eq!(*all.seen.lock().unwrap(), [NOBODY]);
        assert_eq!(NOBODY.parse::<bcrypt::HashParts>().unwrap().get_cost(), 10);
    }

    #[tokio::test]
    async fn what_was_right_is_remembered_until_the_file_changes() {
        let all = fixture(FILE, |password| password == "right");
        for _ in 0..5 {
            all.check("alice", "right").await.unwrap();
        }
        assert_eq!(all.runs(), 1);
        all.check("bob", "right").await.unwrap();
        assert_eq!(all.runs(), 2, "what is remembered is a name and a password, not one of them");
        assert!(all.check("alice", "wrong").await.is_err());
        assert!(all.check("alice", "wrong").await.is_err());
        assert_eq!(all.runs(), 4, "a wrong password is not remembered");
        std::fs::write(all.folder.path().join("htpasswd"), format!("{FILE}# changed\n")).unwrap();
        all.check("alice", "right").await.unwrap();
        assert_eq!(all.runs(), 5);
        std::fs::write(all.folder.path().join("htpasswd"), FILE.lines().last().unwrap()).unwrap();
        assert_eq!(all.check("alice", "right").await, Err(Refused::Password { account: None }));
    }

    #[tokio::test]
    async fn name_and_password_do_not_run_into_each_other() {
        let all = fixture(FILE, |_| true);
        let accounts = all.passwords.file.accounts(SystemTime::now());
        let mark = |name: &str, password: &str| all.passwords.mark(&accounts, name, &Secret::new(password));
        assert_ne!(mark("ab", "c"), mark("a", "bc"));
        assert_ne!(mark("a", "b"), mark("b", "a"));
    }

    #[tokio::test]
    async fn equal_checks_at_once_are_one_check() {
        let (open, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let all = fixture(FILE, move |_| gate.lock().unwrap().recv().is_ok());
        let many: Vec<_> = (0..500).map(|_| all.spawn("alice", "same".into(), HERE)).collect();
        tokio::task::yield_now().await;
        open.send(()).unwrap();
        for one in many {
            one.await.unwrap().unwrap();
        }
        assert_eq!(all.runs(), 1);
        assert!(all.is_idle());
    }

    #[tokio::test]
    async fn a_bounded_number_waits_and_no_address_takes_all_places() {
        let (open, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let all = fixture(FILE, move |_| gate.lock().unwrap().recv().is_err());
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let mut running = Vec::new();
        running.push(all.spawn("alice", "first".into(), address(1)));
        while all.runs() == 0 {
            tokio::task::yield_now().await;
        }
        for number in 0..WAITING_LIMIT_OF_ADDRESS {
            running.push(all.spawn("alice", format!("wrong {number}"), address(1)));
        }
        all.until_waiting(WAITING_LIMIT_OF_ADDRESS).await;
        let soon = |task| tokio::time::timeout(Duration::from_secs(20), task);
        let refused = soon(all.spawn("alice", "one more".into(), address(1))).await.unwrap().unwrap();
        assert_eq!(refused, Err(Refused::Busy));
        let mut last = 1;
        while running.len() <= WAITING_LIMIT {
            last += 1;
            running.push(all.spawn("alice", format!("from {last}"), address(last)));
        }
        all.until_waiting(WAITING_LIMIT).await;
        let refused = soon(all.spawn("alice", "too many".into(), address(200))).await.unwrap().unwrap();
        assert_eq!(refused, Err(Refused::Busy));
        // Half of them lose patience, the others are told.
        for (number, task) in running.iter().enumerate().filter(|(number, _)| number % 2 == 1) {
            assert!(!task.is_finished(), "{number}");
            task.abort();
        }
        for _ in 0..running.len() {
            let _ = open.send(());
        }
        for task in running {
            if let Ok(outcome) = task.await {
                assert_eq!(outcome, Err(Refused::Password { account: Some("alice".into()) }));
            }
        }
        assert!(all.is_idle(), "somebody who left still has a place");
    }

    #[test]
    fn a_bounded_number_is_remembered_and_the_least_used_goes_first() {
        let mut remembered = Remembered::default();
        let mark = |number: u32| {
            let mut mark = [0; 32];
            mark[..4].copy_from_slice(&number.to_be_bytes());
            mark
        };
        for number in 0..REMEMBERED_LIMIT as u32 {
            remembered.add(mark(number));
        }
        assert!(remembered.has(&mark(0)));
        remembered.add(mark(u32::MAX));
        assert_eq!(remembered.used.len(), REMEMBERED_LIMIT);
        assert!(remembered.has(&mark(0)) && remembered.has(&mark(u32::MAX)) && !remembered.has(&mark(1)));
    }
}
