//! A registry of some images for as long as somebody pulls them, for whoever has a token.

use crate::{Engine, Error, Result};
use larder_core::{RepositoryName, Secret};
use larder_nodes::{DeliverOptions, Method, Registry, Shipment};
use larder_server::{Access, Parts, Server, Settings};
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A registry that ends when this is dropped.
pub(crate) struct Lent {
    registry: Registry,
    server: JoinHandle<()>,
}

impl Engine {
    /// The registry that nodes pull from, where that is how images are delivered. It lives as long as what this returns.
    pub(crate) async fn lend_for(
        &self,
        options: &mut DeliverOptions,
        shipments: &[Arc<Shipment>],
    ) -> Result<Option<Lent>> {
        if options.method != Some(Method::Tunnel) {
            return Ok(None);
        }
        let lent = self.lend(shipments).await?;
        options.registry = Some(lent.registry.clone());
        Ok(Some(lent))
    }

    /// Serves the repositories of these images on the loopback interface, to nobody but who has the token.
    async fn lend(&self, shipments: &[Arc<Shipment>]) -> Result<Lent> {
        let token = Secret::new(token()?);
        let mut repositories: Vec<RepositoryName> = Vec::new();
        for name in shipments.iter().map(|shipment| shipment.name()) {
            let repository = RepositoryName::new(name.registry().clone(), name.repository().clone());
            if !repositories.contains(&repository) {
                repositories.push(repository);
            }
        }
        let access = Access::pass(token.clone(), &repositories)
            .map_err(|source| Error::Access { source: Box::new(source) })?;
        let address = (Ipv4Addr::LOCALHOST, 0);
        let failed = |source| Error::Listen { address: "127.0.0.1:0".into(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let parts = Parts {
            store: self.store().clone(),
            access: Arc::new(access),
            on_miss: None,
            sinks: Vec::new(),
            clock: self.host().clock.clone(),
        };
        let server = Server::new(Settings::default(), parts);
        let server = tokio::spawn(async move {
            server.serve(listener, None, std::future::pending()).await;
        });
        Ok(Lent { registry: Registry { address, token }, server })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// 256 bits that nobody can guess.
fn token() -> Result<String> {
    use std::io::Read as _;
    let path = std::path::Path::new("/dev/urandom");
    let failed = |source| Error::File { action: "cannot read", path: path.into(), source };
    let mut bytes = [0; 32];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(failed)?;
    Ok(larder_core::Digest::of(&bytes).hex())
}
