//! Credential files and helper programs.

use larder_core::{Classify, Kind, Registry, Repository, Secret, report};
use larder_remote::{Cached, Chain, Credential, DockerConfig, Error, Given, Keychain, PerHost, Scope};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

async fn ask(
    keychain: &dyn Keychain,
    registry: &str,
    repository: &str,
) -> larder_remote::Result<Option<Credential>> {
    let (registry, repository) = (Registry::new(registry).unwrap(), Repository::new(repository).unwrap());
    keychain.credential(&Scope { registry: &registry, repository: &repository }).await
}

fn basic(username: &str, password: &str) -> Credential {
    crate::server::basic(username, password)
}

fn file(dir: &Path, text: &str) -> DockerConfig {
    std::fs::write(dir.join("config.json"), text).unwrap();
    DockerConfig::new(vec![dir.join("missing.json"), dir.join("config.json")], vec![dir.join("bin")])
}

fn helper(dir: &Path, name: &str, script: &str) {
    std::fs::create_dir_all(dir.join("bin")).unwrap();
    let path = dir.join("bin").join(format!("docker-credential-{name}"));
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn the_longest_matching_key_wins() {
    let dir = tempfile::tempdir().unwrap();
    let keychain = file(
        dir.path(),
        r#"{"auths": {
            "r.example": {"auth": "aG9zdDpwdw=="},
            "r.example/team": {"auth": "dGVhbTpwdw=="},
            "https://r.example/team/app": {"username": "app", "password": "pw"},
            "https://index.docker.io/v1/": {"auth": "aHViOnB3", "email": "x"},
            "id.example": {"auth": "Og==", "identitytoken": "idt"},
            "token.example:5000": {"registrytoken": "rt"},
            "empty.example": {}, "null.example": null
        }, "psFormat": "x"}"#,
    );
    let table = [
        ("r.example", "other/app", Some(basic("host", "pw"))),
        ("r.example", "team/other", Some(basic("team", "pw"))),
        ("r.example", "teams/other", Some(basic("host", "pw"))),
        ("r.example", "team/app", Some(basic("app", "pw"))),
        ("r.example:443", "team/app", None),
        ("docker.io", "library/x", Some(basic("hub", "pw"))),
        (
            "id.example",
            "a",
            Some(Credential::Identity { username: String::new(), token: Secret::new("idt") }),
        ),
        ("token.example:5000", "a", Some(Credential::Bearer(Secret::new("rt")))),
        ("empty.example", "a", None),
        ("null.example", "a", None),
        ("evil.r.example", "team/app", None),
    ];
    for (registry, repository, expected) in table {
        assert_eq!(ask(&keychain, registry, repository).await.unwrap(), expected, "{registry}/{repository}");
    }
}

