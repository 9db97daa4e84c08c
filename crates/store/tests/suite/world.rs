//! A store in a temporary directory with a clock that the test turns, and small images that real tools accept.

use larder_core::{Descriptor, Digest, Document, MediaType, Reference};
use larder_store::{BlobKind, Lease, Options, Store};
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

pub(crate) struct World {
    pub(crate) home: PathBuf,
    seconds: Arc<AtomicU64>,
    _dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        Self { home: dir.path().join("store"), seconds: Arc::new(AtomicU64::new(now)), _dir: dir }
    }

    /// A new handle, as another process would have it.
    pub(crate) fn open(&self) -> Store {
        self.open_after_boot("first")
    }

    pub(crate) fn open_after_boot(&self, boot_id: &str) -> Store {
        Store::open(&self.home, self.options(boot_id)).unwrap()
    }

    pub(crate) fn options(&self, boot_id: &str) -> Options {
        let seconds = Arc::clone(&self.seconds);
        let clock =
            Arc::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::Relaxed)));
        Options { boot_id: boot_id.into(), clock }
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// The database, past the store. With `sums` the sums of rows are right, whatever is written.
    pub(crate) fn sql(&self, sums: bool) -> rusqlite::Connection {
        let database = rusqlite::Connection::open(self.home.join("larder.db")).unwrap();
        let flags = FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
        database
            .create_scalar_function("larder_sum", -1, flags, move |row| {
                Ok(if sums { sum((0..row.len()).map(|at| row.get_raw(at))) } else { 0 })
            })
            .unwrap();
        database
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.home.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    pub(crate) fn part_path(&self, digest: &Digest) -> PathBuf {
        self.home.join("ingest").join(format!("{}-{}.part", digest.algorithm().as_str(), digest.hex()))
    }

    /// Names of the files in one directory of the store, sorted.
    pub(crate) fn files(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.home.join(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub(crate) struct Image {
    pub(crate) descriptor: Descriptor,
    pub(crate) config: Digest,
    pub(crate) layers: Vec<Digest>,
}

impl Image {
    pub(crate) fn digests(&self) -> Vec<Digest> {
        let mut all = self.layers.clone();
        all.extend([self.config, self.descriptor.digest]);
        all
    }
}

/// Puts an image with one layer per given file content into the store, without a name.
pub(crate) fn put_image(store: &Store, lease: &Lease, contents: &[&[u8]]) -> Image {
    let layers: Vec<Vec<u8>> =
        contents.iter().enumerate().map(|(at, content)| tar(&format!("file{at}"), content)).collect();
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = serde_json::json!({
        "created": "2026-01-01T00:00:00Z", "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": diff_ids.iter().map(|_| serde_json::json!({"created_by": "test"})).collect::<Vec<_>>(),
    })
    .to_string();
    for layer in &layers {
        store.put(layer, BlobKind::Layer, lease).unwrap();
    }
    store.put(config.as_bytes(), BlobKind::Config, lease).unwrap();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": Descriptor::of(MediaType::OCI_CONFIG, config.as_bytes()),
        "layers": layers.iter().map(|l| Descriptor::of(MediaType::OCI_LAYER, l)).collect::<Vec<_>>(),
    });
    let document = put_json(store, lease, &manifest);
    Image { descriptor: document.descriptor(), config: Digest::of(config.as_bytes()), layers: diff_ids }
}

/// An image with a name.
pub(crate) fn put_named(store: &Store, name: &str, contents: &[&[u8]]) -> Image {
    let lease = store.lease("test").unwrap();
    let image = put_image(store, &lease, contents);
    store.set_name(&reference(name), &image.descriptor).unwrap();
    image
}

pub(crate) fn put_json(store: &Store, lease: &Lease, json: &serde_json::Value) -> Document {
    let document = Document::parse(json.to_string().into_bytes(), None).unwrap();
    store.put_document(&document, lease).unwrap();
    document
}

pub(crate) fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// Bytes that look different for each seed and do not repeat.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn never_mounted(_: &larder_store::MountRecord) -> bool {
    false
}

/// FNV-1a over types, lengths and bytes, as docs/formats/database.md says.
fn sum<'a>(values: impl Iterator<Item = ValueRef<'a>>) -> i64 {
    let mut text = Vec::new();
    for value in values {
        let (kind, number, bytes): (u8, i64, &[u8]) = match value {
            ValueRef::Null => {
                text.push(0);
                continue;
            }
            ValueRef::Integer(number) => (1, number, &[]),
            ValueRef::Real(_) => panic!("no column is real"),
            ValueRef::Text(bytes) => (3, bytes.len() as i64, bytes),
            ValueRef::Blob(bytes) => (4, bytes.len() as i64, bytes),
        };
        text.push(kind);
        text.extend(number.to_le_bytes());
        text.extend(bytes);
    }
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.iter().fold(0xcbf2_9ce4_8422_2325, step).cast_signed()
}

/// A POSIX tar archive of one file.
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}
