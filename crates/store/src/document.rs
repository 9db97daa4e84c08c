//! Manifests and indexes, and the graph they span.

use crate::blob::BlobKind;
use crate::database::{Durability, Key, Stored};
use crate::{Error, Lease, Result, Store};
use larder_core::{Descriptor, Digest, Document, MANIFEST_LIMIT, Manifest, MediaType};
use rusqlite::{OptionalExtension as _, Transaction, params};

/// One arrow of the graph: as long as `parent` lives, `child` lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) parent: Digest,
    pub(crate) child: Digest,
    pub(crate) relation: Relation,
}

/// Which end of an edge is the document that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Relation {
    /// The parent names its child.
    Child,
    /// The child names its parent as its subject: attached artifacts live as long as what they are attached to.
    Referrer,
}

impl Store {
    /// Stores a manifest or index and remembers what it points at, so that those live as long as it does.
    pub fn put_document(&self, document: &Document, lease: &Lease) -> Result<()> {
        let digest = document.digest();
        let media_type = document.media_type().as_str();
        self.put_as(&digest, document.raw(), BlobKind::Manifest, Some(media_type), lease)?;
        // It may have been here as a plain blob.
        let known = self.database.read("look up a document", |db| {
            db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1 AND kind = ?2 AND media_type = ?3")?
                .exists(params![Key::from(&digest), BlobKind::Manifest.code(), media_type])
        })?;
        if !known {
            let edges = edges_of(&digest, document);
            self.database.write("record a document", Durability::Process, |db| {
                db.prepare_cached("UPDATE blobs SET kind = ?2, media_type = ?3 WHERE digest = ?1")?
                    .execute(params![Key::from(&digest), BlobKind::Manifest.code(), media_type])?;
                connect(db, &edges)
            })?;
        }
        self.classify(document)
    }

    /// A blob that was pushed is just a blob until a manifest says what it is.
    fn classify(&self, document: &Document) -> Result<()> {
        let children: Vec<(Key, BlobKind)> = document
            .manifest()
            .children()
            .iter()
            .filter_map(|child| Some((Key::from(&child.digest), BlobKind::of(&child.media_type)?)))
            .collect();
        let unknown = self.database.snapshot("look up blobs", |db| {
            let mut query = db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1 AND kind = ?2")?;
            let mut unknown = Vec::new();
            for child in children {
                if query.exists(params![child.0, BlobKind::Other.code()])? {
                    unknown.push(child);
                }
            }
            Ok(unknown)
        })?;
        if unknown.is_empty() {
            return Ok(());
        }
        self.database.write("say what blobs are", Durability::Process, |db| {
            let mut update =
                db.prepare_cached("UPDATE blobs SET kind = ?2 WHERE digest = ?1 AND kind = ?3")?;
            for (digest, kind) in &unknown {
                update.execute(params![digest, kind.code(), BlobKind::Other.code()])?;
            }
            Ok(())
        })
    }

    /// Reads a manifest or index. Its bytes are hashed every time: what is not what it was is [`Error::Damaged`].
    pub fn document(&self, digest: &Digest) -> Result<Option<Document>> {
        let Some(raw) = self.read(digest, MANIFEST_LIMIT)? else { return Ok(None) };
        let media_type = self.database.read("look up a document", |db| {
            db.prepare_cached("SELECT media_type FROM blobs WHERE digest = ?1")?
                .query_row([Key::from(digest)], |row| row.get::<_, Option<String>>(0))
                .optional()
        })?;
        let media_type = media_type.flatten().map(|text| MediaType::new(&text));
        Document::parse(raw, media_type.as_ref())
            .map(Some)
            .map_err(|source| Error::Document { digest: *digest, source })
    }

    /// What is attached to `subject`, as the distribution API would list it. Sorted by digest.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.describe(&self.attached(subject)?)
    }

    /// Everything that says that `subject` is its subject.
    pub(crate) fn attached(&self, subject: &Digest) -> Result<Vec<Digest>> {
        self.database.read("look up referrers", |db| {
            db.prepare_cached("SELECT child FROM edges WHERE parent = ?1 AND relation = ?2")?
                .query_map(params![Key::from(subject), Relation::Referrer.code()], |row| {
                    row.get::<_, Stored>(0).map(|Stored(digest)| digest)
                })?
                .collect()
        })
    }

    /// Descriptors of attached documents, as far as the store holds them.
    pub(crate) fn describe(&self, attached: &[Digest]) -> Result<Vec<Descriptor>> {
        let mut descriptors = Vec::new();
        for digest in attached {
            if let Some(document) = self.document(digest)? {
                let mut descriptor = document.descriptor();
                descriptor.digest = *digest;
                match document.manifest() {
                    Manifest::Image(image) | Manifest::Artifact(image) => {
                        // Empty is as good as missing (distribution-spec, "Listing Referrers").
                        let kind = image.artifact_type.as_deref().filter(|kind| !kind.is_empty());
                        let kind = kind.unwrap_or(image.config.media_type.as_str());
                        descriptor.artifact_type = Some(kind.to_owned());
                        descriptor.annotations = image.annotations.clone().unwrap_or_default();
                    }
                    Manifest::Index(index) => {
                        descriptor.artifact_type =
                            index.artifact_type.clone().filter(|kind| !kind.is_empty());
                        descriptor.annotations = index.annotations.clone().unwrap_or_default();
                    }
                }
                descriptors.push(descriptor);
            }
        }
        descriptors.sort_by_key(|descriptor| descriptor.digest);
        Ok(descriptors)
    }
}

/// What a document says about the graph; `None` if the bytes are not a document.
pub(crate) fn edges(digest: &Digest, raw: &[u8], media_type: Option<&str>) -> Option<Vec<Edge>> {
    let media_type = media_type.map(MediaType::new);
    Some(edges_of(digest, &Document::parse(raw, media_type.as_ref()).ok()?))
}

/// Sorted, each once. `digest` is what the store calls the document.
pub(crate) fn edges_of(digest: &Digest, document: &Document) -> Vec<Edge> {
    let manifest = document.manifest();
    let children = manifest.children().into_iter().map(|child| Edge {
        parent: *digest,
        child: child.digest,
        relation: Relation::Child,
    });
    let subject = manifest.subject().map(|subject| Edge {
        parent: subject.digest,
        child: *digest,
        relation: Relation::Referrer,
    });
    let mut edges: Vec<_> = children.chain(subject).collect();
    edges.sort_unstable();
    edges.dedup();
    edges
}

pub(crate) fn connect(db: &Transaction<'_>, edges: &[Edge]) -> rusqlite::Result<()> {
    let mut insert =
        db.prepare_cached("INSERT OR IGNORE INTO edges (parent, child, relation) VALUES (?1, ?2, ?3)")?;
    for edge in edges {
        insert.execute(params![Key::from(&edge.parent), Key::from(&edge.child), edge.relation.code()])?;
    }
    Ok(())
}

/// Drops what a document said.
pub(crate) fn disconnect(db: &Transaction<'_>, document: &[u8]) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM edges WHERE parent = ?1 AND relation = ?2")?
        .execute(params![document, Relation::Child.code()])?;
    db.prepare_cached("DELETE FROM edges WHERE child = ?1 AND relation = ?2")?
        .execute(params![document, Relation::Referrer.code()])?;
    Ok(())
}

impl Relation {
    /// FORMAT: the number in a row.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Child => 0,
            Self::Referrer => 1,
        }
    }

    pub(crate) fn from_code(code: u8) -> Self {
        if code == 1 { Self::Referrer } else { Self::Child }
    }
}