#[tokio::test]
async fn damaged_files_are_errors_that_keep_secrets() {
    for text in [
        "{\"auths\": \"canary\"}",
        "[\"canary\"]",
        "{\"auths\": {\"r.example\": {\"auth\": \"canary!\"}}}",
        "{\"auths\": {\"r.example\": {\"auth\": \"Y2FuYXJ5\"}}}",
        "canary",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let error = ask(&file(dir.path(), text), "r.example", "a").await.unwrap_err();
        assert!(matches!(error, Error::CredentialFile { .. }), "{text}: {error:?}");
        assert!(!format!("{error:?} {}", report(&error)).contains("canary"), "{error:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(ask(&file(dir.path(), " \n"), "r.example", "a").await.unwrap(), None);
}

#[tokio::test]
async fn helpers_are_asked() {
    let dir = tempfile::tempdir().unwrap();
    let keychain = file(
        dir.path(),
        r#"{"credsStore": "general", "credHelpers": {"r.example": "own", "none.example": "none"}, "auths": {"r.example": {}}}"#,
    );
    helper(
        dir.path(),
        "own",
        r#"read server; [ "$1" = get ] && echo "{\"Username\":\"$server\",\"Secret\":\"pw\"}""#,
    );
    helper(dir.path(), "none", "echo 'credentials not found in native keychain'; exit 1");
    helper(
        dir.path(),
        "general",
        r#"read server; case "$server" in
            https://index.docker.io/v1/) echo '{"Username":"<token>","Secret":"idt"}';;
            *) echo 'credentials not found in native keychain'; exit 1;; esac"#,
    );
    assert_eq!(ask(&keychain, "r.example", "a").await.unwrap(), Some(basic("r.example", "pw")));
    assert_eq!(ask(&keychain, "none.example", "a").await.unwrap(), None);
    assert_eq!(ask(&keychain, "other.example", "a").await.unwrap(), None);
    let identity = Credential::Identity { username: String::new(), token: Secret::new("idt") };
    assert_eq!(ask(&keychain, "docker.io", "library/x").await.unwrap(), Some(identity));
}

#[tokio::test]
async fn helpers_that_fail_are_errors_and_hanging_ones_are_killed() {
    let dir = tempfile::tempdir().unwrap();
    for (script, word) in [
        ("echo canary; exit 3", "failure"),
        ("echo canary", "not what a helper answers"),
        ("sleep 600", "no answer"),
        ("exit 0", "not what a helper answers"),
    ] {
        helper(dir.path(), "x", script);
        let keychain =
            file(dir.path(), r#"{"credsStore": "x"}"#).with_helper_timeout(Duration::from_millis(300));
        let error = ask(&keychain, "r.example", "a").await.unwrap_err();
        assert!(matches!(error, Error::Helper { .. }), "{error:?}");
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.to_string().contains(word), "{script}: {error}");
        assert!(!format!("{error:?}").contains("canary"));
    }
    for name in ["missing", "../bin/docker-credential-x", "a b", "/bin/sh"] {
        let keychain = file(dir.path(), &format!(r#"{{"credsStore": "{name}"}}"#));
        assert!(
            matches!(ask(&keychain, "r.example", "a").await.unwrap_err(), Error::Helper { .. }),
            "{name}"
        );
    }
}

#[tokio::test]
async fn login_and_logout_keep_the_rest_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real.json");
    std::fs::write(&real, r#"{"HttpHeaders": {"X": "1"}, "auths": {"other.example": {"auth": "YTpi"}, "r.example/ns": {"auth": "YTpi"}}}"#).unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o644)).unwrap();
    let link = dir.path().join("config.json");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let keychain = DockerConfig::new(vec![link.clone()], Vec::new());
    let registry = Registry::new("r.example").unwrap();
    keychain.store(&registry, "bob", &Secret::new("p:w")).await.unwrap();
    assert_eq!(ask(&keychain, "r.example", "a").await.unwrap(), Some(basic("bob", "p:w")));
    assert!(link.is_symlink());
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&real).unwrap();
    assert!(text.contains("HttpHeaders") && text.contains("other.example"), "{text}");
    assert!(keychain.erase(&registry).await.unwrap());
    assert!(!keychain.erase(&registry).await.unwrap());
    assert_eq!(ask(&keychain, "r.example", "a").await.unwrap(), None);
    assert_eq!(ask(&keychain, "r.example", "ns/a").await.unwrap(), Some(basic("a", "b")));
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "no temporary file stays");

    let hub = Registry::new("docker.io").unwrap();
    let fresh = DockerConfig::new(vec![dir.path().join("new/config.json")], Vec::new());
    fresh.store(&hub, "bob", &Secret::new("pw")).await.unwrap();
    let text = std::fs::read_to_string(dir.path().join("new/config.json")).unwrap();
    assert!(text.contains("https://index.docker.io/v1/"), "{text}");
}

#[tokio::test]
async fn login_uses_the_configured_helper() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    helper(
        dir.path(),
        "x",
        &format!(
            r#"case "$1" in store) cat > {kept};; get) grep -q . {kept} && echo '{{"Username":"bob","Secret":"pw"}}';; erase) : > {kept};; esac"#,
            kept = kept.display()
        ),
    );
    std::fs::write(dir.path().join("config.json"), r#"{"credsStore": "x"}"#).unwrap();
    let keychain = DockerConfig::new(vec![dir.path().join("config.json")], vec![dir.path().join("bin")]);
    let registry = Registry::new("r.example").unwrap();
    keychain.store(&registry, "bob", &Secret::new("pw")).await.unwrap();
    let stored: serde_json::Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    assert_eq!(stored, serde_json::json!({"ServerURL": "r.example", "Username": "bob", "Secret": "pw"}));
    assert!(!std::fs::read_to_string(dir.path().join("config.json")).unwrap().contains("pw"));
    assert!(keychain.erase(&registry).await.unwrap());
    assert!(std::fs::read(&kept).unwrap().is_empty());
}

struct Counting(Mutex<u32>);

#[async_trait::async_trait]
impl Keychain for Counting {
    async fn credential(&self, _scope: &Scope<'_>) -> larder_remote::Result<Option<Credential>> {
        let mut count = self.0.lock().unwrap();
        *count += 1;
        Ok(Some(basic("bob", &count.to_string())))
    }
}

#[tokio::test]
async fn chains_hosts_and_memories() {
    let per_host =
        PerHost::new([("r.example/ns".into(), basic("ns", "1")), ("docker.io".into(), basic("hub", "2"))]);
    let chain = Chain(vec![Arc::new(per_host), Arc::new(Given(basic("rest", "3")))]);
    for (registry, repository, name) in
        [("r.example", "ns/a", "ns"), ("docker.io", "library/a", "hub"), ("r.example", "b", "rest")]
    {
        let Some(Credential::Basic { username, .. }) = ask(&chain, registry, repository).await.unwrap()
        else {
            panic!()
        };
        assert_eq!(username, name);
    }
    let now = Arc::new(Mutex::new(UNIX_EPOCH));
    let clock = now.clone();
    let cached = Cached::new(
        Arc::new(Counting(Mutex::new(0))),
        Duration::from_secs(60),
        Arc::new(move || -> SystemTime { *clock.lock().unwrap() }),
    );
    let password = async || match ask(&cached, "r.example", "a").await.unwrap() {
        Some(Credential::Basic { password, .. }) => password.reveal().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!((password().await, password().await), ("1".into(), "1".into()));
    *now.lock().unwrap() += Duration::from_secs(60);
    assert_eq!(password().await, "2");
    let (registry, repository) = (Registry::new("r.example").unwrap(), Repository::new("a").unwrap());
    cached.forget(&Scope { registry: &registry, repository: &repository });
    assert_eq!(password().await, "3");
}
