//! What is attached to an image: signatures, attestations, bills of materials.

use crate::pull::Plan;
use crate::{Engine, Error, Result};
use larder_core::{Classify, Descriptor, Digest, Event, Kind, Reference, Selection, Tag};
use larder_fetch::Scope;
use std::collections::HashSet;

/// Attached artifacts may have artifacts attached: a signature on a bill of materials, and no deeper.
const DEPTH: u32 = 2;
/// Artifacts attached to one image that are followed; endless signatures are an attack (CVE-2023-33958).
const LIMIT: usize = 256;
/// The ends of the tags under which cosign keeps what belongs to `sha256-HEX`.
pub(crate) const SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// The tag under which cosign keeps something that belongs to `subject`.
pub(crate) fn tag(subject: &Digest, suffix: &str) -> Option<Tag> {
    Tag::new(&format!("{}-{}.{suffix}", subject.algorithm().as_str(), subject.hex())).ok()
}

impl Engine {
    /// Signatures, attestations, bills of materials: by the referrers API and by cosign's tags.
    pub(crate) async fn attached(&self, scope: &Scope, plan: &Plan) -> Result<Plan> {
        let repo = self.client()?.repository(scope.registry(), scope.repository(), scope.auth.clone());
        let mut extra = Plan::default();
        let mut subjects: Vec<(Digest, u32)> =
            plan.documents.iter().map(|document| (document.digest(), 0)).collect();
        let mut known: HashSet<Digest> = subjects.iter().map(|(digest, _)| *digest).collect();
        while let Some((subject, depth)) = subjects.pop() {
            let mut found: Vec<(Descriptor, Option<Reference>)> = Vec::new();
            let failed = |source| Error::Remote {
                action: format!("cannot list what is attached to {subject}"),
                source,
            };
            // All questions at once: each costs a way to the registry and back.
            let resolve = |tag: Option<Tag>| {
                let repo = &repo;
                async move {
                    let Some(tag) = tag else { return Ok(None) };
                    match repo.resolve(tag.as_str()).await {
                        Ok(descriptor) => Ok(Some((descriptor, Some(scope.reference.with_tag(tag))))),
                        Err(error) if error.kind() == Kind::NotFound => Ok(None),
                        Err(error) => Err(error),
                    }
                }
            };
            let [signatures, attestations, bills] = SUFFIXES.map(|suffix| tag(&subject, suffix));
            let (listed, signatures, attestations, bills) = tokio::join!(
                repo.referrers(&subject, None),
                resolve(signatures),
                resolve(attestations),
                resolve(bills)
            );
            found.extend(listed.map_err(failed)?.into_iter().map(|descriptor| (descriptor, None)));
            for tagged in [signatures, attestations, bills] {
                found.extend(tagged.map_err(failed)?);
            }
            for (descriptor, name) in found {
                if known.len() > LIMIT {
                    let message = format!(
                        "more than {LIMIT} artifacts are attached to {}; the rest is left out",
                        scope.reference
                    );
                    (self.progress())(Event::Warning { message });
                    return Ok(extra);
                }
                if let Some(name) = name {
                    extra.tags.push((name, descriptor.clone()));
                }
                if !known.insert(descriptor.digest) {
                    continue;
                }
                let before = extra.blobs.len();
                self.gather(scope, &descriptor, &Selection::All, &mut extra).await?;
                let blobs = extra.blobs[before..].to_vec();
                extra.downloaded += self.fetch_all(scope, blobs).await?;
                extra.land().await?;
                extra.attached += 1;
                if depth + 1 < DEPTH {
                    subjects.push((descriptor.digest, depth + 1));
                }
            }
        }
        Ok(extra)
    }
}
