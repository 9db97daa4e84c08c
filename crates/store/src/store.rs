//! The store itself: what every operation needs.

use crate::database::{Database, Nanos, lock};
use crate::layout::{self, Layout};
use crate::lease::Held;
use crate::upload::Hashed;
use crate::{Error, Result, index, lock as file_lock};
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What the store cannot know by itself.
#[derive(Clone)]
pub struct Options {
    /// Identifies the running kernel, and changes with every start of the machine. Derived things that were not made durable
    /// are trusted only as long as it stays the same.
    pub boot_id: String,
    /// The time for last use, ages and reports.
    pub clock: Clock,
}

/// A store: one directory, used by any number of threads and processes at once. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) layout: Arc<Layout>,
    pub(crate) database: Arc<Database>,
    pub(crate) options: Arc<Options>,
    /// Leases held through this handle and its clones; what is derived meanwhile is put under them.
    pub(crate) leases: Arc<Mutex<Vec<Weak<Held>>>>,
    /// How far uploads are hashed.
    pub(crate) uploads: Arc<Mutex<Hashed>>,
}

impl Store {
    /// Opens the store in `home`, creating what is missing. After a crash it finishes what was cut off: an index that was
    /// not written is written. Everything else that a crash leaves behind is taken over where it is wanted again (whole
    /// blobs, partial downloads) or swept by [`Store::gc`].
    ///
    /// Refused: a store of a newer layout, and an image layout that larder did not make.
    pub fn open(home: &Path, options: Options) -> Result<Self> {
        let layout = Layout::new(home);
        layout.create_directories()?;
        let open = file_lock::open_database(&layout)?;
        let database = {
            let _alone = file_lock::layout(&layout)?;
            let is_new = !layout.database().exists();
            let database = Database::open(&layout, open, || refuse_used(&layout))?;
            let marker = layout.oci_layout();
            if layout::is_empty_or_gone(&marker)? {
                layout::replace_lightly(&marker, layout::OCI_LAYOUT.as_bytes())?;
                if is_new {
                    index::write_empty(&layout)?;
                }
                // The content of the database is durable by now, and with this its name and those of the other files.
                layout::sync_directory(home)?;
            }
            database
        };
        let store = Self {
            layout: Arc::new(layout),
            database: Arc::new(database),
            options: Arc::new(options),
            leases: Arc::default(),
            uploads: Hashed::shared(),
        };
        if layout::is_empty_or_gone(&store.layout.index_json())?
            || layout::is_empty_or_gone(&store.layout.index_yaml())?
        {
            index::invalidate(&store)?;
        }
        store.flush()?;
        Ok(store)
    }

    /// The directory.
    pub fn home(&self) -> &Path {
        self.layout.home()
    }

    pub(crate) fn now(&self) -> Nanos {
        (self.options.clock)().into()
    }

    /// The live leases taken through this handle.
    pub(crate) fn held_leases(&self) -> Vec<Arc<Held>> {
        let mut leases = lock(&self.leases);
        leases.retain(|lease| lease.strong_count() > 0);
        leases.iter().filter_map(Weak::upgrade).collect()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.home()).finish()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("boot_id", &self.boot_id).finish_non_exhaustive()
    }
}

/// Where images are but no database is, none is made: it would say that there is nothing. If the images are ours, the database
/// was lost; otherwise they are somebody's.
fn refuse_used(layout: &Layout) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Index {
        #[serde(default)]
        manifests: Vec<serde::de::IgnoredAny>,
    }
    let path = layout.index_json();
    let is_named = match fs::read(&path) {
        Ok(raw) => !serde_json::from_slice::<Index>(&raw).is_ok_and(|index| index.manifests.is_empty()),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let is_ours = fs::read(layout.index_yaml()).is_ok_and(|text| text.starts_with(index::HEADER.as_bytes()));
    let problem = "is gone, but its blobs are there";
    let lost = || Error::BrokenDatabase { path: layout.database(), problem };
    match (is_named, is_ours) {
        (true, false) => Err(Error::Foreign { path }),
        (true, true) => Err(lost()),
        (false, true) if layout.has_blobs()? => Err(lost()),
        (false, _) => Ok(()),
    }
}
