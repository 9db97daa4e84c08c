//! What may be configured, and how mistakes are said.

use crate::ground::Ground;
use larder_core::{Classify as _, Kind, report};
use larder_server::AccessSettings;
use serde_json::{Value, json};

fn rule() -> Value {
    json!([{ "repositories": ["**"], "authenticated": true, "allow": ["pull"] }])
}

#[test]
fn mistakes_are_said_with_their_key() {
    let ground = Ground::new();
    let accounts = ground.accounts(&["alice"]);
    let issuer = |field: &str, value: Value| {
        let mut issuer =
            json!({ "issuer": "https://i.test", "audience": "a", "jwks_url": "https://i.test/keys" });
        issuer[field] = value;
        json!({ "issuers": [issuer], "rules": rule() })
    };
    let rules = |rules: Value| json!({ "htpasswd": accounts, "rules": rules });
    let tokens = |field: &str, value: Value| {
        let mut tokens = ground.tokens();
        tokens[field] = value;
        json!({ "htpasswd": accounts, "tokens": tokens, "rules": rule() })
    };
    for (settings, key) in [
        (json!({}), "access.rules: there are none"),
        (json!({ "htpasswd": accounts }), "access.rules: there are none"),
        (json!({ "rules": rule() }), "access.rules: nobody can log in"),
        (
            json!({ "tokens": ground.tokens(), "rules": [{ "repositories": ["**"], "anonymous": true, "allow": ["pull"] }] }),
            "access.tokens: nobody",
        ),
        (
            rules(json!([{ "repositories": ["**"], "allow": ["pull"] }])),
            "access.rules[0]: the rule is about nobody",
        ),
        (rules(json!([{ "users": ["a"], "allow": ["pull"] }])), "access.rules[0].repositories"),
        (
            rules(json!([{ "repositories": ["a", "A"], "users": ["a"], "allow": ["pull"] }])),
            "access.rules[0].repositories[1]",
        ),
        (
            rules(json!([{ "repositories": ["**"], "users": ["a"] }])),
            "access.rules[0].allow: the rule allows nothing",
        ),
        (
            rules(json!([{ "repositories": ["**"], "users": ["a"], "allow": ["write"] }])),
            "access.rules[0].allow: \"write\"",
        ),
        (
            rules(json!([{ "repositories": ["**"], "users": ["a"], "allow": ["PULL"] }])),
            "access.rules[0].allow: \"PULL\"",
        ),
        (
            rules(json!([{ "repositories": ["a/**"], "users": ["a"], "allow": ["admin"] }])),
            "access.rules[0].allow: admin",
        ),
        (
            rules(json!([{ "repositories": ["**"], "users": [""], "allow": ["pull"] }])),
            "access.rules[0].users",
        ),
        (issuer("issuer", json!("")), "access.issuers[0].issuer"),
        (issuer("audience", json!("")), "access.issuers[0].audience"),
        (issuer("jwks_url", json!("http://i.test/keys")), "access.issuers[0].jwks_url"),
        (issuer("jwks_url", json!("file:///keys")), "access.issuers[0].jwks_url"),
        (issuer("jwks_url", json!("https://user:canary@i.test/keys")), "access.issuers[0].jwks_url"),
        (issuer("jwks_url", Value::Null), "access.issuers[0].jwks_url"),
        (issuer("jwks_file", json!("/keys")), "access.issuers[0].jwks_url"),
        (issuer("algorithms", json!(["HS256"])), "access.issuers[0].algorithms: \"HS256\""),
        (issuer("algorithms", json!(["none"])), "access.issuers[0].algorithms: \"none\""),
        (issuer("algorithms", json!([])), "access.issuers[0].algorithms"),
        (issuer("refresh", json!("1s")), "access.issuers[0].refresh"),
        (issuer("name_claim", json!("")), "access.issuers[0].name_claim"),
        (issuer("realm", json!("/token")), "access.issuers[0].realm"),
        (issuer("realm", json!("https://a.test/\"x")), "access.issuers[0].realm"),
        (tokens("lifetime", json!("59s")), "access.tokens.lifetime"),
        (tokens("lifetime", json!("2h")), "access.tokens.lifetime"),
        (tokens("service", json!("a\"b")), "access.tokens.service"),
        (tokens("issuer", json!("")), "access.tokens.issuer"),
        (tokens("key", json!("")), "access.tokens.key"),
        (tokens("key", json!("/nonexistent")), "cannot read /nonexistent"),
        (json!({ "client_ca": {}, "rules": rule() }), "access.client_ca.file"),
        (json!({ "htpasswd": "/nonexistent", "rules": rule() }), "cannot read /nonexistent"),
    ] {
        let error = ground.open(settings.clone()).map(|_| ()).unwrap_err();
        assert!(report(&error).starts_with(key), "{settings}\n{}", report(&error));
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(!format!("{error:?}").contains("canary"));
    }
}

