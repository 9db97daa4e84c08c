//! Manifests, in and out (distribution-spec, "Pulling manifests", "Pushing Manifests", "Deleting Tags", "Deleting Manifests").

use crate::answer::{Answer, Outcome, Refusal, SUBJECT, TAGGED};
use crate::call::{Call, Target, blocking, selector};
use crate::condition::{self, Conditions, Verdict};
use crate::{Freshness, LOCAL, Selector};
use http::{StatusCode, header};
use larder_core::{
    Algorithm, Classify as _, Descriptor, Digest, Document, Hasher, Kind, Manifest, MediaType,
    RepositoryName, Tag,
};
use larder_store::{Begin, BlobKind, HeldKind, Lease, Store};

/// `GET` and `HEAD`. The type is the one the manifest was stored with, whatever is asked for.
pub(crate) async fn get(call: &Call, target: &Target, text: &str) -> Outcome {
    let selector = selector(text)?;
    call.authorize(target, Some(&selector), "MANIFEST_UNKNOWN").await?;
    let (digest, mut freshness) = resolve(call, target, &selector).await?;
    let mut document = stored(call, target, &digest).await?;
    if document.is_none() && call.shared.upstream(&target.name).is_some() {
        // It was damaged, or a collection came in between: by its digest it can be had again.
        freshness = resolve(call, target, &Selector::Digest(digest)).await?.1;
        document = stored(call, target, &digest).await?;
    }
    let Some(document) = document else { return Err(unknown(&selector)) };
    call.shared.uses.note(digest);
    let mut answer = Answer::ok()
        .digest(&digest)
        .header(header::ETAG, format!("\"{digest}\""))
        .noting(|note| note.freshness = freshness);
    if freshness == Some(Freshness::Stale) {
        answer = answer.header(header::WARNING, "299 - \"the upstream cannot be asked: this may be stale\"");
    }
    match Conditions::of(&call.headers).verdict(&digest) {
        Verdict::Perform => {}
        Verdict::Unchanged => return Ok(Answer { status: StatusCode::NOT_MODIFIED, ..answer }),
        Verdict::Failed => return Err(condition::failed()),
    }
    let media_type = document.media_type().as_str().to_owned();
    if call.is_head() {
        let answer = answer.header(header::CONTENT_TYPE, media_type);
        return Ok(answer.length(document.raw().len() as u64));
    }
    Ok(answer.body(&media_type, bytes::Bytes::from_owner(document.raw().clone())))
}

/// `PUT`, by tag or by digest; more tags may come along as `?tag=`.
pub(crate) async fn put(call: &mut Call, target: &Target, text: &str) -> Outcome {
    let selector = selector(text)?;
    refuse_foreign(target)?;
    let more = call.query.values("tag").map(Tag::new).collect::<Result<Vec<_>, _>>();
    let more = more.map_err(|error| Refusal::invalid("MANIFEST_INVALID", error.to_string()))?;
    if more.len() > TAGS {
        return Err(Refusal::invalid("MANIFEST_INVALID", format!("at most {TAGS} tags at once")));
    }
    let declared = call.header(&header::CONTENT_TYPE).map(|text| {
        // Parameters (`; charset=utf-8`) are not part of the type.
        MediaType::new(text.split(';').next().unwrap_or_default().trim())
    });
    let raw = read(call).await?;
    let received = raw.len() as u64;
    let document = Document::parse(raw, declared.as_ref())
        .map_err(|error| Refusal::invalid("MANIFEST_INVALID", larder_core::report(&error)))?;
    let digest = match &selector {
        Selector::Tag(_) => document.digest(),
        Selector::Digest(wanted) => {
            let found = hash(wanted.algorithm(), document.raw());
            if found != *wanted {
                let message = format!("the manifest hashes to {found}, not to {wanted}");
                return Err(Refusal::invalid("DIGEST_INVALID", message));
            }
            found
        }
    };
    let tags: Vec<Tag> = match &selector {
        Selector::Tag(tag) => std::iter::once(tag.clone()).chain(more.iter().cloned()).collect(),
        Selector::Digest(_) => more.clone(),
    };
    let subject = document.manifest().subject().map(|subject| subject.digest);
    let push = Push {
        store: call.shared.store.clone(),
        repository: target.name.clone(),
        document,
        digest,
        tags,
        tagged: matches!(selector, Selector::Tag(_)),
        conditions: Conditions::of(&call.headers),
    };
    let outcome = blocking(move || push.keep()).await?;
    let before = match outcome {
        Kept::Done { before } => before,
        Kept::Unacceptable => return Err(condition::failed()),
        Kept::Wrong(child, size) => {
            let message = format!("{} has {size} bytes, not {}", child.digest, child.size);
            return Err(Refusal::invalid("SIZE_INVALID", message));
        }
        Kept::Missing(missing) => {
            let message = format!("this repository has no blob {missing}; push it before the manifest");
            return Err(Refusal::absent("MANIFEST_BLOB_UNKNOWN", message));
        }
    };
    let mut answer = Answer::new(StatusCode::CREATED)
        .digest(&digest)
        .header(header::LOCATION, call.link(target, &format!("manifests/{digest}")))
        .header(header::ETAG, format!("\"{digest}\""))
        .length(0)
        .noting(|note| {
            note.before = before;
            note.received = received;
        });
    if let Some(subject) = subject {
        answer = answer.header(SUBJECT, subject.to_string());
    }
    for tag in more {
        answer = answer.header(TAGGED, tag.as_str());
    }
    Ok(answer)
}

