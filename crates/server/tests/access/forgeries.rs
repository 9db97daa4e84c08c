//! Every way to make a token that a server should not have taken (CVE-2025-24976 and its relatives, RFC 8725), against this
//! server's own tokens, a registry issuer's and an identity provider's.

use crate::ground::{Ground, bearer, everything_for_everybody_with_an_account, identify};
use crate::key::{Key, encode, key_set, pem, sign_symmetric};
use jsonwebtoken::Algorithm;
use larder_core::{Classify as _, Kind};
use larder_server::{Access, Login};
use serde_json::{Value, json};

const URL: &str = "https://issuer.test/keys";

/// Somebody whose tokens are good: what signs them, and what they say.
struct Target {
    key: Key,
    claims: Value,
    login: Login,
    other: Key,
}

fn server(ground: &Ground, kind: &str, keys: &[&Key]) -> Access {
    ground.source.put(URL, key_set(keys));
    let settings = json!({
        "htpasswd": ground.accounts(&["alice"]),
        "tokens": ground.tokens(),
        "issuers": [{
            "kind": kind, "issuer": "https://issuer.test", "audience": "registry.test", "jwks_url": URL,
            "algorithms": ["RS256", "ES256", "EdDSA"],
        }],
        "rules": everything_for_everybody_with_an_account(),
    });
    ground.open(settings).unwrap()
}

fn targets() -> Vec<(Ground, Access, Target)> {
    let mut all = Vec::new();
    for (kind, login) in [("registry", Login::Token), ("oidc", Login::Identity)] {
        for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
            let (key, other) = (Key::new("good", algorithm), Key::new("other", Algorithm::ES256));
            let ground = Ground::new();
            let access = server(&ground, kind, &[&key, &other]);
            let claims = ground.claims("https://issuer.test", "registry.test", "alice");
            all.push((ground, access, Target { key, claims, login, other }));
        }
    }
    let ground = Ground::new();
    let access = server(&ground, "oidc", &[&Key::new("x", Algorithm::ES256)]);
    let mut key = ground.token_key();
    key.id = access.jwks().unwrap()["keys"][0]["kid"].as_str().unwrap().to_owned();
    let mut claims = ground.claims("larder.test", "registry.test", "alice");
    claims["login"] = "password".into();
    let other = Key::new("other", Algorithm::ES256);
    all.push((ground, access, Target { key, claims, login: Login::Token, other }));
    all
}

impl Target {
    fn with(&self, header: &[(&str, Value)], claims: &[(&str, Value)]) -> String {
        self.key.sign(&changed(&self.key.header(), header), &changed(&self.claims, claims))
    }
}

/// A null takes a member away.
fn changed(object: &Value, changes: &[(&str, Value)]) -> Value {
    let mut object = object.clone();
    for (name, value) in changes {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(*name);
        } else {
            object[*name] = value.clone();
        }
    }
    object
}

#[tokio::test]
async fn forged_tokens_are_refused_and_good_ones_are_not() {
    for (ground, access, target) in targets() {
        let good = target.with(&[], &[]);
        let caller = identify(&access, &bearer(&good)).await.unwrap();
        assert_eq!(caller.login, target.login);
        assert!(caller.name.as_deref().unwrap().ends_with("alice"));
        for (what, token) in accepted(&ground, &target) {
            identify(&access, &bearer(&token)).await.unwrap_or_else(|refused| panic!("{what}: {refused}"));
        }
        for (what, token) in forgeries(&ground, &target) {
            let outcome = access.identify(Some(&bearer(&token)), None, crate::ground::HERE).await;
            let Err(refused) = outcome else { panic!("{what} was taken: {token}") };
            assert_eq!(refused.kind(), Kind::Denied, "{what}: {refused}");
            let shown = format!("{refused} {refused:?}");
            let signature = token.rsplit('.').next().unwrap_or_default();
            assert!(signature.len() < 8 || !shown.contains(signature), "{what}: {shown}");
        }
        assert!(ground.source.count() <= 1, "tokens make the server fetch keys");
    }
}