#[test]
fn a_missing_file_of_accounts_comes_with_the_command_that_makes_it() {
    let ground = Ground::new();
    let error = ground.open(json!({ "htpasswd": "/nonexistent", "rules": rule() })).map(|_| ()).unwrap_err();
    assert!(error.hints()[0].contains("htpasswd -Bc /nonexistent"), "{:?}", error.hints());
}

#[test]
fn unknown_keys_are_no_settings() {
    for text in [
        json!({ "htpaswd": "/x" }),
        json!({ "rules": [{ "repository": ["**"] }] }),
        json!({ "rules": [{ "deny": ["pull"] }] }),
        json!({ "issuers": [{ "kind": "saml" }] }),
        json!({ "issuers": [{ "secret": "x" }] }),
        json!({ "tokens": { "lifetime": "soon" } }),
        json!({ "tokens": { "lifetime": "99999999999999999999s" } }),
        json!({ "users": { "alice": { "password": "x" } } }),
        json!({ "client_ca": { "name": "serial" } }),
    ] {
        assert!(serde_json::from_value::<AccessSettings>(text.clone()).is_err(), "{text}");
    }
}

#[test]
fn settings_read_back_as_they_are_written() {
    let ground = Ground::new();
    let settings = json!({
        "htpasswd": "/accounts", "users": { "a": { "groups": ["b"] } }, "tokens": ground.tokens(),
        "issuers": [{ "kind": "oidc", "issuer": "i", "audience": "a", "jwks_file": "/k", "refresh": 90, "require": { "x": [1, true] } }],
        "client_ca": { "file": "/ca", "name": "uri", "prefix": "" }, "rules": rule(),
    });
    let settings = crate::ground::parse(settings);
    let written = serde_json::to_value(&settings).unwrap();
    assert_eq!(crate::ground::parse(written), settings);
}

#[test]
fn what_is_open_is_known_before_anybody_asks() {
    let parse = |allow: &[&str], anonymous: bool| {
        crate::ground::parse(
            json!({ "rules": [{ "repositories": ["a"], "anonymous": anonymous, "authenticated": true, "allow": allow }] }),
        )
    };
    assert!(AccessSettings::default().is_empty() && !AccessSettings::default().has_accounts());
    assert!(!parse(&["pull"], true).is_open_for_writing());
    assert!(!parse(&["push"], false).is_open_for_writing());
    for action in ["push", "delete", "admin"] {
        assert!(parse(&["pull", action], true).is_open_for_writing());
    }
    let ground = Ground::new();
    let open = json!([{ "repositories": ["**"], "anonymous": true, "allow": ["pull", "push"] }]);
    assert!(ground.open(json!({ "rules": open })).unwrap().is_open_for_writing());
}

#[test]
fn an_account_cannot_have_the_name_that_tokens_are_sent_with() {
    let ground = Ground::new();
    let settings = json!({
        "htpasswd": ground.accounts(&["oidc"]),
        "issuers": [{ "kind": "oidc", "issuer": "i", "audience": "a", "jwks_url": "https://i.test/" }],
        "rules": rule(),
    });
    let error = ground.open(settings).map(|_| ()).unwrap_err();
    assert!(report(&error).starts_with("access.htpasswd: "), "{}", report(&error));
}

#[test]
fn an_issuer_is_not_this_server() {
    let ground = Ground::new();
    let settings = json!({
        "tokens": ground.tokens(),
        "issuers": [{ "issuer": "larder.test", "audience": "a", "jwks_url": "https://i.test/" }],
        "rules": rule(),
    });
    let error = ground.open(settings).map(|_| ()).unwrap_err();
    assert!(report(&error).starts_with("access.issuers[0].issuer: "), "{}", report(&error));
}