/// `DELETE`: a tag alone, or a manifest with all tags that stand for it.
pub(crate) async fn delete(call: &Call, target: &Target, text: &str) -> Outcome {
    let selector = selector(text)?;
    // Whether something is cached is for those to know who may read it.
    call.authorize(target, Some(&selector), "MANIFEST_UNKNOWN").await?;
    let (store, name, chosen) = (call.shared.store.clone(), target.name.clone(), selector.clone());
    let removed = blocking(move || match &chosen {
        Selector::Tag(tag) => {
            let reference = name.tagged(tag.clone());
            let before = store.name(&reference)?.map(|name| name.descriptor.digest);
            let cached = store.remove_cached(&name, tag.as_str())?;
            Ok((store.remove_name(&reference)? || cached).then_some(before))
        }
        Selector::Digest(digest) => Ok(store.release(&name, digest)?.then_some(Some(*digest))),
    })
    .await?;
    match removed {
        Some(before) => Ok(Answer::new(StatusCode::ACCEPTED).length(0).noting(|note| note.before = before)),
        None => Err(unknown(&selector)),
    }
}

/// What belongs to another registry is not ours to write, whether it has an upstream now or not: commands on this machine, and
/// servers started differently, take such names for what that registry says.
pub(crate) fn refuse_foreign(target: &Target) -> Result<(), Box<Refusal>> {
    if target.name.registry().as_str() == LOCAL {
        return Ok(());
    }
    let message = format!(
        "{} belongs to another registry and takes no pushes; push to a name of this registry, without another one in front",
        target.name
    );
    Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message))
}

/// What the store has. A damaged manifest is set aside where it can be had again, and never served.
async fn stored(call: &Call, target: &Target, digest: &Digest) -> Result<Option<Document>, Box<Refusal>> {
    match call.shared.documents.read(digest) {
        Err(error) if error.kind() == Kind::Corrupt && call.shared.upstream(&target.name).is_some() => {
            // If it cannot be moved, the upstream's bytes replace it.
            let (store, digest) = (call.shared.store.clone(), *digest);
            let _ = blocking(move || store.quarantine(&digest)).await;
            Ok(None)
        }
        document => Ok(document?),
    }
}

async fn resolve(
    call: &Call,
    target: &Target,
    selector: &Selector,
) -> Result<(Digest, Option<Freshness>), Box<Refusal>> {
    let shared = &call.shared;
    let store = &shared.store;
    let upstream = shared.upstream(&target.name);
    if let Selector::Digest(digest) = selector
        && store.holds(&target.name, digest)?
        && stored(call, target, digest).await?.is_some()
    {
        return Ok((*digest, upstream.map(|_| Freshness::Fresh)));
    }
    if let Some(upstream) = upstream {
        let found = upstream.manifest(&target.name, selector, &call.caller).await;
        let found = found.map_err(|trouble| call.refuse(&trouble, target, "MANIFEST_UNKNOWN"))?;
        return Ok((found.descriptor.digest, Some(found.freshness)));
    }
    let Selector::Tag(tag) = selector else { return Err(unknown(selector)) };
    if let Some(name) = store.name(&target.name.tagged(tag.clone()))? {
        return Ok((name.descriptor.digest, None));
    }
    // What was cached while there was an upstream.
    let cached = store.cached(&target.name, tag.as_str())?;
    cached.map(|cached| (cached.descriptor.digest, None)).ok_or_else(|| unknown(selector))
}

