//! Stands before a MariaDB or MySQL server, and cuts everybody off before a chosen change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hm_metering_seaorm::testing::TestDatabase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How statements begin that change something.
const CHANGES: [&str; 6] = ["CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE"];

/// The commands of the protocol that carry a statement: as a text to be executed, and as one to be prepared.
const QUERY: u8 = 0x03;
const PREPARE: u8 = 0x16;

/// Lets some changes through, and ends all connections when another one is asked for.
pub struct Cutter {
    address: SocketAddr,
    server: String,
    is_cut: watch::Receiver<bool>,
}

impl Cutter {
    pub async fn after(changes: usize, database: &TestDatabase) -> Self {
        let server = server(database.url()).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, is_cut) = watch::channel(false);
        let upstream = server.clone();
        tokio::spawn(async move {
            let (left, cut) = (Arc::new(AtomicUsize::new(changes)), Arc::new(cut));
            while let Ok((client, _)) = listener.accept().await {
                if *cut.borrow() {
                    // Nobody is let in any more.
                    continue;
                }
                let server = TcpStream::connect(&upstream).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&left), Arc::clone(&cut)));
            }
        });
        Self {
            address,
            server,
            is_cut,
        }
    }

    /// The database by way of this. What is said has to be readable here.
    pub fn url(&self, database: &TestDatabase) -> String {
        database
            .url()
            .replacen(&self.server, &self.address.to_string(), 1)
            .replace("ssl-mode=PREFERRED", "ssl-mode=DISABLED")
    }

    pub fn has_cut(&self) -> bool {
        *self.is_cut.borrow()
    }
}

fn server(url: &str) -> &str {
    let (_, rest) = url.split_once('@').unwrap();
    rest.split_once('/').unwrap().0
}

/// Hands everything on, in both directions, until one side ends or it is cut. Then both connections are closed.
async fn pass(client: TcpStream, server: TcpStream, left: Arc<AtomicUsize>, cut: Arc<watch::Sender<bool>>) {
    let mut is_cut = cut.subscribe();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asks = async {
        loop {
            let mut packet = vec![0; 4];
            from_client.read_exact(&mut packet).await?;
            let length = u32::from_le_bytes([packet[0], packet[1], packet[2], 0]);
            packet.resize(4 + length as usize, 0);
            from_client.read_exact(&mut packet[4..]).await?;
            let one_less = |left: usize| left.checked_sub(1);
            if is_change(&packet)
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
                    .is_err()
            {
                cut.send_replace(true);
                return std::io::Result::Ok(());
            }
            to_server.write_all(&packet).await?;
        }
    };
    tokio::select! {
        _ = asks => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
        _ = is_cut.wait_for(|cut| *cut) => {}
    }
}

/// Whether a packet begins a statement that changes something. A prepared one is counted when it is prepared.
fn is_change(packet: &[u8]) -> bool {
    let [_, _, _, 0, QUERY | PREPARE, text @ ..] = packet else {
        return false;
    };
    let text = String::from_utf8_lossy(text);
    CHANGES.iter().any(|change| text.trim_start().starts_with(change))
}
