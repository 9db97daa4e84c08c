//! A registry of the sender, reached by the node through its own connection.

use crate::host::Flow;
use crate::{Connection, Result};
use larder_core::{Digest, Secret};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Where the sender's registry listens, and the token that it wants.
#[derive(Debug, Clone)]
pub struct Registry {
    /// On the loopback interface.
    pub address: SocketAddr,
    /// A bearer token. Everybody on a node can reach the port; who has not the token gets nothing.
    pub token: Secret,
}

/// Makes the directory of `hosts.toml` and fills it from the input, readable for nobody else; removes those of deliveries that are
/// long over. Arguments: the node's directory, the name of the new one.
const PREPARE: &str = "set -e; umask 077; mkdir -p \"$1\"; \
    find \"$1\" -maxdepth 1 -type d -name 'tunnel-*' -mmin +1440 -exec rm -rf {} +; \
    mkdir -p \"$1/$2/_default\"; cat > \"$1/$2/_default/hosts.toml\"";

/// The way back to the registry, for as long as it is not dropped and the connection lives.
pub(crate) struct Tunnel {
    relay: JoinHandle<()>,
    /// The directory with `hosts.toml` on the node.
    pub(crate) hosts_dir: String,
}

impl Tunnel {
    /// Opens a port on the node's loopback that leads to the registry, and writes down there how it is used.
    pub(crate) async fn open(connection: &Connection, registry: &Registry, flow: &Flow) -> Result<Self> {
        let failed = crate::Error::file("listen on", "127.0.0.1");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(failed)?;
        let local = listener.local_addr().map_err(crate::Error::file("listen on", "127.0.0.1"))?;
        // Between the node and the registry, bytes are counted and held back.
        let relay = tokio::spawn(relay(listener, registry.address, flow.clone()));
        let tunnel = async {
            let port = connection.forward_back(local).await?;
            let token = registry.token.reveal();
            // Nobody can guess the token, so its hash tells nothing and is nobody else's name.
            let name = format!("tunnel-{}", &Digest::of(format!("{token}{port}").as_bytes()).hex()[..16]);
            let directory = &connection.node().directory;
            let hosts = format!(
                "server = \"http://127.0.0.1:{port}\"\n\n[host.\"http://127.0.0.1:{port}\"]\n  \
                 capabilities = [\"pull\", \"resolve\"]\n\n  [host.\"http://127.0.0.1:{port}\".header]\n    \
                 Authorization = [\"Bearer {token}\"]\n"
            );
            let argv = ["sh", "-c", PREPARE, "larder", directory.as_str(), name.as_str()];
            let output = connection.run(&argv, hosts.as_bytes()).await?;
            output.success(connection.node().name(), "writing hosts.toml")?;
            Ok(format!("{directory}/{name}"))
        };
        match tunnel.await {
            Ok(hosts_dir) => Ok(Self { relay, hosts_dir }),
            Err(error) => {
                relay.abort();
                Err(error)
            }
        }
    }

    /// Removes what was written on the node.
    pub(crate) async fn close(self, connection: &Connection) -> Result<()> {
        let output = connection.run(&["rm", "-rf", "--", &self.hosts_dir], b"").await?;
        output.success(connection.node().name(), "rm").map(drop)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

async fn relay(listener: TcpListener, registry: SocketAddr, flow: Flow) {
    let mut calls = tokio::task::JoinSet::new();
    while let Ok((node, _)) = listener.accept().await {
        while calls.try_join_next().is_some() {}
        let flow = flow.clone();
        calls.spawn(async move {
            // Whatever breaks is seen by the puller, who tries again.
            if let Ok(registry) = TcpStream::connect(registry).await {
                let _ = exchange(node, registry, &flow).await;
            }
        });
    }
}

async fn exchange(node: TcpStream, registry: TcpStream, flow: &Flow) -> std::io::Result<()> {
    let _ = (node.set_nodelay(true), registry.set_nodelay(true));
    let (mut asks, mut node) = node.into_split();
    let (mut answers, mut registry) = registry.into_split();
    let forth = async move {
        let copied = tokio::io::copy(&mut asks, &mut registry).await;
        copied.and(registry.shutdown().await)
    };
    let back = async move {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = answers.read(&mut buffer).await?;
            if count == 0 {
                return node.shutdown().await;
            }
            flow.pass(count as u64).await;
            node.write_all(&buffer[..count]).await?;
        }
    };
    tokio::try_join!(forth, back).map(drop)
}
