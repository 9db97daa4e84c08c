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
type Verify = fn(&str, &str) -> bool;

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
        Self::with_verify(path, now, |password, hash| bcrypt::verify(password, hash).unwrap_or(false))
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
        let (password, verify, known) = (password.clone(), self.verify, known.is_some());
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
const NOBODY: &str = "$2y$10$......................XajjQvNhvvRt5GSeFk1xFe5l47dONXg1L";
