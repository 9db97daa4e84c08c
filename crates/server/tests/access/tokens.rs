//! This server's own token service.

use crate::ground::{
    Ground, HERE, PASSWORD, bearer, copy, decide, everything_for_everybody_with_an_account, identify, login,
    parse, resolve, token,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use larder_core::{Classify as _, Kind};
use larder_server::{Access, Action, Asked, Caller, Decision, Grant, Login, TokenRequest, create_token_key};
use larder_testkit::tools::tool;
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

fn server(ground: &Ground) -> Access {
    ground.open(settings(ground)).unwrap()
}

fn settings(ground: &Ground) -> Value {
    json!({
        "htpasswd": ground.accounts(&["alice", "bob"]),
        "tokens": ground.tokens(),
        "users": { "alice": { "groups": ["staff"] } },
        "rules": [
            { "repositories": ["team/**"], "users": ["alice"], "allow": ["pull", "push"] },
            { "repositories": ["**"], "users": ["alice"], "allow": ["admin"] },
            { "repositories": ["public/**"], "anonymous": true, "allow": ["pull"] },
        ],
    })
}

fn ask(access: &Access, caller: &Caller, query: &str) -> Result<Value, larder_server::Refused> {
    let answer = access.token(&TokenRequest::parse(query).unwrap(), caller, resolve)?;
    Ok(serde_json::from_slice(&answer.to_json()).unwrap())
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn the_answer_is_what_the_specification_wants() {
    let ground = Ground::new();
    let access = server(&ground);
    let alice = login(&access, "alice").await;
    let query = "service=registry.test&account=alice&offline_token=true&client_id=test\
                 &scope=repository:team/app:push,pull,delete&scope=repository:other/app:pull%20registry:catalog:*";
    let answer = ask(&access, &alice, query).unwrap();
    assert_eq!(answer["token"], answer["access_token"]);
    assert_eq!(answer["expires_in"], 300);
    assert!(answer["issued_at"].as_str().unwrap().ends_with('Z'));
    assert!(answer.get("refresh_token").is_none());
    assert_eq!(answer["scope"], "repository:team/app:pull,push registry:catalog:*");
    let said = claims(answer["token"].as_str().unwrap());
    assert_eq!(
        (&said["iss"], &said["aud"], &said["sub"]),
        (&"larder.test".into(), &"registry.test".into(), &"alice".into())
    );
    assert_eq!(said["exp"].as_u64().unwrap() - said["iat"].as_u64().unwrap(), 300);
    assert_eq!(said["nbf"], said["iat"]);
    assert_eq!(said["iat"], ground.now());
    let expected = json!([
        { "type": "repository", "name": "team/app", "actions": ["pull", "push"] },
        { "type": "registry", "name": "catalog", "actions": ["*"] },
    ]);
    assert_eq!(said["access"], expected);
    let other = ask(&access, &alice, query).unwrap();
    assert_ne!(claims(other["token"].as_str().unwrap())["jti"], said["jti"]);
}

#[tokio::test]
async fn openssl_finds_the_signature_good() {
    let ground = Ground::new();
    let access = server(&ground);
    let answer = ask(&access, &login(&access, "alice").await, "scope=repository:team/app:pull").unwrap();
    let text = answer["token"].as_str().unwrap();
    let (message, signature) = text.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    // openssl wants the two numbers as DER.
    let number = |bytes: &[u8]| {
        let mut bytes: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        if bytes.first().is_none_or(|byte| *byte >= 0x80) {
            bytes.insert(0, 0);
        }
        [vec![2, bytes.len() as u8], bytes].concat()
    };
    let numbers = [number(&raw[..32]), number(&raw[32..])].concat();
    std::fs::write(ground.path("signature"), [vec![0x30, numbers.len() as u8], numbers].concat()).unwrap();
    std::fs::write(ground.path("message"), message).unwrap();
    let openssl = |arguments: &[&str]| {
        let outcome =
            tool("openssl").unwrap().directory(ground.folder.path()).args(arguments.iter().copied()).run();
        outcome.unwrap()
    };
    openssl(&["pkey", "-in", "token.pem", "-pubout", "-out", "public.pem"]).success();
    openssl(&["dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "message"]).success();
}

#[tokio::test]
async fn who_has_no_account_gets_what_everybody_may_have() {
    let ground = Ground::new();
    let access = server(&ground);
    let scopes = "repository:public/app:pull,push&scope=repository:team/app:pull";
    let (_, bearer) = token(&access, &Caller::anonymous(HERE), scopes).await;
    assert_eq!((bearer.name.as_deref(), bearer.login), (None, Login::Token));
    let expected = Grant { repository: Some("public/app".into()), actions: vec![Action::Pull] };
    assert_eq!(bearer.grants, Some(vec![expected]));
    assert_eq!(decide(&access, &bearer, Some("public/app"), Action::Pull), Decision::Allowed);
    assert_eq!(decide(&access, &bearer, Some("team/app"), Action::Pull), Decision::Unauthenticated);
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused() {
    let ground = Ground::new();
    let access = server(&ground);
    let alice = login(&access, "alice").await;
    let (_, narrow) = token(&access, &alice, "repository:team/app:pull").await;
    for (caller, query) in [(&narrow, "scope=repository:team/app:push"), (&alice, "service=other")] {
        assert_eq!(ask(&access, caller, query).unwrap_err().kind(), Kind::Invalid, "{query}");
    }
    // Nonsense grants nothing, and is no error.
    let answer =
        ask(&access, &alice, "scope=nonsense&scope=repository:UPPER:pull&scope=repository:a//b:pull")
            .unwrap();
    assert_eq!(answer["scope"], "");
    let without = ground.open(
        json!({ "htpasswd": ground.path("htpasswd"), "rules": everything_for_everybody_with_an_account() }),
    );
    assert_eq!(ask(&without.unwrap(), &alice, "").unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn scopes_of_one_repository_are_one_grant() {
    let ground = Ground::new();
    let access = server(&ground);
    let alice = login(&access, "alice").await;
    let answer =
        ask(&access, &alice, "scope=repository:team/app:push&scope=repository:team/app:pull").unwrap();
    assert_eq!(answer["scope"], "repository:team/app:pull,push");
}

#[tokio::test]
async fn a_token_ends_with_its_time_or_with_its_account() {
    let ground = Ground::new();
    let access = server(&ground);
    let (text, _) = token(&access, &login(&access, "alice").await, "repository:team/app:pull").await;
    let (public, _) = token(&access, &Caller::anonymous(HERE), "repository:public/app:pull").await;
    ground.pass(329);
    identify(&access, &bearer(&text)).await.unwrap();
    ground.pass(2);
    identify(&access, &bearer(&text)).await.unwrap_err();

    let (text, _) = token(&access, &login(&access, "alice").await, "repository:team/app:pull").await;
    ground.accounts(&["bob"]);
    let refused = identify(&access, &bearer(&text)).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.to_string().as_str()),
        (Kind::Denied, "the token is refused: its account is gone")
    );
    identify(&access, &bearer(&public)).await.unwrap_err();
}

#[tokio::test]
async fn an_identity_keeps_its_groups_in_the_token_it_gets() {
    let ground = Ground::new();
    let key = crate::key::Key::new("1", jsonwebtoken::Algorithm::ES256);
    ground.source.put("https://i.test/keys", crate::key::key_set(&[&key]));
    let mut settings = settings(&ground);
    settings["issuers"] = json!([{
        "kind": "oidc", "issuer": "https://i.test", "audience": "larder", "jwks_url": "https://i.test/keys", "groups_claim": "groups",
    }]);
    settings["users"]["oidc:carol"] = json!({ "groups": ["local"] });
    settings["rules"] = json!([{ "repositories": ["team/**"], "groups": ["oidc:team"], "allow": ["pull"] }]);
    let access = ground.open(settings.clone()).unwrap();
    let mut said = ground.claims("https://i.test", "larder", "carol");
    said["groups"] = json!(["team"]);
    let carol = identify(&access, &bearer(&key.sign(&key.header(), &said))).await.unwrap();
    let (text, holder) = token(&access, &carol, "repository:team/app:pull").await;
    assert_eq!(holder.groups, ["local", "oidc:team"]);
    assert_eq!(decide(&access, &holder, Some("team/app"), Action::Pull), Decision::Allowed);
    assert_eq!(
        claims(&text)["groups"],
        json!(["oidc:team"]),
        "groups of the configuration are not in the token"
    );
    // Without the issuer, its accounts are gone.
    settings.as_object_mut().unwrap().remove("issuers");
    access.reload(parse(settings)).unwrap();
    identify(&access, &bearer(&text)).await.unwrap_err();
}

#[tokio::test]
async fn challenges_say_where_and_for_what() {
    let ground = Ground::new();
    let access = server(&ground);
    let challenge = |repository: Option<&str>, path: Option<&str>, action: Action| {
        let repository = repository.map(|name| resolve(name).unwrap());
        let asked = Asked { repository: repository.as_ref(), path, action };
        let mut all = access.challenges(&asked, "https://registry.test:5000/");
        assert_eq!(all.len(), 1);
        let prefix = "Bearer realm=\"https://registry.test:5000/token\",service=\"registry.test\"";
        all.remove(0).strip_prefix(prefix).unwrap().to_owned()
    };
    assert_eq!(challenge(None, None, Action::Pull), "");
    assert_eq!(challenge(None, None, Action::Admin), ",scope=\"registry:catalog:*\"");
    let team = challenge(Some("team/app"), Some("team/app"), Action::Push);
    assert_eq!(team, ",scope=\"repository:team/app:pull,push\"");
    let full = challenge(Some("docker.io/library/nginx"), Some("docker.io/library/nginx"), Action::Pull);
    assert_eq!(full, ",scope=\"repository:docker.io/library/nginx:pull\"");
    let namespace = challenge(Some("docker.io/library/nginx"), Some("library/nginx"), Action::Pull);
    assert_eq!(
        namespace, ",scope=\"repository:docker.io/library/nginx:pull\"",
        "the short name would mean another repository"
    );
    let strange = challenge(Some("team/app"), Some("x\",realm=\"https://attacker.test"), Action::Delete);
    assert_eq!(strange, ",scope=\"repository:localhost/team/app:delete\"");
}

#[test]
fn a_key_is_made_once_and_for_its_owner_only() {
    let ground = Ground::new();
    let path = ground.path("sub.pem");
    let made: Vec<bool> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| create_token_key(&path).unwrap())).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|made| **made).count(), 1, "{made:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let before = copy(&path);
    assert!(!create_token_key(&path).unwrap());
    assert_eq!(copy(&path), before);
    assert_eq!(std::fs::read_dir(ground.folder.path()).unwrap().count(), 1, "drafts are left behind");
    assert!(create_token_key(&ground.path("absent/key.pem")).is_err());
}

#[test]
fn keys_that_cannot_sign_are_refused_when_they_are_read() {
    let ground = Ground::new();
    let mut all = settings(&ground);
    let path = ground.path("token.pem");
    let openssl = |arguments: &[&str]| {
        let outcome =
            tool("openssl").unwrap().directory(ground.folder.path()).args(arguments.iter().copied()).run();
        outcome.unwrap();
    };
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "p384.pem"]);
    openssl(&["genpkey", "-algorithm", "RSA", "-out", "rsa.pem"]);
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", "ed.pem"]);
    openssl(&["pkey", "-in", "token.pem", "-pubout", "-out", "public.pem"]);
    std::fs::write(ground.path("text.pem"), "canary").unwrap();
    for name in ["p384.pem", "rsa.pem", "ed.pem", "public.pem", "text.pem"] {
        std::fs::set_permissions(ground.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        all["tokens"]["key"] = json!(ground.path(name));
        let error = ground.open(all.clone()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("cannot sign tokens"), "{name}: {error}");
        assert!(!format!("{error:?}").contains("canary"));
    }
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "p256.pem"]);
    all["tokens"]["key"] = json!(ground.path("p256.pem"));
    ground.open(all.clone()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    all["tokens"]["key"] = json!(path);
    let error = ground.open(all).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("0600"), "{error}");
}

