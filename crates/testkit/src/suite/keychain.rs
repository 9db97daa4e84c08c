//! What a keychain must do.

use larder_core::{Registry, Repository};
use larder_remote::{Credential, Keychain, Scope};

/// A keychain that knows `user`/`password` for the registry `known.example` answers so for every repository of it, knows nothing
/// about others, and gives no secret away when it is printed.
pub async fn keychain(keychain: &dyn Keychain, user: &str, password: &str) {
    let known = Registry::new("known.example").expect("a registry");
    let stranger = Registry::new("known.example.evil.test").expect("a registry");
    for path in ["a", "deeply/nested/path"] {
        let repository = Repository::new(path).expect("a repository");
        let found = keychain
            .credential(&Scope { registry: &known, repository: &repository })
            .await
            .expect("an answer");
        let Some(Credential::Basic { username, password: secret }) = found else {
            panic!("no credential for {path}")
        };
        assert_eq!((username.as_str(), secret.reveal()), (user, password));
        let shown = format!("{secret:?} {secret}");
        assert!(!shown.contains(password), "a secret is printed: {shown}");
        let none = keychain
            .credential(&Scope { registry: &stranger, repository: &repository })
            .await
            .expect("an answer");
        assert!(none.is_none(), "a credential for another host was given away");
    }
}
