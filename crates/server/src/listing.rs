//! What there is (distribution-spec, "Content Discovery"; and `_catalog`, which is not in it but which clients ask for).

use crate::answer::{Answer, FILTERS_APPLIED, Outcome, Refusal};
use crate::call::{Call, Target, digest};
use crate::route::encode;
use crate::{Action, Asked, Decision, Freshness};
use http::header;
use larder_core::{Descriptor, RepositoryName};

/// `GET tags/list`, sorted, in pages.
pub(crate) async fn tags(call: &Call, target: &Target) -> Outcome {
    call.authorize(target, None, "NAME_UNKNOWN").await?;
    let store = &call.shared.store;
    let page = page(call)?;
    let mut freshness = None;
    let mut upstream_tags = None;
    if let Some(upstream) = call.shared.upstream(&target.name) {
        let tags = upstream.tags(&target.name, &call.caller).await;
        upstream_tags = tags.map_err(|trouble| call.refuse(&trouble, target, "NAME_UNKNOWN"))?;
        freshness = Some(if upstream_tags.is_some() { Freshness::Confirmed } else { Freshness::Stale });
    }
    let after = page.last.as_deref();
    let mut tags: Vec<String> = match upstream_tags {
        Some(tags) => {
            let mut tags: Vec<String> = tags.into_iter().map(|tag| tag.as_str().to_owned()).collect();
            tags.sort_unstable();
            tags.dedup();
            tags.retain(|tag| after.is_none_or(|after| tag.as_str() > after));
            tags
        }
        None => {
            let tags = store.tags(&target.name, after, page.size.saturating_add(1))?;
            tags.into_iter().map(|tag| tag.as_str().to_owned()).collect()
        }
    };
    if tags.is_empty() && freshness.is_none() && after.is_none() && !store.has_repository(&target.name)? {
        let message = format!("there is no repository {}", target.path);
        return Err(Refusal::absent("NAME_UNKNOWN", message));
    }
    let next = page.cut(&mut tags);
    let mut answer = Answer::ok().noting(|note| note.freshness = freshness);
    if let Some(last) = next {
        let rest = format!("tags/list?n={}&last={last}", page.size);
        answer = answer.header(header::LINK, format!("<{}>; rel=\"next\"", call.link(target, &rest)));
    }
    Ok(answer.json(&serde_json::json!({ "name": target.path, "tags": tags })))
}

/// `GET _catalog`: the repositories that the caller may read.
pub(crate) async fn catalog(call: &Call) -> Outcome {
    let page = page(call)?;
    let mut found: Vec<String> = Vec::new();
    let mut after = page.last.clone().map(|last| match call.shared.naming.resolve(&last, None) {
        Some(name) => name.to_string(),
        None => last,
    });
    'pages: while found.len() <= page.size {
        let names = call.shared.store.repositories(after.as_deref(), CATALOG_STEP)?;
        let Some(last) = names.last() else { break };
        after = Some(last.to_string());
        for name in names {
            if may_see(call, &name)? {
                found.push(name.to_string());
                if found.len() > page.size {
                    break 'pages;
                }
            }
        }
    }
    let next = page.cut(&mut found);
    let mut answer = Answer::ok();
    if let Some(last) = next {
        let link = format!("</v2/_catalog?n={}&last={}>; rel=\"next\"", page.size, encode(&last));
        answer = answer.header(header::LINK, link);
    }
    let shown: Vec<&str> = found.iter().map(|name| call.shared.naming.written(name)).collect();
    Ok(answer.json(&serde_json::json!({ "repositories": shown })))
}

