//! What is not part of the registry: health, metrics, tokens.

use crate::answer::{Answer, Outcome, Refusal};
use crate::call::{Call, blocking, unauthorized};
use crate::{Action, Asked, Refused, TokenRequest};
use http::{StatusCode, header};

/// `GET /v2/` (distribution-spec, "Determining Support").
pub(crate) fn base() -> Outcome {
    Ok(Answer::ok().json(&serde_json::json!({})))
}

/// `GET /healthz`: this process answers. Nothing else is looked at, so that a slow disk does not get it restarted.
pub(crate) fn health() -> Outcome {
    Ok(Answer::ok().body("text/plain; charset=utf-8", "ok\n"))
}

/// `GET /readyz`: 200 if requests can be served, 503 while shutting down or if the store does not answer. An upstream that is
/// down does not make it 503: what is cached is served.
pub(crate) async fn ready(call: &Call) -> Outcome {
    let shared = &call.shared;
    let leaving = shared.leaving.load(std::sync::atomic::Ordering::Relaxed);
    let store = shared.store.clone();
    let store = blocking(move || store.repositories(None, 1)).await;
    let upstreams = shared.on_miss.as_ref().map(|on_miss| on_miss.states()).unwrap_or_default();
    let upstreams: serde_json::Map<String, serde_json::Value> = upstreams
        .iter()
        .map(|state| {
            let word = match state.reachable {
                Some(true) => "reachable",
                Some(false) => "unreachable",
                None => "not asked yet",
            };
            (state.registry.to_string(), word.into())
        })
        .collect();
    let fine = store.is_ok() && !leaving;
    let status = if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let value = serde_json::json!({
        "ready": fine,
        "store": if store.is_ok() { "ok" } else { "failing" },
        "leaving": leaving,
        // What exactly is wrong has paths and hosts in it, and is in the log.
        "accounts": if shared.access.problems().is_empty() { "ok" } else { "failing" },
        "upstreams": upstreams,
    });
    let mut answer = Answer::new(status).json(&value);
    answer.note.reason = store.err().and_then(|refusal| refusal.note.reason);
    Ok(answer)
}

/// `GET /metrics`.
pub(crate) async fn metrics(call: &Call) -> Outcome {
    let shared = call.shared.clone();
    let upstreams = shared.on_miss.as_ref().map(|on_miss| on_miss.states()).unwrap_or_default();
    let text = blocking(move || Ok(shared.metrics.text(&shared.store, &upstreams))).await?;
    Ok(Answer::ok().body("application/openmetrics-text; version=1.0.0; charset=utf-8", text))
}

/// `GET` and `POST /token` (the distribution project's token specification, and its OAuth 2 form).
pub(crate) async fn token(call: &mut Call) -> Outcome {
    let mut form = String::new();
    if call.method == http::Method::POST {
        let mut raw = Vec::new();
        while let Some(piece) = call.next_piece().await? {
            raw.extend_from_slice(&piece);
            if raw.len() > FORM_LIMIT {
                return Err(Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "SIZE_INVALID",
                    "the form is too long",
                ));
            }
        }
        form = String::from_utf8(raw).map_err(|_| Refusal::invalid("UNSUPPORTED", "the form is not text"))?;
    }
    let asked = Asked { repository: None, path: None, action: Action::Pull };
    let refused =
        |refused: Refused| Refusal::refused(&refused, || unauthorized(&call.shared, &asked, &call.origin));
    let is_form = call.method == http::Method::POST;
    let text = if is_form { form.as_str() } else { call.raw_query.as_str() };
    let request = TokenRequest::parse(text).map_err(refused)?;
    let access = &call.shared.access;
    // A password has no place in a URL, which ends up in logs: only a form may bring one.
    let caller = match is_form {
        true => access.identify_form(&request, &call.caller).await.map_err(|why| {
            let login = (why.login(), why.account().map(str::to_owned));
            let mut refusal = refused(why);
            refusal.note.login = Some(login);
            refusal
        })?,
        false => call.caller.clone(),
    };
    let naming = &call.shared.naming;
    let token = access.token(&request, &caller, |name| naming.resolve(name, None)).map_err(refused)?;
    let answer = Answer::ok().private().body("application/json", token.to_json());
    Ok(answer.noting(|note| note.login = Some((caller.login, caller.name))))
}

/// `GET /token/keys`: a JSON Web Key Set (RFC 7517).
pub(crate) fn keys(call: &Call) -> Outcome {
    match call.shared.access.jwks() {
        Some(keys) => Ok(Answer::ok().header(header::CACHE_CONTROL, "max-age=300").json(&keys)),
        None => Err(Refusal::absent("UNSUPPORTED", "this server gives out no tokens")),
    }
}

const FORM_LIMIT: usize = 16 << 10;
