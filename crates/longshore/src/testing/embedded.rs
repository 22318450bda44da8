//! A server in the process of a test.

use std::net::SocketAddr;

use longshore_server::config::ServerConfig;
use longshore_server::{Node, NodeConfig, http};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{Client, ClientError};

/// A real server in the process of a test, at a port of its own, with a folder that goes with it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let server = longshore::testing::EmbeddedServer::start().await?;
/// let client = server.client();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EmbeddedServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<std::io::Result<()>>,
    folder: TempDir,
}

impl EmbeddedServer {
    /// Starts one and waits until it serves.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_in(tempfile::tempdir()?, "127.0.0.1:0").await
    }

    async fn start_in(folder: TempDir, listen: &str) -> std::io::Result<Self> {
        let mut node = NodeConfig::new(folder.path().join("data"));
        node.reserve_bytes = 0;
        node.limits.namespaces_on_first_use = true;
        let config = ServerConfig { listen: listen.to_owned(), node, ..ServerConfig::default() };
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let node = Node::open(&config.node).map_err(std::io::Error::other)?;
        node.started().await;
        let (stop, stopping) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let stopping = async move {
                let _ = stopping.await;
            };
            http::serve(&config, node, listener, stopping).await
        });
        Ok(Self { address, stop: Some(stop), serving, folder })
    }

    /// Its address, as a client wants it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        let client: Result<Client, ClientError> = Client::new(self.url());
        client.expect("the address is that of a socket")
    }

    /// Stops it as a signal would, and starts it again at the same address with the same data.
    pub async fn restart(self) -> std::io::Result<Self> {
        let Self { address, mut stop, serving, folder } = self;
        drop(stop.take());
        serving.await.map_err(std::io::Error::other)??;
        Self::start_in(folder, &address.to_string()).await
    }

    /// Stops it and waits for that.
    pub async fn stop(mut self) -> std::io::Result<()> {
        drop(self.stop.take());
        self.serving.await.map_err(std::io::Error::other)?
    }
}
