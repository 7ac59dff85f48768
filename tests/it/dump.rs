//! A dump by the database's own programs, taken beside a server that works, and restored elsewhere.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use hm_metering_seaorm::testing::TestDatabase;
use hm_system_tests::address::Address;
use hm_system_tests::http::Call;
use hm_system_tests::load::Load;
use hm_system_tests::people::Person;
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings, run};
use hm_system_tests::skip::not_installed;

/// A database's own programs, as `docs/src/operations.md` has them called.
struct Programs {
    dump: &'static str,
    dumps: fn(&mut Command, url: &str, to: &Path),
    restore: &'static str,
    restores: fn(&mut Command, url: &str, from: &Path),
}

const POSTGRES: Programs = Programs {
    dump: "pg_dump",
    dumps: |command, url, to| {
        command.args(["--format=custom", "--file"]).arg(to).arg(bare(url));
    },
    restore: "pg_restore",
    restores: |command, url, from| {
        command
            .args(["--no-owner", "--exit-on-error", "--dbname", bare(url)])
            .arg(from);
    },
};

/// The address without the parameters of our driver, which PostgreSQL's own programs don't know.
fn bare(url: &str) -> &str {
    url.split_once('?').map_or(url, |(address, _)| address)
}

const MARIADB: Programs = Programs {
    dump: "mariadb-dump",
    dumps: |command, url, to| {
        signed_in(command, url)
            .args(["--single-transaction", "--hex-blob", Address::of(url).database()])
            .stdout(File::create(to).unwrap());
    },
    restore: "mariadb",
    restores: |command, url, from| {
        signed_in(command, url)
            .arg(Address::of(url).database())
            .stdin(File::open(from).unwrap());
    },
};

fn signed_in<'a>(command: &'a mut Command, url: &str) -> &'a mut Command {
    let address = Address::of(url);
    command
        .arg(format!("--host={}", address.host))
        .arg(format!("--port={}", address.port))
        .arg(format!("--user={}", address.user()))
        .env("MYSQL_PWD", address.password())
}

impl Programs {
    fn are_installed(&self) -> bool {
        let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
        let missing = [self.dump, self.restore]
            .into_iter()
            .find(|program| !is_there(program));
        if let Some(missing) = missing {
            not_installed(missing);
        }
        missing.is_none()
    }

    fn dump(&self, url: &str, to: &Path) {
        let mut command = Command::new(self.dump);
        (self.dumps)(&mut command, url, to);
        must_succeed(command);
    }

    fn restore(&self, url: &str, from: &Path) {
        let mut command = Command::new(self.restore);
        (self.restores)(&mut command, url, from);
        must_succeed(command);
    }
}

fn must_succeed(mut command: Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_database_comes_back_from_its_own_tools_and_the_ledger_agrees() {
    if let Some(place) = Place::on_postgres().await {
        let empty = TestDatabase::empty_postgres().await.unwrap().unwrap();
        a_database_comes_back_and_the_ledger_agrees(place, empty, POSTGRES).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_database_comes_back_from_its_own_tools_and_the_ledger_agrees() {
    if let Some(place) = Place::on_mysql().await {
        let empty = TestDatabase::empty_mysql().await.unwrap().unwrap();
        a_database_comes_back_and_the_ledger_agrees(place, empty, MARIADB).await;
    }
}

async fn a_database_comes_back_and_the_ledger_agrees(place: Place, empty: TestDatabase, programs: Programs) {
    if !programs.are_installed() {
        return;
    }
    let settings = Settings::free_plan(1_000_000, 1_000_000);
    let server = Server::start(&place, &settings).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let key = ada.create_key(&server, "load").await;
    let load = Load::begin(server.address(), &key.text, usize::MAX, "dump");
    load.reach(100).await;
    let file = place.folder().join("hm.dump");
    // While the server works: a dump is the state of one moment.
    programs.dump(&place.url(), &file);
    server.stop().await;
    load.end().await;

    programs.restore(empty.url(), &file);
    let restored = settings.variable("DATABASE_URL", empty.url());
    let ended = run(&place, &restored, &["check"]).await;
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains("checked 1 accounts"), "{}", ended.text);
    let ended = run(&place, &restored, &["backup", "x.sqlite"]).await;
    assert_eq!(ended.code, 1, "{}", ended.text);
    assert!(ended.text.contains(programs.dump), "{}", ended.text);

    let server = Server::start(&place, &restored.clone().journal("journal-restored")).await;
    key.keep_secret(&server);
    server.call(Call::curiosity(&key.text)).await.expect(200);
    server.stop().await;
    let ended = run(&place, &restored, &["check"]).await;
    assert_eq!(ended.code, 0, "{}", ended.text);
    empty.close().await.unwrap();
}