/// Unusual, and right.
fn accepted(ground: &Ground, target: &Target) -> Vec<(&'static str, String)> {
    let now = ground.now();
    vec![
        ("a list of audiences", target.with(&[], &[("aud", json!(["other", "registry.test"]))])),
        ("no beginning", target.with(&[], &[("nbf", Value::Null), ("iat", Value::Null)])),
        ("a moment too late", target.with(&[], &[("exp", json!(now - 25))])),
        ("a moment too early", target.with(&[], &[("nbf", json!(now + 25))])),
        ("a fraction of a second", target.with(&[], &[("exp", json!(now as f64 + 60.5))])),
        ("no type", target.with(&[("typ", Value::Null)], &[])),
        ("a thumbprint", target.with(&[("x5t", json!("AAAA"))], &[])),
    ]
}

fn forgeries(ground: &Ground, target: &Target) -> Vec<(&'static str, String)> {
    let mut all = strange_keys(target);
    all.extend(strange_algorithms(target));
    all.extend(strange_claims(ground, target));
    all.extend(strange_shapes(target));
    all
}

/// The token brings its key, or names one that is not the issuer's.
fn strange_keys(target: &Target) -> Vec<(&'static str, String)> {
    let attacker = Key::new(&target.key.id, Algorithm::ES256);
    let header = attacker.header();
    let sign = |changes: &[(&str, Value)]| attacker.sign(&changed(&header, changes), &target.claims);
    let mut named_like_good = attacker.jwk();
    named_like_good["kid"] = target.key.id.clone().into();
    vec![
        ("another key of that name", sign(&[])),
        ("its own key", sign(&[("jwk", attacker.jwk())])),
        ("its own key, no id", sign(&[("jwk", attacker.jwk()), ("kid", Value::Null)])),
        ("its own key, named like a good one", sign(&[("jwk", named_like_good)])),
        ("the good key, brought along", target.with(&[("jwk", target.key.jwk())], &[])),
        ("its own certificates", sign(&[("x5c", json!(["MIIB"]))])),
        ("a URL of certificates", sign(&[("x5u", json!("https://attacker.test/x"))])),
        ("a URL of keys", sign(&[("jku", json!("https://attacker.test/x"))])),
        ("a URL of keys, and the good key", target.with(&[("jku", json!("https://attacker.test/x"))], &[])),
        ("an unknown key", sign(&[("kid", json!("unknown"))])),
        ("a path for a key", sign(&[("kid", json!("../../../dev/null"))])),
        ("a number for a key", sign(&[("kid", json!(0))])),
        ("no key id", target.with(&[("kid", Value::Null)], &[])),
        ("an empty key id", target.with(&[("kid", json!(""))], &[])),
        ("the name of another key", target.with(&[("kid", target.other.id.clone().into())], &[])),
        ("another key under the good name", {
            target.other.sign(
                &changed(&target.other.header(), &[("kid", target.key.id.clone().into())]),
                &target.claims,
            )
        }),
    ]
}

/// The token chooses how it is checked.
fn strange_algorithms(target: &Target) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for none in ["none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512"] {
        let header = changed(&target.key.header(), &[("alg", none.into())]).to_string();
        let message = format!("{}.{}", encode(&header), encode(&target.claims.to_string()));
        all.push(("an algorithm without key", format!("{message}.")));
        all.push(("an algorithm without key, and a signature", format!("{message}.AAAA")));
        all.push(("an algorithm without key, without the last part", message));
        all.push((
            "an algorithm without key, well signed",
            target.key.sign_text(&header, &target.claims.to_string()),
        ));
    }
    let jwk = target.key.jwk();
    let part = |name: &str| jwk[name].as_str().unwrap_or_default().to_owned();
    let raw = [part("x"), part("y"), part("n")].concat();
    let secrets: [Vec<u8>; 6] = [
        jwk.to_string().into_bytes(),
        raw.clone().into_bytes(),
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, part("x"))
            .unwrap_or_default(),
        pem(raw.as_bytes()).into_bytes(),
        target.key.id.clone().into_bytes(),
        Vec::new(),
    ];
    for secret in secrets {
        let header = changed(&target.key.header(), &[("alg", "HS256".into())]);
        all.push(("the public key as a secret", sign_symmetric(&secret, &header, &target.claims)));
    }
    for other in ["RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA", "ES256K", "rs256"] {
        if *other != *format!("{:?}", target.key.algorithm) {
            all.push(("another algorithm than the key's", target.with(&[("alg", other.into())], &[])));
        }
    }
    if target.key.algorithm == Algorithm::RS256 {
        for other in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
            let key = target.key.with_algorithm(other);
            all.push(("well signed in a way nobody allowed", key.sign(&key.header(), &target.claims)));
        }
    }
    all.push(("no algorithm", target.with(&[("alg", Value::Null)], &[])));
    all.push(("a list of algorithms", target.with(&[("alg", json!(["ES256"]))], &[])));
    all
}

