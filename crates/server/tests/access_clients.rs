//! skopeo against accounts, the token service and an issuer's tokens, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot prepare itself has failed")]

#[expect(dead_code, reason = "the tests of routes use more of it")]
#[path = "http/house.rs"]
mod house;
#[expect(dead_code, reason = "the tests of access use more of it")]
#[path = "access/key.rs"]
mod key;

use house::House;
use key::{Key, key_set};
use larder_server::{Settings, create_token_key};
use larder_testkit::tools::{Skopeo, SkopeoCopy};
use larder_testkit::{Image, ImageBuilder};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

const PASSWORD: &str = "canary-password";

struct Ground {
    folder: tempfile::TempDir,
    skopeo: Skopeo,
    image: Image,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        std::fs::write(folder.path().join("accounts"), format!("alice:{hash}\nbob:{hash}\n")).unwrap();
        create_token_key(&folder.path().join("key.pem")).unwrap();
        let image = ImageBuilder::new(7).build();
        image.write_layout(&folder.path().join("layout"), Some("x")).unwrap();
        Self { skopeo: Skopeo::new().unwrap(), folder, image }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> Value {
        json!({
            "htpasswd": self.path("accounts"),
            "rules": [
                { "repositories": ["public/**"], "anonymous": true, "allow": ["pull"] },
                { "repositories": ["**"], "users": ["alice"], "allow": ["pull", "push"] },
                { "repositories": ["team/**"], "users": ["bob"], "allow": ["pull"] },
            ],
        })
    }

    fn tokens(&self) -> Value {
        json!({ "issuer": "larder.test", "service": "registry.test", "key": self.path("key.pem") })
    }

    fn push(&self, house: &House, login: Option<&str>, name: &str) -> Result<(), String> {
        let from = format!("oci:{}:x", self.path("layout").display());
        let options =
            SkopeoCopy { destination_credentials: login.map(str::to_owned), ..SkopeoCopy::default() };
        let copied = self.skopeo.copy(&from, &reference(house, name), &options);
        copied.map(drop).map_err(|error| format!("{error:#}"))
    }

    fn pull(&self, house: &House, login: Option<&str>, name: &str) -> Result<(), String> {
        let to = tempfile::tempdir_in(self.folder.path()).unwrap();
        let options = SkopeoCopy { source_credentials: login.map(str::to_owned), ..SkopeoCopy::default() };
        let to = format!("dir:{}", to.path().display());
        let copied = self.skopeo.copy(&reference(house, name), &to, &options);
        copied.map(drop).map_err(|error| format!("{error:#}"))
    }
}

fn reference(house: &House, name: &str) -> String {
    format!("docker://{}/{name}:1", house.address)
}

/// The same for a server with tokens and one without.
fn use_as_everybody(ground: &Ground, house: &House) {
    let login = |name: &str| format!("{name}:{PASSWORD}");
    let (alice, bob) = (login("alice"), login("bob"));
    for name in ["public/app", "team/app", "other/app"] {
        let refused = ground.push(house, None, name).unwrap_err();
        assert!(
            refused.contains("authentication is required") || refused.contains("unauthorized"),
            "{refused}"
        );
        let refused = ground.push(house, Some(&bob), name).unwrap_err();
        assert!(refused.contains("denied") || refused.contains("403"), "{refused}");
        ground.push(house, Some(&alice), name).unwrap();
    }
    ground.pull(house, None, "public/app").unwrap();
    ground.pull(house, Some(&bob), "public/app").unwrap();
    ground.pull(house, Some(&bob), "team/app").unwrap();
    let refused = ground.pull(house, Some(&bob), "other/app").unwrap_err();
    assert!(refused.contains("denied: you may not pull here"), "{refused}");
    ground.pull(house, None, "team/app").unwrap_err();
    for wrong in ["alice:wrong", "mallory:wrong", "alice:"] {
        ground.pull(house, Some(wrong), "team/app").unwrap_err();
    }
    let records = house.records.lock().unwrap();
    assert!(records.iter().any(|record| record.caller.as_deref() == Some("alice") && record.status == 201));
    assert!(!format!("{records:?}").contains(PASSWORD));
}

#[test]
fn skopeo_with_passwords() {
    let ground = Ground::new();
    let house = House::with(Settings::default(), ground.settings());
    use_as_everybody(&ground, &house);
    let records = house.records.lock().unwrap();
    assert!(records.iter().all(|record| record.login != larder_server::Login::Token));
}

#[test]
fn skopeo_with_tokens() {
    let ground = Ground::new();
    let mut settings = ground.settings();
    settings["tokens"] = ground.tokens();
    let house = House::with(Settings::default(), settings);
    use_as_everybody(&ground, &house);
    let records = house.records.lock().unwrap();
    let written = records.iter().filter(|record| record.status == 201);
    let bearer = written.map(|record| record.login == larder_server::Login::Token).collect::<Vec<_>>();
    assert!(!bearer.is_empty() && bearer.iter().all(|bearer| *bearer), "skopeo pushed without a token");
}

#[test]
fn skopeo_logs_in_where_the_password_is_right() {
    let ground = Ground::new();
    for tokens in [Value::Null, ground.tokens()] {
        let mut settings = ground.settings();
        settings["tokens"] = tokens;
        let house = House::with(Settings::default(), settings);
        let login = |password: &str| {
            let file = ground.path("auth.json");
            let command = ground.skopeo.command().unwrap().env("REGISTRY_AUTH_FILE", file);
            let command = command.args(["login", "--tls-verify=false", "-u", "alice", "-p", password]);
            command.arg(house.address.to_string()).outcome().unwrap()
        };
        assert_eq!(login(PASSWORD).code(), Some(0), "{}", login(PASSWORD).describe());
        assert_ne!(login("wrong").code(), Some(0));
    }
}

#[test]
fn skopeo_with_the_token_of_an_identity_provider_for_a_password() {
    let ground = Ground::new();
    let key = Key::new("1", jsonwebtoken::Algorithm::ES256);
    std::fs::write(ground.path("keys.json"), key_set(&[&key])).unwrap();
    let settings = json!({
        "tokens": ground.tokens(),
        "issuers": [{
            "kind": "oidc", "issuer": "https://ci.test", "audience": "registry.test", "jwks_file": ground.path("keys.json"),
            "require": { "repository": "acme/app" },
        }],
        "rules": [{ "repositories": ["acme/**"], "users": ["oidc:build"], "allow": ["pull", "push"] }],
    });
    let house = House::with(Settings::default(), settings);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let login = |repository: &str| {
        let claims = json!({
            "iss": "https://ci.test", "aud": "registry.test", "sub": "build", "repository": repository, "exp": now + 300,
        });
        format!("oidc:{}", key.sign(&key.header(), &claims))
    };
    ground.push(&house, Some(&login("acme/app")), "acme/app").unwrap();
    ground.pull(&house, Some(&login("acme/app")), "acme/app").unwrap();
    ground.push(&house, Some(&login("acme/app")), "other/app").unwrap_err();
    ground.push(&house, Some(&login("attacker/app")), "acme/app").unwrap_err();
    let digest = ground.skopeo.command().unwrap();
    let digest = digest.args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}", "--creds"]);
    let digest = digest.arg(login("acme/app")).arg(reference(&house, "acme/app")).run().unwrap();
    assert_eq!(digest.text().trim(), ground.image.digest().to_string());
}
