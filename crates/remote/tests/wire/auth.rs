//! Challenges, tokens and who gets which.

use crate::server::{Reply, Request, Server, basic, config, image, manifest_reply, repository, trusting};
use async_trait::async_trait;
use larder_core::{Classify, Kind, Secret};
use larder_remote::{Auth, Client, Config, Credential, Error, Keychain, Scope};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A registry that demands `token` from `realm`.
async fn registry(realm: String, token: &'static str) -> Server {
    Server::start(move |request| {
        if request.header("authorization") == Some(&format!("Bearer {token}")) {
            return manifest_reply(&image("x"));
        }
        let name = request.path().trim_start_matches("/v2/").split("/manifests").next().unwrap().to_owned();
        Reply::challenge(&format!(
            "Bearer realm=\"{realm}\",service=\"registry\",scope=\"repository:{name}:pull\""
        ))
    })
    .await
}

fn token(text: &str) -> Reply {
    Reply::ok(format!(r#"{{"token":"{text}","expires_in":3600}}"#))
}

fn bob() -> Auth {
    Auth::Given(basic("bob", "hunter2"))
}

const BOB: &str = "Basic Ym9iOmh1bnRlcjI=";

#[tokio::test]
async fn a_token_is_fetched_once_and_used_by_everybody() {
    let tokens = Server::start(|_| token("good")).await;
    let server = registry(tokens.url("/token"), "good").await;
    let client = Client::new(config()).unwrap();
    let asks = (0..20).map(|_| {
        let repo = client.repository(&server.registry(), &repository("a/b"), bob());
        async move { repo.manifest("1.0").await.unwrap() }
    });
    futures_util::future::join_all(asks).await;
    let asked = tokens.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].method, "GET");
    assert_eq!(asked[0].target, "/token?service=registry&scope=repository%3Aa%2Fb%3Apull&account=bob");
    assert_eq!(asked[0].header("authorization"), Some(BOB));
    // Known by now: no more challenges.
    let before = server.requests().len();
    client.repository(&server.registry(), &repository("a/b"), bob()).manifest("1.0").await.unwrap();
    assert_eq!(server.requests().len(), before + 1);
}

#[tokio::test]
async fn expired_tokens_are_fetched_again() {
    for answer in [
        r#"{"token":"good","expires_in":0}"#,
        r#"{"access_token":"good","expires_in":0,"issued_at":"2999-01-01T00:00:00Z"}"#,
    ] {
        let tokens = Server::start(move |_| Reply::ok(answer)).await;
        let server = registry(tokens.url("/token"), "good").await;
        let repo = server.anonymous();
        repo.manifest("1.0").await.unwrap();
        repo.manifest("1.0").await.unwrap();
        assert_eq!(tokens.requests().len(), 2);
        assert_eq!(tokens.requests()[0].header("authorization"), None);
    }
}

#[tokio::test]
async fn token_cache_knows_whose_token_it_is_artifact_keeper_3606() {
    let tokens = Server::start(|request| match request.header("authorization") {
        Some(BOB) => token("good"),
        Some(_) => Reply::new(401),
        None => token("anonymous"),
    })
    .await;
    let server = registry(tokens.url("/token"), "good").await;
    let client = Client::new(config()).unwrap();
    let repo = |auth| client.repository(&server.registry(), &repository("a/b"), auth);
    repo(bob()).manifest("1.0").await.unwrap();
    for auth in [Auth::Anonymous, Auth::Given(basic("eve", "x")), Auth::Given(basic("bob", "wrong"))] {
        let error = repo(auth).manifest("1.0").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error:?}");
    }
    // The other order, too.
    repo(bob()).manifest("1.0").await.unwrap();
    assert_eq!(
        server.requests().iter().filter(|r| r.header("authorization") == Some("Bearer good")).count(),
        2
    );
}