/// Well signed, and not for us, or not now.
fn strange_claims(ground: &Ground, target: &Target) -> Vec<(&'static str, String)> {
    let now = ground.now();
    let cases: Vec<(&'static str, &'static str, Value)> = vec![
        ("an old token", "exp", json!(now - 31)),
        ("a very old token", "exp", json!(0)),
        ("a token from before time", "exp", json!(-1)),
        ("a token for ever", "exp", Value::Null),
        ("a text for an end", "exp", json!((now + 300).to_string())),
        ("a list for an end", "exp", json!([now + 300])),
        ("a future token", "nbf", json!(now + 31)),
        ("a text for a beginning", "nbf", json!("0")),
        ("another issuer", "iss", json!("https://attacker.test")),
        ("an issuer with a slash", "iss", json!("https://issuer.test/")),
        ("no issuer", "iss", Value::Null),
        ("a list of issuers", "iss", json!(["https://issuer.test"])),
        ("another audience", "aud", json!("registry.test.attacker")),
        ("other audiences", "aud", json!(["a", "b"])),
        ("an object for an audience", "aud", json!({ "registry.test": true })),
        ("no audience", "aud", Value::Null),
        ("no subject", "sub", Value::Null),
        ("a number for a subject", "sub", json!(1)),
    ];
    let mut all: Vec<(&'static str, String)> =
        cases.into_iter().map(|(what, claim, value)| (what, target.with(&[], &[(claim, value)]))).collect();
    if target.login == Login::Token {
        let malformed = [
            json!("repository:a:pull"),
            json!({ "type": "repository", "name": "a", "actions": ["pull"] }),
            json!([{ "type": "repository", "name": "a" }]),
            json!([{ "type": "repository", "name": "a", "actions": "pull" }]),
            json!([{ "type": "repository", "name": ["a"], "actions": ["pull"] }]),
            json!([{ "name": "a", "actions": ["pull"] }]),
            json!([["repository", "a", "pull"], 1]),
            json!([null]),
            json!(7),
        ];
        all.extend(
            malformed.map(|access| ("a malformed access claim", target.with(&[], &[("access", access)]))),
        );
    }
    all
}

/// Not what a token looks like.
fn strange_shapes(target: &Target) -> Vec<(&'static str, String)> {
    let good = target.with(&[], &[]);
    let parts: Vec<&str> = good.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    let more = encode(&changed(&target.claims, &[("sub", "root".into())]).to_string());
    let long = target.with(&[], &[("padding", "x".repeat(17 << 10).into())]);
    vec![
        ("other claims", format!("{header}.{more}.{signature}")),
        ("no signature", format!("{header}.{claims}.")),
        ("no signature, no dot", format!("{header}.{claims}")),
        ("half a signature", format!("{header}.{claims}.{}", &signature[..signature.len() / 2])),
        ("a signature of zeros", format!("{header}.{claims}.{}", "A".repeat(signature.len()))),
        ("four parts", format!("{good}.{signature}")),
        ("an encrypted token", format!("{header}.{claims}.{signature}.{claims}.{signature}")),
        ("dots", "..".into()),
        ("a word", "token".into()),
        ("padding", format!("{header}=.{claims}.{signature}")),
        ("claims that are no JSON", format!("{header}.{}.{signature}", encode("claims"))),
        ("a header that is no object", format!("{}.{claims}.{signature}", encode("[]"))),
        ("an extension", target.with(&[("crit", json!(["exp"]))], &[])),
        ("an unencoded payload", target.with(&[("b64", json!(false))], &[])),
        ("compressed claims", target.with(&[("zip", json!("DEF"))], &[])),
        ("a token to log out", target.with(&[("typ", json!("logout+jwt"))], &[])),
        ("a token too long", long),
    ]
}