async fn read(call: &mut Call) -> Result<Vec<u8>, Box<Refusal>> {
    let limit = call.shared.settings.manifest_limit;
    let too_large = || {
        let message = format!("a manifest may have at most {limit} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", message)
    };
    let announced = call.header(&header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut raw = Vec::new();
    while let Some(piece) = call.next_piece().await? {
        if (raw.len() + piece.len()) as u64 > limit {
            return Err(too_large());
        }
        raw.extend_from_slice(&piece);
    }
    Ok(raw)
}

enum Kept {
    Done {
        before: Option<Digest>,
    },
    /// The repository lacks this.
    Missing(Digest),
    /// What is there has another size than the manifest says.
    Wrong(Box<Descriptor>, u64),
    /// The client's conditions do not hold.
    Unacceptable,
}

/// A manifest that arrived whole.
struct Push {
    store: Store,
    repository: RepositoryName,
    document: Document,
    digest: Digest,
    tags: Vec<Tag>,
    /// Whether it was pushed by the first of the tags; then the conditions are about what that stands for, else about the
    /// manifest itself.
    tagged: bool,
    conditions: Conditions,
}

impl Push {
    /// Everything durable before anybody is told.
    fn keep(&self) -> Result<Kept, larder_store::Error> {
        let Self { store, repository, document, digest, .. } = self;
        if !self.conditions.allow(self.current()?.as_ref()) {
            return Ok(Kept::Unacceptable);
        }
        let lease = store.lease("push")?;
        // Under the lease before they are looked for: what is found stays.
        let children = document.manifest().children();
        lease.add(&children.iter().map(|child| child.digest).collect::<Vec<_>>())?;
        for child in children {
            let held = store.holds(repository, &child.digest)?;
            match store.blob(&child.digest)?.filter(|_| held) {
                Some(blob) if blob.size() != child.size => {
                    return Ok(Kept::Wrong(Box::new(child.clone()), blob.size()));
                }
                Some(_) => {}
                None if is_needed(document.manifest(), child) => return Ok(Kept::Missing(child.digest)),
                None => {}
            }
        }
        store_document(store, document, digest, &lease)?;
        store.hold_below(repository, digest)?;
        if self.tags.is_empty() {
            store.hold(repository, digest, HeldKind::Manifest)?;
            return Ok(Kept::Done { before: None });
        }
        let descriptor = Descriptor { digest: *digest, ..document.descriptor() };
        let references: Vec<_> = self.tags.iter().map(|tag| repository.tagged(tag.clone())).collect();
        // Asked again: of two that expect the same, one comes second.
        let acceptable =
            |at: usize, now: Option<&Digest>| at > 0 || !self.tagged || self.conditions.allow(now);
        let Some(earlier) = store.set_pushed_if(&references, &descriptor, acceptable)? else {
            return Ok(Kept::Unacceptable);
        };
        let before = earlier.into_iter().flatten().find(|earlier| earlier != digest);
        Ok(Kept::Done { before })
    }

    /// What the conditions are about, as it is now.
    fn current(&self) -> Result<Option<Digest>, larder_store::Error> {
        match self.tags.first().filter(|_| self.tagged) {
            Some(tag) => {
                let name = self.store.name(&self.repository.tagged(tag.clone()))?;
                Ok(name.map(|name| name.descriptor.digest))
            }
            None => Ok(self.store.holds(&self.repository, &self.digest)?.then_some(self.digest)),
        }
    }
}

fn store_document(
    store: &Store,
    document: &Document,
    digest: &Digest,
    lease: &Lease,
) -> Result<(), larder_store::Error> {
    if digest.algorithm() == Algorithm::Sha256 {
        return store.put_document(document, lease);
    }
    loop {
        match store.begin(digest, Some(document.raw().len() as u64), lease)? {
            Begin::Exists(_) => return Ok(()),
            Begin::Busy => std::thread::sleep(std::time::Duration::from_millis(5)),
            Begin::Ingest(mut ingest) => {
                ingest.reset()?;
                ingest.write(document.raw())?;
                return ingest.commit(BlobKind::Manifest).map(drop);
            }
        }
    }
}

/// Whether something must be there before the manifest: its config and its layers, but not those that may not be distributed. The
/// manifests of an index may be missing (a sparse index keeps its digest while only some platforms are here), and so may a
/// subject.
fn is_needed(manifest: &Manifest, child: &Descriptor) -> bool {
    !matches!(manifest, Manifest::Index(_)) && !child.media_type.is_foreign()
}

fn hash(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

fn unknown(selector: &Selector) -> Box<Refusal> {
    Refusal::absent("MANIFEST_UNKNOWN", format!("this repository has no manifest {selector}"))
}

/// Tags that one push may set: answers name them all, and clients bound their headers.
const TAGS: usize = 64;
