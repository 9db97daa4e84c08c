//! API servers of Kubernetes: read, and nothing else.

use crate::transport::blame;
use crate::{Config, Error, Result, redact};
use larder_core::Secret;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Identity};
use std::time::Duration;
use url::Url;

/// How an API server is reached: what a context of a kubeconfig comes to. Texts of certificates and keys are PEM.
#[derive(Debug, Clone)]
pub struct ApiAccess {
    /// The address, with a path if it has one.
    pub server: Url,
    /// Who signs its certificate; the authorities of this machine otherwise.
    pub authorities: Option<Vec<u8>>,
    /// Certificate and key to be known by.
    pub identity: Option<Secret>,
    /// What says who asks.
    pub credential: ApiCredential,
    /// Whether the certificate of the server is not looked at.
    pub skip_verify: bool,
    /// The proxy it is reached through.
    pub proxy: Option<Secret>,
}

/// What says who asks, beside a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiCredential {
    /// Nothing.
    None,
    /// A token.
    Bearer(Secret),
    /// A name and a password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
}

/// A connection to an API server. It sends GET requests only, follows no redirects, and keeps to one host.
#[derive(Debug, Clone)]
pub struct ApiServer {
    base: Url,
    client: reqwest::Client,
    authorization: Option<HeaderValue>,
    config: Config,
}

/// What an API server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body; of an error at most 64 KiB.
    pub body: Vec<u8>,
}

impl ApiServer {
    /// Makes a connection ready; nothing is sent.
    pub fn new(access: &ApiAccess, config: Config) -> Result<Self> {
        let host = access.server.host_str().unwrap_or_default().to_owned();
        let setup =
            |source: reqwest::Error| Error::Setup { host: host.clone(), source: source.without_url() };
        let mut builder = reqwest::Client::builder()
            .user_agent(&config.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.idle_timeout)
            .tls_danger_accept_invalid_certs(access.skip_verify);
        if let Some(pem) = &access.authorities {
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(pem).map_err(setup)?);
        }
        if let Some(pem) = &access.identity {
            builder = builder.identity(Identity::from_pem(pem.reveal().as_bytes()).map_err(setup)?);
        }
        if let Some(proxy) = &access.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy.reveal()).map_err(setup)?);
        }
        let authorization = match &access.credential {
            ApiCredential::None => None,
            ApiCredential::Bearer(token) => Some(format!("Bearer {}", token.reveal())),
            ApiCredential::Basic { username, password } => {
                use base64::Engine as _;
                let pair = format!("{username}:{}", password.reveal());
                Some(format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair)))
            }
        };
        let unusable = |_| Error::Protocol {
            what: redact::url(&access.server),
            reason: "the credential has characters that cannot be sent",
        };
        let authorization =
            authorization.map(|text| HeaderValue::from_str(&text).map_err(unusable)).transpose()?;
        let authorization = authorization.map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Ok(Self {
            base: access.server.clone(),
            client: builder.build().map_err(setup)?,
            authorization,
            config,
        })
    }

    /// Gets a path, which may have a query, below the address of the server. An error status is an answer, too; that the server
    /// is busy is waited out.
    ///
    /// # Errors
    /// No connection, or more than `limit` bytes.
    pub async fn get(&self, path: &str, limit: u64) -> Result<ApiAnswer> {
        let mut url = self.base.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query(query);
        for attempt in 1.. {
            let mut request = self.client.get(url.clone()).header(ACCEPT, "application/json");
            if let Some(authorization) = &self.authorization {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            let response = request.send().await.map_err(|error| blame(error, &url, &self.config))?;
            let status = response.status().as_u16();
            if matches!(status, 429 | 503) && attempt < self.config.attempts {
                let wait =
                    response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                let wait = wait.map_or(self.config.backoff_base * attempt, Duration::from_secs);
                tokio::time::sleep(wait.min(self.config.retry_after_max)).await;
                continue;
            }
            let limit = if response.status().is_success() { limit } else { limit.min(64 << 10) };
            return self.read(response, &url, limit, status).await;
        }
        unreachable!("the last attempt returns")
    }

    async fn read(
        &self,
        mut response: reqwest::Response,
        url: &Url,
        limit: u64,
        status: u16,
    ) -> Result<ApiAnswer> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| blame(error, url, &self.config))? {
            if (body.len() + chunk.len()) as u64 > limit {
                if status >= 400 {
                    break;
                }
                return Err(Error::TooLarge { what: redact::url(url), limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(ApiAnswer { status, body })
    }
}