#[tokio::test]
async fn basic_challenges() {
    let server = Server::start(|request| match request.header("authorization") {
        Some(BOB) => manifest_reply(&image("x")),
        _ => Reply::challenge("Basic realm=\"r\""),
    })
    .await;
    let repo = server.repo(config(), bob());
    repo.manifest("1.0").await.unwrap();
    repo.manifest("1.0").await.unwrap();
    assert_eq!(server.requests().len(), 3);
    let error = server.repo(config(), Auth::Given(basic("bob", "wrong"))).manifest("1.0").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert_eq!(error.hints()[0], format!("larder login {}", server.host()));
}

#[tokio::test]
async fn identity_tokens_are_posted_or_sent_as_a_password() {
    let identity = |username: &str| {
        Auth::Given(Credential::Identity { username: username.into(), token: Secret::new("refresh me") })
    };
    let tokens = Server::start(|_| token("good")).await;
    let server = registry(tokens.url("/token"), "good").await;
    server.repo(config(), identity("")).manifest("1.0").await.unwrap();
    let asked = &tokens.requests()[0];
    assert_eq!((asked.method.as_str(), asked.header("authorization")), ("POST", None));
    let form = String::from_utf8(asked.body.clone()).unwrap();
    assert_eq!(
        form,
        "grant_type=refresh_token&refresh_token=refresh+me&client_id=larder&service=registry&scope=repository%3Aa%2Fb%3Apull"
    );
    let old =
        Server::start(|request| if request.method == "POST" { Reply::new(404) } else { token("good") }).await;
    let server = registry(old.url("/token"), "good").await;
    server.repo(config(), identity("bob")).manifest("1.0").await.unwrap();
    assert!(old.requests()[1].header("authorization").unwrap().starts_with("Basic "));
}

#[tokio::test]
async fn registry_tokens_are_used_as_they_are() {
    let server = registry("http://127.0.0.1:1/nobody".into(), "good").await;
    let auth = Auth::Given(Credential::Bearer(Secret::new("good")));
    server.repo(config(), auth).manifest("1.0").await.unwrap();
}

#[tokio::test]
async fn demands_without_end_end() {
    let issued = AtomicUsize::new(0);
    let tokens = Server::start(move |_| token(&format!("t{}", issued.fetch_add(1, Ordering::Relaxed)))).await;
    let server = registry(tokens.url("/token"), "never").await;
    let error = server.repo(config(), bob()).manifest("1.0").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(server.requests().len() <= 5 && tokens.requests().len() <= 5);
    for challenge in ["Negotiate", "Bearer", "Bearer realm=\"\"", "Bearer realm=\"/token\"", "Basic"] {
        let server = Server::start(move |_| Reply::challenge(challenge)).await;
        let error = server.anonymous().manifest("1.0").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{challenge}");
    }
}

