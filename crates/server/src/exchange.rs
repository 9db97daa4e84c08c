//! From a request to its answer: who asks, may they, do it, write it down.

use crate::answer::{API_VERSION, Answer, NAMESPACE, Note, Outcome, REQUEST_ID, Refusal};
use crate::body::Body;
use crate::call::{Call, Target, unauthorized};
use crate::ledger::Ledger;
use crate::record::Record;
use crate::route::{Parsed, Query, Route, What};
use crate::server::Shared;
use crate::socket::Stretches;
use crate::{Action, Asked, Caller, Decision};
use crate::{blob, listing, manifest, own, upload};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use larder_core::RepositoryName;
use std::net::IpAddr;
use std::sync::Arc;

/// What is known of a connection.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// The certificate the client proved to have, in DER.
    pub(crate) certificate: Option<Arc<[u8]>>,
    pub(crate) secure: bool,
    pub(crate) stretches: Option<Stretches>,
}

/// Answers one request. Whatever happens, there is an answer and a record of it.
pub(crate) async fn answer(shared: Arc<Shared>, peer: Peer, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let record = blank_record(&shared, &peer, &head, shared.request_id());
    let mut ledger = Ledger::new(record, shared.metrics.clone(), shared.sinks.clone());
    let is_head = head.method == Method::HEAD;
    let namespace = namespace(&head);
    let outcome = Box::pin(run(&shared, &peer, head, body, &mut ledger.record)).await;
    let mut answer = outcome.unwrap_or_else(Refusal::into_answer);

    let Note { digest, before, freshness, received, reason, login } = std::mem::take(&mut answer.note);
    let record = &mut ledger.record;
    record.status = answer.status.as_u16();
    record.digest = digest.or(record.digest);
    record.before = before;
    record.freshness = freshness;
    record.received = received;
    record.reason = reason;
    if let Some((login, caller)) = login {
        (record.login, record.caller) = (login, caller);
    }
    if let Ok(id) = HeaderValue::from_str(&record.id) {
        answer.headers.insert(REQUEST_ID, id);
    }
    answer.headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    if let Some(namespace) = namespace.filter(|_| record.repository.is_some()) {
        answer.headers.insert(NAMESPACE, namespace);
    }
    answer.headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // What a refused request still has to say is not waited for.
    if answer.status.is_client_error() && record.action == Some(Action::Push) {
        answer.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let mut response = answer.into_response();
    let mut body = std::mem::replace(response.body_mut(), Body::empty());
    if is_head {
        body = Body::empty();
    }
    *response.body_mut() = body.with_ledger(ledger);
    response
}

async fn run(
    shared: &Arc<Shared>,
    peer: &Peer,
    head: http::request::Parts,
    body: Incoming,
    record: &mut Record,
) -> Outcome {
    let route = match Route::parse(&head.method, head.uri.path()) {
        Parsed::Route(route) => route,
        Parsed::Method(allowed) => {
            let refusal =
                Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this method does nothing here");
            return Err(refusal.header(header::ALLOW, allowed));
        }
        Parsed::Nothing => return Err(Refusal::absent("NAME_INVALID", "there is nothing under this path")),
    };
    record.route = route.as_str();
    record.action = route.action(&head.method);
    let raw_query = head.uri.query().unwrap_or_default().to_owned();
    let Some(query) = Query::parse(&raw_query) else {
        return Err(Refusal::invalid("UNSUPPORTED", "the query is not well-formed"));
    };
    if matches!(route, Route::Health) {
        return own::health();
    }
    if let Some(own) = &shared.settings.via
        && head.headers.get_all(header::VIA).iter().any(|via| via.to_str().is_ok_and(|via| via.contains(own)))
    {
        let refusal =
            Refusal::new(StatusCode::LOOP_DETECTED, "UNSUPPORTED", "this registry stands in front of itself");
        return Err(
            refusal.because("an upstream leads back to this server: its url is an address of this server")
        );
    }
    // RFC 9112 §3.2: one, and not several that whoever stands in front of us may choose from.
    if head.version == http::Version::HTTP_11 && head.headers.get_all(header::HOST).iter().count() != 1 {
        return Err(Refusal::invalid("UNSUPPORTED", "a request has one Host header"));
    }
    let target = target(shared, &route, &query)?;
    record.repository = target.as_ref().map(|target| target.name.clone());
    if let Route::Repository { what, .. } = &route {
        record.reference = what.reference();
    }

    let origin = origin(shared, peer, &head.headers);
    let asked = Asked {
        repository: target.as_ref().map(|target| &target.name),
        // With a namespace the path alone is the name of something else, and opens nothing that a token names.
        path: target.as_ref().filter(|_| query.value("ns").is_none()).map(|target| target.path.as_str()),
        action: record.action.unwrap_or(Action::Admin),
    };
    let caller = identify(shared, peer, &head.headers, &asked, &origin, record).await?;
    record.caller = caller.name.clone();
    record.login = caller.login;
    permit(shared, &route, &caller, &asked, &origin)?;

    let mut call = Call {
        shared: shared.clone(),
        method: head.method,
        query,
        raw_query,
        headers: head.headers,
        caller,
        body,
        stretches: peer.stretches.clone(),
        origin,
        pace: (std::time::Duration::ZERO, 0),
    };
    match (route, target) {
        (Route::Repository { what, .. }, Some(target)) => within(&mut call, &target, what).await,
        (Route::Base, _) => own::base(),
        (Route::Catalog, _) => listing::catalog(&call).await,
        (Route::Ready, _) => own::ready(&call).await,
        (Route::Metrics, _) => own::metrics(&call).await,
        (Route::Token, _) => own::token(&mut call).await,
        (Route::Keys, _) => own::keys(&call),
        (Route::Health | Route::Repository { .. }, _) => own::health(),
    }
}

async fn within(call: &mut Call, target: &Target, what: What) -> Outcome {
    let method = call.method.clone();
    match what {
        What::Manifest(text) => match method {
            Method::PUT => manifest::put(call, target, &text).await,
            Method::DELETE => manifest::delete(call, target, &text).await,
            _ => manifest::get(call, target, &text).await,
        },
        What::Blob(text) => match method {
            Method::DELETE => blob::delete(call, target, &text).await,
            _ => blob::get(call, target, &text).await,
        },
        What::NewUpload => upload::post(call, target).await,
        What::Upload(id) => match method {
            Method::PATCH => upload::patch(call, target, &id).await,
            Method::PUT => upload::put(call, target, &id).await,
            Method::DELETE => upload::delete(call, target, &id).await,
            _ => upload::get(call, target, &id).await,
        },
        What::Tags => listing::tags(call, target).await,
        What::Referrers(text) => listing::referrers(call, target, &text).await,
    }
}

fn target(shared: &Shared, route: &Route, query: &Query) -> Result<Option<Target>, Box<Refusal>> {
    let Route::Repository { path, .. } = route else { return Ok(None) };
    let name: Option<RepositoryName> = shared.naming.resolve(path, query.value("ns"));
    let name = name.ok_or_else(|| Refusal::invalid("NAME_INVALID", "this is not a name of a repository"))?;
    Ok(Some(Target { name, path: path.clone() }))
}

async fn identify(
    shared: &Shared,
    peer: &Peer,
    headers: &HeaderMap,
    asked: &Asked<'_>,
    origin: &str,
    record: &mut Record,
) -> Result<Caller, Box<Refusal>> {
    let authorization = match headers.get(header::AUTHORIZATION) {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| {
            Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "the Authorization header is not text")
        })?),
    };
    let identified = shared.access.identify(authorization, peer.certificate.as_deref(), peer.address).await;
    identified.map_err(|refused| {
        record.login = refused.login();
        record.caller = refused.account().map(str::to_owned);
        Refusal::refused(&refused, || unauthorized(shared, asked, origin))
    })
}

