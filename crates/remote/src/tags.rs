//! What names a repository has.

use crate::client::Action;
use crate::exchange::Response;
use crate::hosts::Endpoint;
use crate::page::{MOST_PAGES, next};
use crate::repo::{Call, Repo};
use crate::{Error, Result, redact};
use larder_core::{MANIFEST_LIMIT, Tag};
use reqwest::Method;

#[derive(serde::Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
}

impl Repo {
    /// All tags, in the registry's order. Names that are not tags are left out.
    pub async fn tags(&self) -> Result<Vec<Tag>> {
        let what = format!("tags of {}/{}", self.registry(), self.repository());
        self.persist(&what, Action::Resolve, &|endpoint| {
            Box::pin(async move { self.tags_at(&endpoint).await })
        })
        .await
    }

    /// One of the tags, if there are any: a small question whose answer says whether the repository may be read.
    pub async fn any_tag(&self) -> Result<Option<Tag>> {
        let what = format!("tags of {}/{}", self.registry(), self.repository());
        self.persist(&what, Action::Resolve, &|endpoint| {
            Box::pin(async move {
                let mut url = endpoint.url(&self.path("tags/list"));
                url.query_pairs_mut().append_pair("n", "1");
                let what = redact::url(&url);
                let response = self.call(&endpoint, &Call::new(Method::GET, url, self.pull_scope())).await?;
                let response = response.accept(&[200]).await?;
                let tags = read_page(response, what).await?;
                Ok(tags.first().and_then(|tag| Tag::new(tag).ok()))
            })
        })
        .await
    }

    async fn tags_at(&self, endpoint: &Endpoint) -> Result<Vec<Tag>> {
        let mut tags = Vec::new();
        let mut url = endpoint.url(&self.path("tags/list"));
        url.query_pairs_mut().append_pair("n", "1000");
        for _ in 0..MOST_PAGES {
            let what = redact::url(&url);
            let response = self.call(endpoint, &Call::new(Method::GET, url, self.pull_scope())).await?;
            let response = response.accept(&[200]).await?;
            let following = next(endpoint, &response)?;
            tags.extend(read_page(response, what).await?.iter().filter_map(|tag| Tag::new(tag).ok()));
            match following {
                Some(following) => url = following,
                None => return Ok(tags),
            }
        }
        Err(Error::Protocol { what: redact::url(&endpoint.base), reason: "the list of tags does not end" })
    }
}

async fn read_page(response: Response, what: String) -> Result<Vec<String>> {
    if response.is_web_page() {
        return Err(Error::WebPage { url: what });
    }
    let body = response.bytes(MANIFEST_LIMIT).await?;
    let page: Page = serde_json::from_slice(&body)
        .map_err(|_| Error::Protocol { what, reason: "the answer is not a list of tags" })?;
    Ok(page.tags.unwrap_or_default())
}