#[tokio::test]
async fn nonsense_from_token_servers_is_an_error() {
    let long = format!(r#"{{"token":"{}"}}"#, "x".repeat(2 << 20));
    for answer in
        ["", "[]", "{}", r#"{"token":""}"#, r#"{"token":1}"#, r#"{"token":"a\nb"}"#, "<html>", &long]
    {
        let answer = answer.to_owned();
        let tokens = Server::start(move |_| Reply::ok(answer.clone())).await;
        let server = registry(tokens.url("/token"), "good").await;
        let error = server.anonymous().manifest("1.0").await.unwrap_err();
        assert!(matches!(error, Error::Token { .. } | Error::TooLarge { .. }), "{error:?}");
    }
    // A token server that is busy is waited for.
    let asked = AtomicUsize::new(0);
    let tokens = Server::start(move |_| {
        if asked.fetch_add(1, Ordering::Relaxed) < 2 { Reply::new(503) } else { token("good") }
    })
    .await;
    registry(tokens.url("/token"), "good").await.anonymous().manifest("1.0").await.unwrap();
}

#[tokio::test]
async fn realm_on_another_host_gets_no_credentials_cve_2026_33540() {
    let foreign = Server::at("127.0.0.2", |_| token("good")).await;
    let server = registry(foreign.url("/token"), "good").await;
    let error = server.repo(trusting(), bob()).manifest("1.0").await.unwrap_err();
    assert!(matches!(error, Error::Realm { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.hints()[0].contains("127.0.0.2"), "{:?}", error.hints());
    assert!(foreign.requests().is_empty());
    // Nobody's credentials cannot leak.
    server.repo(trusting(), Auth::Anonymous).manifest("1.0").await.unwrap();
    assert_eq!(foreign.requests()[0].header("authorization"), None);
    // The user may know better.
    let config = Config { realm_hosts: vec!["127.0.0.2".into()], ..config() };
    server.repo(config, bob()).manifest("1.0").await.unwrap();
    assert_eq!(foreign.requests()[1].header("authorization"), Some(BOB));
}

/// Makes `r.HOST` a registry at `server`, and every name under `.test` an address of this machine.
fn named(server: &Server, host: &str, mut config: Config) -> (tempfile::TempDir, larder_remote::Repo) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(host)).unwrap();
    std::fs::write(
        dir.path().join(host).join("hosts.toml"),
        format!("server = \"http://{host}:{}\"", server.port),
    )
    .unwrap();
    config.certs_dirs = vec![dir.path().into()];
    config.lookup =
        Some(Arc::new(|name| name.ends_with(".test").then(|| vec!["127.0.0.1".parse().unwrap()])));
    let registry = larder_core::Registry::new(host).unwrap();
    let repo = Client::new(config).unwrap().repository(&registry, &repository("a/b"), bob());
    (dir, repo)
}

#[tokio::test]
async fn realm_on_a_sibling_host_works_artifact_keeper_3591() {
    let tokens = Server::start(|_| token("good")).await;
    let server = registry(format!("http://auth.corp.test:{}/token", tokens.port), "good").await;
    let (_dir, repo) = named(&server, "r.corp.test", trusting());
    repo.manifest("1.0").await.unwrap();
    assert_eq!(tokens.requests().len(), 1);
    let (_dir, repo) = named(&server, "r.other.test", trusting());
    assert!(matches!(repo.manifest("1.0").await.unwrap_err(), Error::Realm { .. }));
    assert_eq!(tokens.requests().len(), 1);
}

#[tokio::test]
async fn realm_at_a_private_address_is_not_dialled_cve_2026_48978() {
    let canary = Server::start(|_| token("good")).await;
    // By name, resolved by the dialler, and allowed by the rule for credentials.
    let server = registry(format!("http://auth.corp.test:{}/token", canary.port), "good").await;
    let (_dir, repo) = named(&server, "r.corp.test", config());
    let error = repo.manifest("1.0").await.unwrap_err();
    assert!(matches!(&error, Error::Refused { host, .. } if host == "auth.corp.test"), "{error:?}");
    assert_eq!(error.kind(), Kind::Denied);
    // By address, for nobody.
    for host in [
        "127.0.0.1",
        "[::1]",
        "169.254.169.254",
        "[fe80::1]",
        "0.0.0.0",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "localhost",
    ] {
        let server = registry(format!("http://{host}:{}/token", canary.port), "good").await;
        let (_dir, repo) = named(&server, "r.corp.test", config());
        let error = repo.manifest("1.0").await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. } | Error::Realm { .. }), "{host}: {error:?}");
        let repo = {
            let (dir, _) = named(&server, "r.corp.test", config());
            let lookup = |_: &str| Some(vec!["127.0.0.1".parse().unwrap()]);
            let config =
                Config { certs_dirs: vec![dir.path().into()], lookup: Some(Arc::new(lookup)), ..config() };
            let registry = larder_core::Registry::new("r.corp.test").unwrap();
            let repo =
                Client::new(config).unwrap().repository(&registry, &repository("a/b"), Auth::Anonymous);
            let error = repo.manifest("1.0").await.unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{host}: {error:?}");
            drop(dir);
            repo
        };
        drop(repo);
    }
    assert!(canary.requests().is_empty());
}

/// Gives a new password every time it was told to forget the old one.
struct Rotating(Mutex<(usize, usize)>);

