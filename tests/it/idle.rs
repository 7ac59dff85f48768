//! Many open connections that say nothing.

use std::time::Duration;

use hm_system_tests::http::{Call, Connection};
use hm_system_tests::limits::allow_open_files;
use hm_system_tests::people::Person;
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings};
use hm_system_tests::skip::skipped;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const IDLE: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_connections_are_in_nobodys_way() {
    if !allow_open_files(2 * IDLE as u64 + 500) {
        skipped(&format!(
            "this machine lets no process open {IDLE} connections (ulimit -n)"
        ));
        return;
    }
    let place = Place::on_sqlite();
    let server = Server::start(&place, &Settings::free_plan(1_000_000, 1_000_000)).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let key = ada.create_key(&server, "awake").await;
    let mut silent = Vec::new();
    let mut kept_alive = Vec::new();
    for number in 0..IDLE {
        // Some never say a word, some stop in the middle of a request, some were used once.
        match number % 3 {
            0 => silent.push(TcpStream::connect(server.address()).await.unwrap()),
            1 => {
                let mut stream = TcpStream::connect(server.address()).await.unwrap();
                stream
                    .write_all(b"POST /api/v1/data HTTP/1.1\r\nHost: x\r\nX-API")
                    .await
                    .unwrap();
                silent.push(stream);
            }
            _ => {
                let mut connection = Connection::open(server.address()).await.unwrap();
                connection.send(Call::get("/healthz")).await.unwrap().expect(200);
                kept_alive.push(connection);
            }
        }
    }
    assert_eq!(silent.len() + kept_alive.len(), IDLE);
    let begun = Instant::now();
    let mut connection = Connection::open(server.address()).await.unwrap();
    for _ in 0..100 {
        connection
            .send(Call::curiosity(&key.text))
            .await
            .unwrap()
            .expect(200);
    }
    server.call(Call::get("/readyz")).await.expect(200);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "100 requests took {took:?}");
    for connection in kept_alive.iter_mut().take(50) {
        connection.send(Call::get("/healthz")).await.unwrap().expect(200);
    }
    // They must not hold up a stop beyond its grace either.
    timeout(Duration::from_secs(30), server.stop())
        .await
        .expect("the server stops");
    drop((silent, kept_alive));
}