/// The one place where a right is checked; everything behind it is allowed.
fn permit(
    shared: &Shared,
    route: &Route,
    caller: &Caller,
    asked: &Asked<'_>,
    origin: &str,
) -> Result<(), Box<Refusal>> {
    let open = match route {
        Route::Repository { .. } => false,
        Route::Metrics => !shared.settings.private_metrics,
        // `/v2/` tells clients whether they have to log in at all.
        Route::Base => !(caller.name.is_none() && shared.access.wants_login()),
        Route::Catalog | Route::Health | Route::Ready | Route::Token | Route::Keys => true,
    };
    if open {
        return Ok(());
    }
    if matches!(route, Route::Base) {
        return Err(unauthorized(shared, asked, origin));
    }
    match shared.access.decide(caller, asked) {
        Decision::Allowed => Ok(()),
        Decision::Unauthenticated => Err(unauthorized(shared, asked, origin)),
        Decision::Denied => {
            let message = format!("you may not {} here", asked.action);
            Err(Refusal::new(StatusCode::FORBIDDEN, "DENIED", message))
        }
    }
}

/// The `ns` parameter, which is said back (distribution-spec, "Registry Proxying").
fn namespace(head: &http::request::Parts) -> Option<HeaderValue> {
    let query = Query::parse(head.uri.query().filter(|query| query.contains("ns="))?)?;
    HeaderValue::from_str(query.value("ns")?).ok()
}

/// Where the client believes us to be, for absolute links: `https://host:port`.
fn origin(shared: &Shared, peer: &Peer, headers: &HeaderMap) -> String {
    if let Some(url) = &shared.settings.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let host =
        if host.len() <= 255 && !host.is_empty() && host.bytes().all(plain) { host } else { "localhost" };
    format!("{}://{host}", if peer.secure { "https" } else { "http" })
}

fn blank_record(shared: &Shared, peer: &Peer, head: &http::request::Parts, id: String) -> Record {
    let agent = head.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    Record {
        time: (shared.clock)(),
        id,
        method: head.method.as_str().chars().take(16).collect(),
        path: head.uri.path().chars().take(512).collect(),
        route: "other",
        action: None,
        repository: None,
        reference: None,
        digest: None,
        before: None,
        caller: None,
        login: crate::Login::Anonymous,
        address: peer.address,
        agent: agent.map(|agent| agent.chars().take(256).collect()),
        status: 0,
        sent: 0,
        received: 0,
        elapsed: std::time::Duration::ZERO,
        freshness: None,
        broken: false,
        reason: None,
    }
}

impl Answer {
    /// For answers that must not be kept by anybody in between.
    pub(crate) fn private(self) -> Self {
        self.header(header::CACHE_CONTROL, "no-store")
    }
}
