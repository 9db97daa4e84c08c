//! `login` and `logout`: the docker-compatible credential file.

use crate::{Engine, Error, Result};
use larder_core::{Registry, Repository, Secret};
use larder_remote::{Auth, Credential, DockerConfig};
use std::path::PathBuf;

impl Engine {
    /// Checks the credential against the registry, then writes it. Returns the file (or the helper's configuration) it went to.
    pub async fn login(&self, registry: &Registry, username: &str, password: Secret) -> Result<PathBuf> {
        let credential = Credential::Basic { username: username.to_owned(), password };
        // Any repository will do: the check is the registry's own entry point.
        let repository = Repository::new("larder-login").map_err(|source| Error::Document { what: "login".into(), source })?;
        let failed = |source| Error::Remote { action: format!("cannot log in to {registry}"), source };
        let repo = self.client()?.repository(registry, &repository, Auth::Given(credential.clone()));
        repo.ping().await.map_err(failed)?;
        let file = self.credential_file()?;
        file.store(registry, &credential).await.map_err(failed)?;
        Ok(file.path().to_owned())
    }

    /// Removes the credential of a registry. Returns whether there was one.
    pub async fn logout(&self, registry: &Registry) -> Result<bool> {
        let failed = |source| Error::Remote { action: format!("cannot log out of {registry}"), source };
        self.credential_file()?.erase(registry).await.map_err(failed)
    }

    fn credential_file(&self) -> Result<DockerConfig> {
        let path = self.config().auth_file.clone().or_else(|| self.host().credential_files.first().cloned());
        let path = path.ok_or_else(|| Error::Config {
            problem: "auth_file is not set and there is no home directory to keep credentials in".into(),
        })?;
        Ok(crate::keychain::docker_config(path, self.config(), self.host()))
    }
}
