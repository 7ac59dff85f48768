//! A way to a database that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes bytes on to a server, until it is cut: then all connections end at once, and new ones as soon as they are made.
/// It goes away with the test's runtime.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    is_cut: Arc<watch::Sender<bool>>,
}

impl Proxy {
    /// In front of the server that listens at `target`.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn before(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let is_cut = Arc::new(watch::Sender::new(false));
        let cut = Arc::clone(&is_cut);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, target.clone(), cut.subscribe()));
            }
        });
        Self { address, is_cut }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, until [`Proxy::mend`].
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn pass_on(mut client: TcpStream, target: String, mut cut: watch::Receiver<bool>) {
    let both_ways = async {
        let mut server = TcpStream::connect(&target).await?;
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        copy_bidirectional(&mut client, &mut server).await
    };
    tokio::select! {
        biased;
        // Whether it is cut, or there is no test any more: both end here.
        _ = cut.wait_for(|is_cut| *is_cut) => {}
        // How a connection ends is seen at its ends.
        _ = both_ways => {}
    }
}
