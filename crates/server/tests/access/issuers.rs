//! Other people's tokens: whose they are, what they may do, and where the keys come from.

use crate::ground::{Ground, bearer, decide, everything_for_everybody_with_an_account, identify};
use crate::key::{Key, key_set};
use jsonwebtoken::Algorithm;
use larder_core::{Classify as _, Kind};
use larder_server::{Access, Action, Decision, Login, Refused};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.test";
const URL: &str = "https://issuer.test/keys";

fn issuer(changes: Value) -> Value {
    let mut issuer = json!({ "kind": "oidc", "issuer": ISSUER, "audience": "larder", "jwks_url": URL });
    for (name, value) in changes.as_object().unwrap() {
        issuer[name] = value.clone();
    }
    issuer
}

fn server(ground: &Ground, issuers: Value) -> Access {
    ground.open(json!({ "issuers": issuers, "rules": everything_for_everybody_with_an_account() })).unwrap()
}

fn token(ground: &Ground, key: &Key, more: Value) -> String {
    let mut claims = ground.claims(ISSUER, "larder", "alice");
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    bearer(&key.sign(&key.header(), &claims))
}

#[tokio::test]
async fn accounts_and_groups_of_an_issuer_are_its_own() {
    let ground = Ground::new();
    let key = Key::new("1", Algorithm::RS256);
    ground.source.put(URL, key_set(&[&key]));
    let access = ground.open(json!({
        "htpasswd": ground.accounts(&["alice"]),
        "issuers": [issuer(json!({ "groups_claim": "groups", "name_claim": "preferred_username" }))],
        "users": { "oidc:al": { "groups": ["staff"] }, "al": { "groups": ["root"] } },
        "rules": [{ "repositories": ["**"], "groups": ["admins"], "users": ["al"], "allow": ["push"] }],
    }));
    let access = access.unwrap();
    let more = json!({ "preferred_username": "al", "groups": ["admins", "x"] });
    let caller = identify(&access, &token(&ground, &key, more)).await.unwrap();
    assert_eq!((caller.name.as_deref(), caller.login), (Some("oidc:al"), Login::Identity));
    assert_eq!(caller.groups, ["oidc:admins", "oidc:x", "staff"]);
    assert_eq!(decide(&access, &caller, Some("a"), Action::Push), Decision::Denied);
    for groups in [json!({}), json!([1]), json!(7)] {
        let more = json!({ "preferred_username": "al", "groups": groups });
        identify(&access, &token(&ground, &key, more)).await.unwrap_err();
    }
    for name in [json!(""), json!("a\nb"), json!(["a"]), json!("x".repeat(300)), Value::Null] {
        identify(&access, &token(&ground, &key, json!({ "preferred_username": name }))).await.unwrap_err();
    }
}

#[tokio::test]
async fn claims_that_are_required_have_exactly_the_value() {
    let ground = Ground::new();
    let key = Key::new("1", Algorithm::RS256);
    ground.source.put(URL, key_set(&[&key]));
    let require = json!({ "require": { "repository_owner": "acme", "protected": true } });
    let access = server(&ground, json!([issuer(require)]));
    identify(&access, &token(&ground, &key, json!({ "repository_owner": "acme", "protected": true })))
        .await
        .unwrap();
    for more in [
        json!({}),
        json!({ "repository_owner": "acme" }),
        json!({ "repository_owner": "acme", "protected": "true" }),
        json!({ "repository_owner": "acme2", "protected": true }),
        json!({ "repository_owner": ["acme"], "protected": true }),
    ] {
        identify(&access, &token(&ground, &key, more)).await.unwrap_err();
    }
}

#[tokio::test]
async fn an_address_that_nobody_verified_is_no_name() {
    let ground = Ground::new();
    let key = Key::new("1", Algorithm::RS256);
    ground.source.put(URL, key_set(&[&key]));
    let access = server(&ground, json!([issuer(json!({ "name_claim": "email" }))]));
    let mail =
        |verified: Value| token(&ground, &key, json!({ "email": "a@b.test", "email_verified": verified }));
    let caller = identify(&access, &mail(true.into())).await.unwrap();
    assert_eq!(caller.name.as_deref(), Some("oidc:a@b.test"));
    for verified in [json!(false), json!("false"), json!("true"), Value::Null] {
        identify(&access, &mail(verified)).await.unwrap_err();
    }
}

