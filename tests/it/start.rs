//! Mistakes at start, and the other commands.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hm_system_tests::on_every_database;
use hm_system_tests::place::Place;
use hm_system_tests::server::{Ended, Server, Settings, run};
use hm_system_tests::skip::skipped;

/// It is tried once, with a time-out; nobody waits longer for a message.
const QUICK: Duration = Duration::from_secs(20);

async fn refused(settings: &Settings) -> Ended {
    let ended = run(&Place::on_sqlite(), settings, &[]).await;
    assert_ne!(ended.code, 0, "{}", ended.text);
    assert!(ended.took < QUICK, "it took {:?}: {}", ended.took, ended.text);
    assert!(!ended.text.contains("panicked"), "{}", ended.text);
    ended
}

fn must_say(ended: &Ended, parts: &[&str]) {
    for part in parts {
        assert!(
            ended.text.contains(part),
            "`{part}` is missing in: {}",
            ended.text
        );
    }
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_reported() {
    // Nobody listens on port 1.
    let url = "postgres://somebody:hunter2-secret@127.0.0.1:1/nothing";
    let ended = refused(&Settings::default().variable("DATABASE_URL", url)).await;
    must_say(&ended, &["hm-server: ", "database"]);
    assert!(
        !ended.text.contains("hunter2-secret"),
        "the password is shown: {}",
        ended.text
    );
}

#[tokio::test]
async fn a_database_of_an_unknown_kind_is_reported() {
    let url = "oracle://somebody:hunter2-secret@127.0.0.1/nothing";
    let ended = refused(&Settings::default().variable("DATABASE_URL", url)).await;
    must_say(&ended, &["DATABASE_URL", "sqlite", "postgres"]);
    assert!(
        !ended.text.contains("hunter2-secret"),
        "the password is shown: {}",
        ended.text
    );
}

#[tokio::test]
async fn a_database_file_that_can_t_be_is_reported() {
    let ended = refused(&Settings::default().variable("DATABASE_URL", "sqlite:///dev/null/hm.sqlite")).await;
    must_say(&ended, &["hm-server: ", "database"]);
}

#[tokio::test]
async fn a_database_that_refuses_the_password_is_reported() {
    let Some(place) = Place::on_postgres().await else {
        return;
    };
    // The server for tests may trust everybody, so the database is one that is not there.
    let url = format!("{}_and_more", place.url());
    let ended = refused(&Settings::default().variable("DATABASE_URL", &url)).await;
    must_say(&ended, &["hm-server: ", "database"]);
}

#[tokio::test]
async fn a_busy_port_is_reported() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = refused(&Settings::default().variable("HM_LISTEN", &address)).await;
    must_say(&ended, &["hm-server: ", &address]);
}

#[tokio::test]
async fn all_mistakes_in_the_settings_are_reported_at_once() {
    let file = "
        [http]
        lisen = '127.0.0.1:1'
        body_limit_bytes = 'many'
        [plans.free]
        requests_per_month = -1
        [nonsense]
        a = 1
    ";
    let ended = refused(&Settings::default().file(file).variable("HM_LISTEN", "here")).await;
    must_say(
        &ended,
        &[
            "http.lisen",
            "http.body_limit_bytes",
            "plans.free.requests_per_month",
            "nonsense",
            "HM_LISTEN",
        ],
    );
}