#[tokio::test]
async fn tokens_of_the_key_before_are_good_until_they_end() {
    let ground = Ground::new();
    let settings = settings(&ground);
    let access = ground.open(settings.clone()).unwrap();
    let (old, _) = token(&access, &login(&access, "alice").await, "repository:team/app:pull").await;
    let before = access.jwks().unwrap();
    let mut stolen = ground.token_key();
    stolen.id = before["keys"][0]["kid"].as_str().unwrap().to_owned();
    std::fs::remove_file(ground.path("token.pem")).unwrap();
    create_token_key(&ground.path("token.pem")).unwrap();
    access.reload(parse(settings.clone())).unwrap();
    let (new, _) = token(&access, &login(&access, "alice").await, "repository:team/app:pull").await;
    for text in [&old, &new] {
        identify(&access, &bearer(text)).await.unwrap();
    }
    // Another reload in between does not end it.
    access.reload(parse(settings)).unwrap();
    identify(&access, &bearer(&old)).await.unwrap();
    let keys = access.jwks().unwrap()["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[1], before["keys"][0]);
    assert!(keys.iter().all(|key| key.get("d").is_none() && key["kty"] == "EC" && key["crv"] == "P-256"));
    let forge = || {
        let mut said = ground.claims("larder.test", "registry.test", "alice");
        said["login"] = "password".into();
        bearer(&stolen.sign(&stolen.header(), &said))
    };
    identify(&access, &forge()).await.unwrap();
    ground.pass(331);
    identify(&access, &forge()).await.unwrap_err();
    assert_eq!(access.jwks().unwrap()["keys"].as_array().unwrap().len(), 1);
    identify(&access, &bearer(&old)).await.unwrap_err();
}

#[tokio::test]
async fn nothing_that_is_secret_is_ever_shown() {
    let ground = Ground::new();
    let access = server(&ground);
    let (text, holder) = token(&access, &login(&access, "alice").await, "repository:team/app:pull").await;
    let signature = text.rsplit('.').next().unwrap().to_owned();
    let hash = String::from_utf8(copy(&ground.path("htpasswd"))).unwrap();
    let hash = hash.lines().next().unwrap().split(':').nth(1).unwrap().to_owned();
    let key = String::from_utf8(copy(&ground.path("token.pem"))).unwrap().lines().nth(1).unwrap().to_owned();
    let request =
        TokenRequest::parse(&format!("grant_type=password&username=alice&password={PASSWORD}")).unwrap();
    let answer = access.token(&TokenRequest::default(), &login(&access, "alice").await, resolve).unwrap();
    let mut shown = format!("{access:?} {holder:?} {request:?} {answer:?} {:?}", access.settings());
    let wrong = [
        crate::ground::basic("bob", &format!("{PASSWORD}2")),
        crate::ground::basic(PASSWORD, "x"),
        bearer(&format!("{text}x")),
        bearer(PASSWORD),
        format!("Other {PASSWORD}"),
        PASSWORD.to_owned(),
    ];
    for header in wrong {
        let refused = identify(&access, &header).await.unwrap_err();
        shown.push_str(&format!(
            "{refused} {refused:?} {:?} {}",
            refused.account(),
            larder_core::report(&refused)
        ));
    }
    let open = Access::open(&[Action::Pull]);
    let presented = identify(&open, &crate::ground::basic("alice", PASSWORD)).await.unwrap();
    shown.push_str(&format!("{open:?} {presented:?}"));
    for secret in [PASSWORD, &signature, &hash, &key] {
        assert!(!shown.contains(secret), "{secret} is in\n{shown}");
    }
}
