//! `ready`: would a cluster start with the network unplugged?

use crate::{Engine, Error, Failure, Result};
use larder_core::{
    Classify, Descriptor, Digest, Kind, Manifest, Platform, Reference, Registry, Repository, Selection,
};
use larder_fetch::Request;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Where images have to be.
#[derive(Debug, Clone)]
pub enum Shelf {
    /// In this store.
    Store,
    /// In this registry, under the name that a mirror has it by: with the name of its own registry in front, or without.
    Registry(Registry),
}

/// An image that has to be there.
#[derive(Debug, Clone)]
pub struct Needed {
    /// Which one.
    pub image: Reference,
    /// What its name has to stand for, where that is known.
    pub digest: Option<Digest>,
}

/// Whether an image is there.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Readiness {
    /// Which one.
    pub image: Reference,
    /// Nothing is missing.
    pub ready: bool,
    /// What is missing, or why nobody can tell.
    pub failure: Option<Failure>,
}

/// Images that are looked up at the same time.
const AT_ONCE: usize = 16;

impl Engine {
    /// Looks for every image, for every platform, down to its last layer. In the order of `needed`.
    pub async fn ready(&self, needed: &[Needed], platforms: &[Platform], shelf: &Shelf) -> Vec<Readiness> {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for (at, needed) in needed.iter().cloned().enumerate() {
            let (engine, slots) = (self.clone(), slots.clone());
            let (platforms, shelf) = (platforms.to_vec(), shelf.clone());
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                let found = match &shelf {
                    Shelf::Store => engine.is_stored(&needed, &platforms),
                    Shelf::Registry(registry) => engine.is_served(&needed, &platforms, registry).await,
                };
                let failure = found.err().map(|error| Failure::from(&error));
                (at, Readiness { image: needed.image, ready: failure.is_none(), failure })
            });
        }
        let mut all: Vec<Option<Readiness>> = vec![None; needed.len()];
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok((at, readiness)) => all[at] = Some(readiness),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        all.into_iter().flatten().collect()
    }

    fn is_stored(&self, needed: &Needed, platforms: &[Platform]) -> Result<()> {
        let failed = |source| Error::Store { action: format!("cannot look up {}", needed.image), source };
        if let Some(wanted) = needed.digest
            && needed.image.digest().is_none()
        {
            // The tag is what a cluster asks for.
            match self.store().name(&needed.image).map_err(failed)? {
                Some(name) if name.descriptor.digest == wanted => {}
                Some(name) => {
                    let stands_for = name.descriptor.digest;
                    return Err(other(&needed.image, wanted, stands_for));
                }
                None => return Err(self.absent(&needed.image)),
            }
        }
        for platform in platforms {
            let request = Request { reference: needed.image.clone(), platform: platform.clone() };
            if !self.fetcher()?.is_cached(&request)? {
                return Err(Error::NotReady {
                    image: Box::new(needed.image.clone()),
                    problem: format!("is not in the store for {platform}, or not whole"),
                });
            }
        }
        Ok(())
    }

    fn absent(&self, image: &Reference) -> Error {
        Error::NotReady { image: Box::new(image.clone()), problem: "is not in the store".into() }
    }

    async fn is_served(&self, needed: &Needed, platforms: &[Platform], registry: &Registry) -> Result<()> {
        let image = &needed.image;
        let path = image.repository().as_str();
        let names = match image.registry() == registry {
            true => vec![path.to_owned()],
            false => vec![format!("{}/{path}", image.registry()), path.to_owned()],
        };
        let mut last = None;
        for name in names {
            // A port cannot stand in a repository.
            let Ok(repository) = Repository::new(&name) else { continue };
            let there =
                Reference::new(registry.clone(), repository, image.tag().cloned(), image.digest().copied());
            match self.is_whole_at(needed, &there, platforms).await {
                Err(error) if error.kind() == Kind::NotFound => last = Some(error),
                outcome => return outcome,
            }
        }
        Err(last.unwrap_or_else(|| Error::NotReady {
            image: Box::new(image.clone()),
            problem: format!("has no name that {registry} could have it by"),
        }))
    }

    async fn is_whole_at(&self, needed: &Needed, there: &Reference, platforms: &[Platform]) -> Result<()> {
        let lease = self.lease("ready")?;
        let scope = self.scope(there, None, &lease)?;
        let repo = self.client()?.repository(scope.registry(), scope.repository(), scope.auth.clone());
        let failed = |source| Error::Remote { action: format!("cannot find {there}"), source };
        let document = repo.manifest(&there.selector()).await.map_err(failed)?;
        if let Some(wanted) = needed.digest
            && document.digest() != wanted
        {
            return Err(other(there, wanted, document.digest()));
        }
        let manifests = match document.manifest() {
            Manifest::Index(index) => {
                let chosen = index.select(&Selection::Only(platforms.to_vec()));
                let chosen = chosen.map_err(|missing| larder_fetch::Error::Platform {
                    reference: there.to_string(),
                    missing,
                    offered: index.platforms(),
                })?;
                let mut manifests = Vec::new();
                for child in chosen {
                    manifests.push(repo.manifest(&child.digest.to_string()).await.map_err(failed)?);
                }
                manifests
            }
            _ => vec![document],
        };
        for manifest in manifests {
            let blobs: Vec<Descriptor> =
                manifest.manifest().children().iter().map(|child| (*child).clone()).collect();
            for blob in blobs {
                if repo.has_blob(&blob.digest).await.map_err(failed)?.is_none() {
                    return Err(Error::NotReady {
                        image: Box::new(there.clone()),
                        problem: format!("lacks the blob {}", blob.digest),
                    });
                }
            }
        }
        Ok(())
    }
}

fn other(image: &Reference, wanted: Digest, stands_for: Digest) -> Error {
    Error::OtherDigest {
        image: Box::new(image.clone()),
        wanted: Box::new(wanted),
        stands_for: Box::new(stands_for),
    }
}