#[async_trait]
impl Keychain for Rotating {
    async fn credential(&self, scope: &Scope<'_>) -> larder_remote::Result<Option<Credential>> {
        assert_eq!(scope.repository.as_str(), "a/b");
        let mut state = self.0.lock().unwrap();
        state.0 += 1;
        Ok(Some(basic("bob", &format!("password{}", state.1))))
    }

    fn forget(&self, _scope: &Scope<'_>) {
        self.0.lock().unwrap().1 += 1;
    }
}

#[tokio::test]
async fn refused_credentials_are_asked_for_once_more() {
    for status in [401, 403] {
        let era = Arc::new(AtomicUsize::new(0));
        let valid = era.clone();
        let server = Server::start(move |request: &Request| {
            let wanted =
                format!("Basic {}", base64(&format!("bob:password{}", valid.load(Ordering::Relaxed))));
            match request.header("authorization") {
                Some(given) if given == wanted => manifest_reply(&image("x")),
                Some(_) => Reply::new(status).header("WWW-Authenticate", "Basic realm=\"r\""),
                None => Reply::challenge("Basic realm=\"r\""),
            }
        })
        .await;
        let keychain = Arc::new(Rotating(Mutex::default()));
        let repo = server.repo(config(), Auth::Keychain(keychain.clone()));
        repo.manifest("1.0").await.unwrap();
        repo.manifest("1.0").await.unwrap();
        assert_eq!(keychain.0.lock().unwrap().0, 1, "asked once while it works");
        era.store(1, Ordering::Relaxed);
        repo.manifest("1.0").await.unwrap();
        assert_eq!(*keychain.0.lock().unwrap(), (2, 1));
        era.store(9, Ordering::Relaxed);
        assert_eq!(repo.manifest("1.0").await.unwrap_err().kind(), Kind::Denied);
    }
}

#[tokio::test]
async fn credentials_that_a_token_server_refuses_are_asked_for_once_more() {
    let era = Arc::new(AtomicUsize::new(0));
    let valid = era.clone();
    let tokens = Server::start(move |request| {
        let wanted = format!("Basic {}", base64(&format!("bob:password{}", valid.load(Ordering::Relaxed))));
        match request.header("authorization") {
            Some(given) if given == wanted => Reply::ok(r#"{"token":"good","expires_in":0}"#),
            _ => Reply::new(401),
        }
    })
    .await;
    let server = registry(tokens.url("/token"), "good").await;
    let keychain = Arc::new(Rotating(Mutex::default()));
    let repo = server.repo(config(), Auth::Keychain(keychain.clone()));
    repo.manifest("1.0").await.unwrap();
    era.store(1, Ordering::Relaxed);
    repo.manifest("1.0").await.unwrap();
    assert_eq!(*keychain.0.lock().unwrap(), (2, 1));
    era.store(9, Ordering::Relaxed);
    let error = repo.manifest("1.0").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error:?}");
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(text)
}

#[tokio::test]
async fn ping_says_whether_a_login_would_work() {
    let server = Server::start(|request| match request.header("authorization") {
        Some(BOB) => Reply::ok("{}"),
        _ => Reply::challenge("Basic realm=\"r\""),
    })
    .await;
    let client = Client::new(Config { idle_timeout: Duration::from_secs(2), ..config() }).unwrap();
    client.ping(&server.registry(), bob()).await.unwrap();
    assert!(server.requests()[0].is("GET", "/v2/"));
    let error = client.ping(&server.registry(), Auth::Given(basic("bob", "no"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
}

#[tokio::test]
async fn what_the_token_server_lacks_is_not_absent_from_the_registry() {
    let tokens = Server::start(|_| Reply::new(404)).await;
    let server = registry(tokens.url("/token"), "good").await;
    for auth in [Auth::Anonymous, bob()] {
        let error = server.repo(config(), auth).manifest("1.0").await.unwrap_err();
        assert!(matches!(error, Error::Token { .. }), "{error}");
        assert_ne!(error.kind(), Kind::NotFound);
    }
}
