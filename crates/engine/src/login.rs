//! `login` and `logout`: the docker-compatible credential file.

use crate::{Engine, Error, Result, keychain};
use larder_core::{Registry, Secret};
use larder_remote::{Auth, Credential};
use std::path::PathBuf;

impl Engine {
    /// Checks the credential against the registry, then writes it. Returns the file (or the helper's configuration) it went to.
    pub async fn login(&self, registry: &Registry, username: &str, password: Secret) -> Result<PathBuf> {
        let written = self.check_and_write(registry, username, password).await;
        self.audit_login("login", registry, &written);
        written
    }

    async fn check_and_write(
        &self,
        registry: &Registry,
        username: &str,
        password: Secret,
    ) -> Result<PathBuf> {
        let credential = Credential::Basic { username: username.to_owned(), password: password.clone() };
        let failed = |source| Error::Remote { action: format!("cannot log in to {registry}"), source };
        self.client()?.ping(registry, Auth::Given(credential)).await.map_err(failed)?;
        let path = self.credential_path()?;
        let file = keychain::docker_config(vec![path.clone()], self.config(), self.host());
        file.store(registry, username, &password).await.map_err(failed)?;
        Ok(path)
    }

    /// Removes the credential of a registry. Returns whether there was one.
    pub async fn logout(&self, registry: &Registry) -> Result<bool> {
        let failed = |source| Error::Remote { action: format!("cannot log out of {registry}"), source };
        let file = keychain::docker_config(vec![self.credential_path()?], self.config(), self.host());
        let erased = file.erase(registry).await.map_err(failed);
        self.audit_login("logout", registry, &erased);
        erased
    }

    fn credential_path(&self) -> Result<PathBuf> {
        let path = self.config().auth_file.clone().or_else(|| self.host().credential_files.first().cloned());
        path.ok_or_else(|| Error::Config {
            problem: "auth_file is not set and there is no home directory to keep credentials in".into(),
        })
    }
}
