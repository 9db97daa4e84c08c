//! Small documents from a URL that the operator named: the keys of a token issuer, for example.

use crate::client::Client;
use crate::exchange::{Named, Request};
use crate::{Error, Result};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::HeaderMap;
use std::sync::Arc;
use url::Url;

impl Client {
    /// The document at `url`, at most `limit` bytes, without credentials. The host is one that the operator named, so it may be
    /// on a private network; where it redirects to may not, unless that is allowed.
    ///
    /// # Errors
    /// `Invalid` when it is no URL, `NotFound`, `Denied` or `Unavailable` by the server's answer, `Invalid` when it is longer.
    pub async fn document(&self, url: &str, limit: u64) -> Result<Bytes> {
        let url: Url = url.parse().map_err(|_| Error::Redirect {
            url: url.chars().take(200).collect(),
            reason: "it is not a URL",
        })?;
        let named = Named { hosts: vec![(url.clone(), Arc::default(), None)], realm_hosts: Vec::new() };
        let request = Request {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            private: HeaderMap::new(),
            authorization: None,
            payload: None,
            named: &named,
            login: None,
        };
        self.exchange().follow(request).await?.accept(&[200]).await?.bytes(limit).await
    }
}
