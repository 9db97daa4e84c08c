//! What is known about a blob before it is fetched.

use super::Shared;
use super::blobs::Order;
use super::trouble::{self, Word};
use larder_core::{Descriptor, Digest, Kind, Manifest, MediaType, RepositoryName};
use larder_remote::Repo;
use larder_server::Trouble;
use larder_store::Store;

/// Tags whose manifests are searched for what they say about a blob.
const SEARCHED: usize = 32;

impl Shared {
    /// What is known about a blob before it is fetched: what a manifest says, else what the upstream says.
    pub(super) async fn describe(&self, order: &Order, repo: &Repo) -> Result<Descriptor, Trouble> {
        let digest = order.digest;
        if let Some(known) = self.learned.about(&order.repository, &digest, self.now()) {
            return Ok(known);
        }
        let repository = order.repository.clone();
        if let Some(found) = self.on_disk(move |store| search(store, &repository, &digest)).await? {
            return Ok(found);
        }
        self.ask_size(order, repo).await.map(|size| Descriptor::new(unknown_type(), digest, size))
    }

    /// What the upstream says about the size of a blob, which is also its word that the repository has it.
    pub(super) async fn ask_size(&self, order: &Order, repo: &Repo) -> Result<u64, Trouble> {
        let digest = order.digest;
        let what = format!("how large is {digest} of {}", order.repository);
        match order.source.ask(&what, &order.who, None, repo.has_blob(&digest)).await {
            Ok(Some(size)) => Ok(size),
            Ok(None) => {
                let trouble = trouble::plain(Kind::NotFound, format!("{} has no {digest}", order.repository));
                self.note_absent(&order.who, &order.repository, &digest.to_string(), &trouble);
                Err(trouble)
            }
            Err(refusal) => {
                if refusal.word == Word::Denied {
                    self.deny(&(order.who.identity, order.repository.clone()), &refusal.trouble).await;
                }
                Err(refusal.trouble)
            }
        }
    }
}

/// What the stored manifests of a repository say about a blob.
fn search(
    store: &Store,
    repository: &RepositoryName,
    digest: &Digest,
) -> larder_store::Result<Option<Descriptor>> {
    for tag in store.tags(repository, None, SEARCHED)? {
        let cached = store.cached(repository, tag.as_str())?.map(|cached| cached.descriptor.digest);
        let root = match cached {
            Some(digest) => Some(digest),
            None => store.name(&repository.tagged(tag))?.map(|name| name.descriptor.digest),
        };
        let Some(Ok(Some(document))) = root.map(|root| store.document(&root)) else { continue };
        let mut documents = vec![document];
        if let Manifest::Index(index) = documents[0].manifest() {
            let below =
                index.manifests.iter().take(SEARCHED).filter_map(|child| store.document(&child.digest).ok());
            documents = below.flatten().collect();
        }
        let children = documents.iter().flat_map(|document| document.manifest().children());
        if let Some(found) = children.into_iter().find(|child| child.digest == *digest) {
            return Ok(Some(found.clone()));
        }
    }
    Ok(None)
}

pub(super) fn unknown_type() -> MediaType {
    MediaType::new("application/octet-stream")
}