#[tokio::test]
async fn clients_that_only_know_passwords_send_the_token_as_one() {
    let ground = Ground::new();
    let key = Key::new("1", Algorithm::RS256);
    ground.source.put(URL, key_set(&[&key]));
    let access = server(&ground, json!([issuer(json!({}))]));
    let good = token(&ground, &key, json!({})).replace("Bearer ", "");
    let send = |name: &str, password: &str| crate::ground::basic(name, password);
    let caller = identify(&access, &send("oidc", &good)).await.unwrap();
    assert_eq!(caller.login, Login::Identity);
    for (name, password) in
        [("oidc", "password"), ("oidc", ""), ("alice", good.as_str()), ("OIDC", good.as_str())]
    {
        identify(&access, &send(name, password)).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_registry_token_does_what_it_says_if_the_rules_agree() {
    let ground = Ground::new();
    let key = Key::new("1", Algorithm::ES256);
    ground.source.put(URL, key_set(&[&key]));
    let access = ground.open(json!({
        "issuers": [issuer(json!({ "kind": "registry" }))],
        "rules": [{ "repositories": ["team/**"], "authenticated": true, "allow": ["pull", "push"] }],
    }));
    let access = access.unwrap();
    let entry =
        |name: &str, actions: Value| json!({ "type": "repository", "name": name, "actions": actions });
    let access_claim = json!([entry("team/app", json!(["*"])), entry("other/app", json!(["pull"])), { "type": "x", "name": "y", "actions": [] }]);
    let caller = identify(&access, &token(&ground, &key, json!({ "access": access_claim }))).await.unwrap();
    assert_eq!((caller.name.as_deref(), caller.login), (Some("token:alice"), Login::Token));
    assert_eq!(decide(&access, &caller, Some("team/app"), Action::Push), Decision::Allowed);
    assert_eq!(decide(&access, &caller, Some("team/app"), Action::Delete), Decision::Denied);
    assert_eq!(decide(&access, &caller, Some("other/app"), Action::Pull), Decision::Denied);
    assert_eq!(decide(&access, &caller, Some("team/other"), Action::Pull), Decision::Unauthenticated);
    let nothing = identify(&access, &token(&ground, &key, json!({}))).await.unwrap();
    assert_eq!(decide(&access, &nothing, Some("team/app"), Action::Pull), Decision::Unauthenticated);
}

#[tokio::test]
async fn two_entries_may_be_for_one_issuer() {
    let ground = Ground::new();
    let key = Key::new("1", Algorithm::ES256);
    ground.source.put(URL, key_set(&[&key]));
    let one = issuer(json!({ "require": { "branch": "main" }, "prefix": "main:" }));
    let two = issuer(json!({ "audience": "other", "prefix": "other:" }));
    let access = server(&ground, json!([one, two]));
    let name = |more: Value| {
        let (access, header) = (&access, token(&ground, &key, more));
        async move { identify(access, &header).await.map(|caller| caller.name.unwrap()) }
    };
    assert_eq!(name(json!({ "branch": "main" })).await.unwrap(), "main:alice");
    assert_eq!(name(json!({ "aud": "other" })).await.unwrap(), "other:alice");
    assert!(name(json!({ "branch": "dev" })).await.is_err());
}

#[tokio::test]
async fn keys_are_fetched_when_needed_and_kept() {
    let ground = Ground::new();
    let key = Key::new("1", Algorithm::ES256);
    ground.source.put(URL, key_set(&[&key]));
    let access = server(&ground, json!([issuer(json!({ "refresh": "5m" }))]));
    assert_eq!(ground.source.count(), 0);
    let header = token(&ground, &key, json!({ "exp": ground.now() + 100_000 }));
    let all = (0..50).map(|_| identify(&access, &header));
    for outcome in futures_util::future::join_all(all).await {
        outcome.unwrap();
    }
    assert_eq!(ground.source.count(), 1, "one fetch for all who come at once");
    ground.pass(299);
    identify(&access, &header).await.unwrap();
    assert_eq!(ground.source.count(), 1);
    ground.pass(2);
    identify(&access, &header).await.unwrap();
    assert_eq!(ground.source.count(), 2, "keys that are old are fetched again");
}

#[tokio::test]
async fn a_new_key_counts_at_once_and_an_old_one_goes() {
    let ground = Ground::new();
    let (old, new) = (Key::new("old", Algorithm::ES256), Key::new("new", Algorithm::ES256));
    ground.source.put(URL, key_set(&[&old]));
    let access = server(&ground, json!([issuer(json!({ "refresh": "1d" }))]));
    let far = json!({ "exp": ground.now() + 1_000_000 });
    let (by_old, by_new) = (token(&ground, &old, far.clone()), token(&ground, &new, far));
    identify(&access, &by_old).await.unwrap();
    identify(&access, &by_new).await.unwrap_err();
    assert_eq!(ground.source.count(), 1, "keys were fetched a moment ago");
    ground.source.put(URL, key_set(&[&new]));
    ground.pass(31);
    identify(&access, &by_new).await.unwrap();
    assert_eq!(ground.source.count(), 2);
    let refused = identify(&access, &by_old).await.unwrap_err();
    assert!(matches!(refused, Refused::Token(_)), "{refused:?}");
}

#[tokio::test]
async fn strange_key_ids_cause_one_fetch_in_half_a_minute() {
    let ground = Ground::new();
    let (good, bad) = (Key::new("good", Algorithm::ES256), Key::new("bad", Algorithm::ES256));
    ground.source.put(URL, key_set(&[&good]));
    let access = server(&ground, json!([issuer(json!({ "refresh": "1d" }))]));
    let header = token(&ground, &good, json!({ "exp": ground.now() + 1_000_000 }));
    identify(&access, &header).await.unwrap();
    for second in 0..300 {
        let mut head = bad.header();
        head["kid"] = format!("bad {second}").into();
        let forged = bearer(&bad.sign(&head, &ground.claims(ISSUER, "larder", "alice")));
        identify(&access, &forged).await.unwrap_err();
        identify(&access, &header).await.unwrap();
        ground.pass(1);
    }
    assert!((10..=11).contains(&ground.source.count()), "{} fetches in 300 seconds", ground.source.count());
}

#[tokio::test]
async fn an_issuer_that_is_away_is_believed_for_a_day_on_its_last_word() {
    let ground = Ground::new();
    let key = Key::new("1", Algorithm::ES256);
    ground.source.put(URL, key_set(&[&key]));
    let access = server(&ground, json!([issuer(json!({ "refresh": "5m" }))]));
    let header = token(&ground, &key, json!({ "exp": ground.now() + 1_000_000 }));
    identify(&access, &header).await.unwrap();
    ground.source.remove(URL);
    ground.pass(23 * 3600);
    identify(&access, &header).await.unwrap();
    let problems = access.problems();
    assert!(problems[0].contains(ISSUER) && problems[0].contains("connection refused"), "{problems:?}");
    // A new set of settings does not forget the keys.
    access.reload(access.settings()).unwrap();
    identify(&access, &header).await.unwrap();
    ground.pass(3601);
    let refused = identify(&access, &header).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable, "{refused}");
    assert!(refused.retry_after().is_some());
    ground.source.put(URL, key_set(&[&key]));
    identify(&access, &header).await.unwrap_err();
    ground.pass(31);
    identify(&access, &header).await.unwrap();
    assert_eq!(access.problems(), [""; 0]);
}

#[tokio::test]
async fn a_key_set_that_is_wrong_is_an_error_and_not_an_empty_one() {
    let key = Key::new("1", Algorithm::ES256);
    let many: Vec<Value> = (0..101).map(|_| key.jwk()).collect();
    let symmetric = json!({ "kty": "oct", "kid": "1", "k": "c2VjcmV0", "alg": "HS256" });
    let mut encryption = key.jwk();
    encryption["use"] = "enc".into();
    let mut other = key.jwk();
    other["alg"] = "ES384".into();
    let mut operations = key.jwk();
    operations["key_ops"] = json!(["sign"]);
    for document in [
        b"".to_vec(),
        b"<html>".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"{\"keys\":{}}".to_vec(),
        b"{\"keys\":[]}".to_vec(),
        json!({ "keys": many }).to_string().into_bytes(),
        json!({ "keys": [symmetric] }).to_string().into_bytes(),
        json!({ "keys": [encryption] }).to_string().into_bytes(),
        json!({ "keys": [other] }).to_string().into_bytes(),
        json!({ "keys": [operations] }).to_string().into_bytes(),
        json!({ "keys": [key.jwk()], "padding": "x".repeat(300_000) }).to_string().into_bytes(),
    ] {
        let ground = Ground::new();
        ground.source.put(URL, document.clone());
        let access = server(&ground, json!([issuer(json!({}))]));
        let refused = identify(&access, &token(&ground, &key, json!({}))).await.unwrap_err();
        let shown: String = String::from_utf8_lossy(&document).chars().take(80).collect();
        assert_eq!(refused.kind(), Kind::Unavailable, "{shown}");
    }
}

#[tokio::test]
async fn keys_that_are_not_understood_do_not_hide_the_others() {
    let ground = Ground::new();
    let key = Key::new("1", Algorithm::ES256);
    let strange = [
        json!({}),
        json!(7),
        json!({ "kty": "new", "kid": "1" }),
        json!({ "kty": "RSA", "kid": "1", "n": "!", "e": "!" }),
    ];
    let mut keys = strange.to_vec();
    keys.push(json!({ "kty": "oct", "kid": "1", "k": "c2VjcmV0" }));
    keys.push(key.jwk());
    ground.source.put(URL, json!({ "keys": keys }).to_string().into_bytes());
    let access = server(&ground, json!([issuer(json!({}))]));
    identify(&access, &token(&ground, &key, json!({}))).await.unwrap();
    let header = json!({ "alg": "HS256", "kid": "1", "typ": "JWT" });
    let forged = crate::key::sign_symmetric(b"secret", &header, &ground.claims(ISSUER, "larder", "alice"));
    identify(&access, &bearer(&forged)).await.unwrap_err();
}

#[tokio::test]
async fn keys_may_be_in_a_file_that_changes() {
    let ground = Ground::new();
    let (old, new) = (Key::new("old", Algorithm::ES256), Key::new("new", Algorithm::ES256));
    let path = ground.path("keys.json");
    let settings = json!([issuer(json!({ "jwks_url": null, "jwks_file": path, "refresh": "30s" }))]);
    let open =
        || ground.open(json!({ "issuers": settings, "rules": everything_for_everybody_with_an_account() }));
    assert!(open().is_err(), "the file is not there");
    std::fs::write(&path, "{}").unwrap();
    assert!(open().is_err(), "the file has no keys");
    std::fs::write(&path, key_set(&[&old])).unwrap();
    let access = open().unwrap();
    identify(&access, &token(&ground, &old, json!({}))).await.unwrap();
    std::fs::write(&path, key_set(&[&new])).unwrap();
    ground.pass(31);
    identify(&access, &token(&ground, &new, json!({}))).await.unwrap();
    identify(&access, &token(&ground, &old, json!({}))).await.unwrap_err();
    assert_eq!(ground.source.count(), 0);
}

#[tokio::test]
async fn clients_are_sent_to_the_issuer_where_there_are_no_tokens_here() {
    let ground = Ground::new();
    let realm = json!({ "kind": "registry", "realm": "https://auth.test/token?x=1" });
    let access = server(&ground, json!([issuer(realm)]));
    let repository = crate::ground::resolve("team/app").unwrap();
    let asked = larder_server::Asked {
        repository: Some(&repository),
        path: Some("team/app"),
        action: Action::Delete,
    };
    let expected = "Bearer realm=\"https://auth.test/token?x=1\",service=\"larder\",scope=\"repository:team/app:delete\"";
    assert_eq!(access.challenges(&asked, "https://here.test"), [expected]);
}