/// `GET referrers/DIGEST`: an index of what is attached, empty if nothing is.
pub(crate) async fn referrers(call: &Call, target: &Target, text: &str) -> Outcome {
    let subject = digest(text)?;
    call.authorize(target, None, "NAME_UNKNOWN").await?;
    let mut found = call.shared.store.referrers_in(&target.name, &subject)?;
    let mut freshness = None;
    if let Some(upstream) = call.shared.upstream(&target.name) {
        let there = upstream.referrers(&target.name, &subject, &call.caller).await;
        let there = there.map_err(|trouble| call.refuse(&trouble, target, "NAME_UNKNOWN"))?;
        freshness = Some(if there.is_some() { Freshness::Confirmed } else { Freshness::Stale });
        for descriptor in there.unwrap_or_default() {
            if !found.iter().any(|known| known.digest == descriptor.digest) {
                found.push(descriptor);
            }
        }
    }
    let mut answer = Answer::ok().noting(|note| note.freshness = freshness);
    if let Some(wanted) = call.query.value("artifactType").filter(|wanted| !wanted.is_empty()) {
        found.retain(|descriptor| descriptor.artifact_type.as_deref() == Some(wanted));
        answer = answer.header(FILTERS_APPLIED, "artifactType");
    }
    found.sort_by_key(|descriptor| descriptor.digest);
    if let Some(last) = call.query.value("last") {
        found.retain(|descriptor| descriptor.digest.to_string().as_str() > last);
    }
    if let Some(last) = cut(&mut found) {
        let filter =
            call.query.value("artifactType").map(|wanted| format!("&artifactType={}", encode(wanted)));
        let rest = format!("referrers/{subject}?last={last}{}", filter.unwrap_or_default());
        answer = answer.header(header::LINK, format!("<{}>; rel=\"next\"", call.link(target, &rest)));
    }
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": found });
    Ok(answer.body(INDEX, index.to_string()))
}

/// Keeps answers within what clients accept as a manifest; says where the next page starts.
fn cut(found: &mut Vec<Descriptor>) -> Option<String> {
    let mut bytes = 0;
    let kept = found.iter().take_while(|descriptor| {
        let annotations: usize =
            descriptor.annotations.iter().map(|(key, value)| key.len() + value.len() + 8).sum();
        bytes += 400 + annotations;
        bytes < REFERRERS_BYTES
    });
    let kept = kept.count().max(1);
    if kept >= found.len() {
        return None;
    }
    found.truncate(kept);
    found.last().map(|descriptor| descriptor.digest.to_string())
}

/// Names alone can be private: what came from an upstream is shown if everybody may read it there.
fn may_see(call: &Call, name: &RepositoryName) -> Result<bool, larder_store::Error> {
    let path = name.to_string();
    let decide = |action| {
        let asked = Asked { repository: Some(name), path: Some(&path), action };
        call.shared.access.decide(&call.caller, &asked) == Decision::Allowed
    };
    if !decide(Action::Pull) {
        return Ok(false);
    }
    Ok(call.shared.upstream(name).is_none()
        || decide(Action::Admin)
        || call.shared.store.public_since(name)?.is_some())
}

/// Which part of a list is wanted.
struct Page {
    size: usize,
    last: Option<String>,
}

fn page(call: &Call) -> Result<Page, Box<Refusal>> {
    let size = match call.query.value("n") {
        None => PAGE,
        Some(text) => {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Refusal::invalid("UNSUPPORTED", "n is not a number of entries"));
            }
            // Larger than any list is still a number.
            text.parse().unwrap_or(usize::MAX).min(PAGE)
        }
    };
    Ok(Page { size, last: call.query.value("last").filter(|last| !last.is_empty()).map(str::to_owned) })
}

impl Page {
    /// Cuts a list to the page. The entry to go on after, if there is more.
    fn cut(&self, entries: &mut Vec<String>) -> Option<String> {
        if entries.len() <= self.size {
            return None;
        }
        entries.truncate(self.size);
        entries.last().cloned()
    }
}

/// Entries of a list in one answer, at most and if nothing else is asked for.
const PAGE: usize = 10_000;
const CATALOG_STEP: usize = 1_000;
const REFERRERS_BYTES: usize = 3 << 20;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