#[tokio::test]
async fn production_refuses_missing_and_weak_secrets_at_once() {
    let settings = Settings::default()
        .without("JWT_SECRET")
        .variable("KEY_PEPPER", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
        .variable("HM_ENV", "production");
    let ended = refused(&settings).await;
    must_say(&ended, &["JWT_SECRET", "KEY_PEPPER"]);
    assert!(
        !ended.text.contains("aaaaaaaa"),
        "a secret is shown: {}",
        ended.text
    );
}

#[tokio::test]
async fn a_settings_file_that_is_not_there_is_reported() {
    let ended = refused(&Settings::default().variable("HM_CONFIG", "nowhere.toml")).await;
    must_say(&ended, &["HM_CONFIG", "nowhere.toml"]);
}

#[tokio::test]
async fn production_starts_with_strong_secrets() {
    let place = Place::on_sqlite();
    let server = Server::start(&place, &Settings::default().variable("HM_ENV", "production")).await;
    server.stop().await;
    assert!(
        !place.folder().join("secrets.toml").exists(),
        "given secrets are not written anywhere"
    );
}

#[tokio::test]
async fn the_command_line_explains_itself() {
    let place = Place::on_sqlite();
    for arguments in [&["--help"][..], &["--version"]] {
        let ended = run(&place, &Settings::default(), arguments).await;
        assert_eq!(ended.code, 0, "{}", ended.text);
        assert!(ended.text.starts_with("hm-server"), "{}", ended.text);
    }
    let ended = run(&place, &Settings::default(), &["surve"]).await;
    assert_eq!(ended.code, 2, "{}", ended.text);
    must_say(&ended, &["surve", "Usage"]);
}

#[tokio::test]
async fn a_second_server_with_the_same_journal_is_refused() {
    let place = Place::on_sqlite();
    let settings = Settings::default();
    let server = Server::start(&place, &settings).await;
    let ended = run(&place, &settings, &[]).await;
    assert_eq!(ended.code, 1, "{}", ended.text);
    must_say(&ended, &["HM_JOURNAL", "journal", "in use by another process"]);
    server.stop().await;
    Server::start(&place, &settings).await.stop().await;
}

#[tokio::test]
async fn a_journal_that_can_t_be_a_directory_is_reported() {
    let ended = refused(&Settings::default().variable("HM_JOURNAL", "/dev/null/journal")).await;
    must_say(&ended, &["HM_JOURNAL", "/dev/null/journal"]);
}

#[tokio::test]
async fn a_journal_that_can_t_be_written_is_reported() {
    let place = Place::on_sqlite();
    let settings = Settings::default();
    Server::start(&place, &settings).await.stop().await;
    let journal = place.folder().join("journal");
    let Some(_sealed) = Sealed::seal(&journal) else {
        skipped("nothing can be made read-only for this user");
        return;
    };
    let ended = run(&place, &settings, &[]).await;
    assert_eq!(ended.code, 1, "{}", ended.text);
    must_say(&ended, &["HM_JOURNAL", "the journal at"]);
    assert!(
        ended.text.contains("Read-only file system") || ended.text.contains("Permission denied"),
        "it does not say why: {}",
        ended.text
    );
}

/// A folder whose files can't be written. It is let go with this value.
struct Sealed {
    path: PathBuf,
    is_mounted: bool,
}

impl Sealed {
    /// By permissions, or by a read-only mount where permissions don't bind this user. None if neither works.
    fn seal(path: &Path) -> Option<Self> {
        for file in fs::read_dir(path).unwrap() {
            fs::set_permissions(file.unwrap().path(), Permissions::from_mode(0o400)).unwrap();
        }
        let is_mounted = OpenOptions::new().write(true).open(path.join("lock")).is_ok();
        let sealed = Self {
            path: path.to_owned(),
            is_mounted,
        };
        let mount = |options: &str| {
            let mut mount = Command::new("mount");
            let mount = mount.args(["-o", options]).arg(path).arg(path);
            mount.output().is_ok_and(|output| output.status.success())
        };
        (!is_mounted || mount("bind") && mount("remount,ro,bind")).then_some(sealed)
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg(&self.path).output();
        }
    }
}

on_every_database! {
    migrations_can_be_run_by_hand => migrations_can_be_run_by_hand_on_sqlite, migrations_can_be_run_by_hand_on_postgres, migrations_can_be_run_by_hand_on_mariadb;
}

async fn migrations_can_be_run_by_hand(place: Place) {
    let settings = Settings::default();
    let migrate = async |arguments: &[&str]| {
        let ended = run(&place, &settings, &[&["migrate"], arguments].concat()).await;
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.text);
        let of = |state: &str| ended.text.lines().filter(|line| line.starts_with(state)).count();
        (of("applied "), of("pending "))
    };
    let (none, all) = migrate(&["status"]).await;
    assert!(none == 0 && all > 0, "{none} applied, {all} pending");
    assert_eq!(migrate(&["up"]).await, (all, 0));
    assert_eq!(migrate(&["up"]).await, (all, 0), "again");
    assert_eq!(migrate(&["down"]).await, (all - 1, 1));
    assert_eq!(migrate(&["down", &(all - 1).to_string()]).await, (0, all));
    Server::start(&place, &settings).await.stop().await;
    assert_eq!(
        migrate(&["status"]).await,
        (all, 0),
        "the server migrates by itself"
    );
}
