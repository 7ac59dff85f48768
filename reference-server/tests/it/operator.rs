//! What operators do from the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hm_metering::quota::{QuotaKey, Settlement};
use hm_metering::usage::{Batch, BatchId, Event, Outcome, UsageQuery};
use hm_metering::{
    AccountId, Clock, EventId, MeterName, OperationName, PlanId, PresentedKey, ReplicaId, Timestamp, Units,
    UsageSink, UsageStore,
};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::entity::{account, quota_counter};
use hm_metering_seaorm::testing::TestDatabase;
use hm_server::app::App;
use hm_server::cli::{Command, Import};
use hm_server::config::Config;
use hm_server::metrics::Metrics;
use hm_server::operator::{self, OperatorError, Verdict};
use hm_server::secrets::Secrets;
use sea_orm::{ConnectionTrait, EntityTrait};
use tempfile::TempDir;
use uuid::Uuid;

use crate::harness::Server;

/// A folder with a database in it, and the settings for it.
struct Place {
    folder: TempDir,
    config: Config,
    server: Option<TestDatabase>,
}

struct FixedClock(Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

/// 22 November 2026, noon.
const NOON: Timestamp = Timestamp::from_micros(1_795_348_800_000_000);

fn config_at(url: &str, folder: &Path) -> Config {
    let journal = folder.join("journal");
    let variables = [
        ("DATABASE_URL", url.to_owned()),
        ("HM_JOURNAL", journal.display().to_string()),
        ("JWT_SECRET", "jwt-9Qm3Zr7Vx2Lp8Tn5Kc1Hd6Ws4Bf0Ya".to_owned()),
        ("KEY_PEPPER", "pepper-4Gt8Jk2Nb6Vc0Xz5Qw9Er3Ty7Ui1Op".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.into(), value.into()));
    Config::parse("", variables).unwrap()
}

impl Place {
    async fn all() -> Vec<Self> {
        let mut places = vec![Self::on_sqlite().await];
        if let Some(server) = TestDatabase::empty_postgres().await.unwrap() {
            let folder = tempfile::tempdir().unwrap();
            let config = config_at(server.url(), folder.path());
            let place = Self {
                folder,
                config,
                server: Some(server),
            };
            place.run(Command::MigrateUp).await.unwrap();
            places.push(place);
        }
        places
    }

    async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hm.sqlite");
        let config = config_at(&format!("sqlite://{}", file.display()), folder.path());
        let place = Self {
            folder,
            config,
            server: None,
        };
        place.run(Command::MigrateUp).await.unwrap();
        place
    }

    async fn run(&self, command: Command) -> Result<(Verdict, String), OperatorError> {
        let mut said = String::new();
        let mut print = |line: &str| {
            said.push_str(line);
            said.push('\n');
        };
        let verdict = operator::run(&command, &self.config, Arc::new(FixedClock(NOON)), &mut print).await?;
        Ok((verdict, said))
    }

    async fn refused(&self, command: Command) -> String {
        let error = self.run(command).await.unwrap_err();
        hm_server::telemetry::chain(&error)
    }

    async fn store(&self) -> SeaOrmStore {
        SeaOrmStore::connect(&self.config.database.url).await.unwrap()
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// An account with somebody in it, opened ten days before noon.
    async fn account(&self) -> AccountId {
        let config = self.config.clone();
        let secrets = Secrets::resolve(&config).unwrap();
        let at = Timestamp::from_micros(NOON.as_micros() - 10 * 86_400_000_000);
        let (_, metrics) = Metrics::new().unwrap();
        let app = App::start(config, &secrets, Arc::new(FixedClock(at)), metrics)
            .await
            .unwrap();
        let email = format!("{}@example.org", Uuid::new_v4().simple());
        let new = hm_server::domain::accounts::NewAccount {
            email: hm_server::domain::Email::parse(&email).unwrap(),
            name: Some("Ada".to_owned()),
            password_hash: hm_metering_seaorm::entity::PasswordHash("$none$".to_owned()),
            tier: "free".to_owned(),
        };
        let member = hm_server::domain::accounts::open(app.database().writer(), new, at)
            .await
            .unwrap();
        app.shutdown().await.unwrap();
        member.account.id.into()
    }

    async fn finish(self) {
        if let Some(server) = self.server {
            server.close().await.unwrap();
        }
    }
}

async fn use_some(store: &SeaOrmStore, account: AccountId, number: u64) {
    let start = Timestamp::from_micros(NOON.as_micros() - 86_400_000_000);
    let end = Timestamp::from_micros(NOON.as_micros() + 86_400_000_000);
    let event = |place: i64| Event {
        id: EventId::from_uuid(Uuid::new_v4()),
        at: Timestamp::from_micros(NOON.as_micros() - place * 3_600_000_000),
        account,
        user: None,
        key: None,
        operation: OperationName::from_static("data.query"),
        endpoint: "/api/v1/data".into(),
        method: "GET".into(),
        source: None,
        status: 200,
        grpc_status: None,
        outcome: Outcome::Completed,
        refusal: None,
        would_refuse: None,
        units: vec![(MeterName::REQUESTS, Units::ONE)],
        over: false,
        response_time_us: 900,
        first_byte_us: None,
        bytes_in: 0,
        bytes_out: 0,
        request_id: String::new(),
        replica: ReplicaId::from_uuid(Uuid::from_u128(1)),
        tags: Vec::new(),
    };
    let settlement = Settlement {
        key: QuotaKey {
            account,
            meter: MeterName::REQUESTS,
            period: hm_metering::period::Period { start, end },
        },
        plan: PlanId::from_static("free"),
        limit: Some(Units::new(1_000)),
        lease: None,
        units: Units::new(20),
    };
    let batch = Batch {
        id: BatchId {
            replica: ReplicaId::from_uuid(Uuid::new_v4()),
            epoch: 1,
            number,
        },
        created_at: NOON,
        events: (0..20).map(event).collect(),
        settlements: vec![settlement],
    };
    store.record(&batch).await.unwrap();
}

async fn change(store: &SeaOrmStore, sql: &str) {
    let changed = store.connection().execute_unprepared(sql).await.unwrap();
    assert!(changed.rows_affected() > 0, "{sql}");
}

const CHECK: Command = Command::Check { repair: false };
const REPAIR: Command = Command::Check { repair: true };

#[tokio::test]
async fn a_check_of_a_sound_ledger_is_clean() {
    for place in Place::all().await {
        let (verdict, said) = place.run(CHECK).await.unwrap();
        assert_eq!(verdict, Verdict::Well);
        assert!(said.contains("checked 0 accounts"), "{said}");
        let account = place.account().await;
        use_some(&place.store().await, account, 1).await;
        let (verdict, said) = place.run(CHECK).await.unwrap();
        assert_eq!(verdict, Verdict::Well, "{said}");
        assert!(said.contains("checked 1 accounts, 1 counters"), "{said}");
        place.finish().await;
    }
}

#[tokio::test]
async fn a_check_says_who_differs_where_and_by_what_and_a_repair_leaves_counters_and_events_alone() {
    for place in Place::all().await {
        let account = place.account().await;
        let store = place.store().await;
        use_some(&store, account, 1).await;

        change(
            &store,
            "UPDATE usage_rollup_sums SET units = units + 5, requests = requests + 5 WHERE grain = 2",
        )
        .await;
        let (verdict, said) = place.run(CHECK).await.unwrap();
        assert_eq!(verdict, Verdict::Differs);
        for part in [
            account.to_string().as_str(),
            "requests",
            "2026-11-22T00:00:00Z",
            "rollups by day",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let (verdict, said) = place.run(REPAIR).await.unwrap();
        assert_eq!(verdict, Verdict::Well, "{said}");
        assert_eq!(place.run(CHECK).await.unwrap().0, Verdict::Well);

        change(&store, "UPDATE quota_counters SET used = used + 3").await;
        for command in [CHECK, REPAIR, CHECK] {
            let (verdict, said) = place.run(command).await.unwrap();
            assert_eq!(verdict, Verdict::Differs);
            assert!(said.contains("counter 23 events 20 rollups 20"), "{said}");
        }
        let counters = quota_counter::Entity::find()
            .all(store.connection())
            .await
            .unwrap();
        assert_eq!(counters[0].used, 23);
        change(&store, "UPDATE quota_counters SET used = used - 3").await;

        change(
            &store,
            "DELETE FROM usage_events WHERE created_at > 1795348000000000",
        )
        .await;
        let (verdict, said) = place.run(CHECK).await.unwrap();
        assert_eq!(verdict, Verdict::Differs);
        assert!(said.contains("counter 20 events 19 rollups 20"), "{said}");
        place.finish().await;
    }
}

#[tokio::test]
async fn commands_refuse_a_schema_that_is_not_theirs_and_say_which() {
    for place in Place::all().await {
        let store = place.store().await;
        change(
            &store,
            "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20991231_000001_later', 0)",
        )
        .await;
        for command in [
            CHECK,
            Command::MigrateUp,
            Command::MigrateDown(1),
            Command::ClosePeriods,
        ] {
            let error = place.run(command).await.unwrap_err();
            assert!(operator::is_of_other_schema(&error));
            let said = hm_server::telemetry::chain(&error);
            assert!(
                said.contains("newer than this program") && said.contains("m20991231_000001_later"),
                "{said}"
            );
        }
        let (_, said) = place.run(Command::MigrateStatus).await.unwrap();
        assert!(
            said.contains("newer than this program m20991231_000001_later"),
            "{said}"
        );
        change(&store, "DELETE FROM seaql_migrations WHERE version LIKE 'm2099%'").await;
        let (_, said) = place.run(Command::MigrateDown(2)).await.unwrap();
        assert_eq!(said.matches("pending").count(), 2, "{said}");
        let said = place.refused(CHECK).await;
        assert!(said.contains("older than this program"), "{said}");
        place.run(Command::MigrateUp).await.unwrap();
        place.run(CHECK).await.unwrap();
        place.finish().await;
    }
}

#[tokio::test]
async fn pruning_removes_what_is_old_and_nothing_else() {
    for place in Place::all().await {
        let account = place.account().await;
        let store = place.store().await;
        use_some(&store, account, 1).await;
        let query = UsageQuery::new(account, Timestamp::MIN, Timestamp::MAX);
        let before = store.totals(&query).await.unwrap();
        change(&store, "UPDATE usage_events SET created_at = created_at - 172800000000 WHERE created_at < 1795310000000000").await;
        let prune = Command::Prune {
            keep_days: 1,
            keep_minutes_days: Some(1),
        };
        let (_, said) = place.run(prune).await.unwrap();
        assert!(said.contains("removed 9 events"), "{said}");
        assert_eq!(store.totals(&query).await.unwrap(), before);
        place.finish().await;
    }
}

/// The months that events have tables for on PostgreSQL.
async fn months(place: &Place) -> Vec<String> {
    let store = place.store().await;
    let months = "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
                  WHERE inhparent = CAST('usage_events' AS regclass) AND relname LIKE '%\\_20%' ORDER BY 1";
    let months = sea_orm::Statement::from_string(store.connection().get_database_backend(), months);
    let rows = store.connection().query_all_raw(months).await.unwrap();
    let name = |row: &sea_orm::QueryResult| row.try_get_by_index(0).unwrap();
    rows.iter().map(name).collect()
}

#[tokio::test]
async fn months_are_made_ahead_when_a_server_starts_and_by_migrating_and_old_ones_are_dropped() {
    let Some(server) = TestDatabase::empty_postgres().await.unwrap() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let config = config_at(server.url(), folder.path());
    let place = Place {
        folder,
        config,
        server: Some(server),
    };
    // Starts a server, on 12 November.
    let account = place.account().await;
    let ahead = [
        "usage_events_2026_11",
        "usage_events_2026_12",
        "usage_events_2027_01",
    ];
    assert_eq!(months(&place).await, ahead);
    let store = place.store().await;
    let drop = "DROP TABLE usage_events_2026_12";
    store.connection().execute_unprepared(drop).await.unwrap();
    place.run(Command::MigrateUp).await.unwrap();
    assert_eq!(months(&place).await, ahead);

    let august = Timestamp::from_micros(NOON.as_micros() - 100 * 86_400_000_000);
    hm_metering_seaorm::operator::make_partitions(&store, august)
        .await
        .unwrap();
    use_some(&store, account, 1).await;
    let prune = Command::Prune {
        keep_days: 30,
        keep_minutes_days: None,
    };
    let (_, said) = place.run(prune).await.unwrap();
    assert!(said.contains("dropped 2 partitions"), "{said}");
    assert!(said.contains("removed 0 events"), "{said}");
    assert_eq!(months(&place).await[0], "usage_events_2026_10");
    let (_, said) = place.run(CHECK).await.unwrap();
    assert!(said.contains("0 differences"), "{said}");
    place.finish().await;
}

#[tokio::test]
async fn a_backup_taken_while_a_server_writes_can_be_restored_elsewhere() {
    let place = Place::on_sqlite().await;
    let account = place.account().await;
    let store = place.store().await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 1..=20 {
                use_some(&store, account, number).await;
            }
        })
    };
    let file = place.folder.path().join("copy.sqlite");
    let (_, said) = place.run(Command::Backup(file.clone())).await.unwrap();
    assert!(said.contains("copy.sqlite"), "{said}");
    writer.await.unwrap();
    assert_owner_only(&file);
    let said = place.refused(Command::Backup(file.clone())).await;
    assert!(said.contains("is there already"), "{said}");
    let said = place.refused(Command::Restore(file.clone())).await;
    assert!(said.contains("is there already"), "{said}");

    let other = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", other.path().join("deep/er/hm.sqlite").display());
    let restored = Place {
        config: config_at(&url, other.path()),
        folder: other,
        server: None,
    };
    restored.run(Command::Restore(file)).await.unwrap();
    let (verdict, said) = restored.run(CHECK).await.unwrap();
    assert_eq!(verdict, Verdict::Well, "{said}");
    let accounts = account::Entity::find()
        .all(restored.store().await.connection())
        .await
        .unwrap();
    assert_eq!(accounts.len(), 1);
}

#[cfg(unix)]
fn assert_owner_only(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[cfg(not(unix))]
fn assert_owner_only(_: &Path) {}

#[tokio::test]
async fn a_damaged_or_foreign_backup_is_not_restored_and_nothing_is_left() {
    let place = Place::on_sqlite().await;
    let account = place.account().await;
    use_some(&place.store().await, account, 1).await;
    let good = place.folder.path().join("good.sqlite");
    place.run(Command::Backup(good.clone())).await.unwrap();
    let mut bytes = std::fs::read(&good).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8_192].fill(0x5a);
    let damaged = place.folder.path().join("damaged.sqlite");
    std::fs::write(&damaged, bytes).unwrap();
    let text = place.file("text.sqlite", "this is no database");
    let empty = place.file("empty.sqlite", "");
    let other = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", other.path().join("hm.sqlite").display());
    let target = Place {
        config: config_at(&url, other.path()),
        folder: other,
        server: None,
    };
    for file in [damaged, text, empty] {
        let said = target.refused(Command::Restore(file)).await;
        assert!(said.contains("not a whole database"), "{said}");
    }
    let said = target.refused(Command::Restore("missing.sqlite".into())).await;
    assert!(said.contains("there is no database at missing.sqlite"), "{said}");
    let left: Vec<_> = std::fs::read_dir(target.folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn keys_are_imported_by_digest_and_work() {
    for place in Place::all().await {
        let account = place.account().await;
        let server = Server::start().await;
        let person = server.register("ada@example.org").await;
        let text = server.key_of(&person).await.key;
        let secrets = Secrets::resolve(&place.config).unwrap();
        let pepper = hm_server::domain::keys::pepper(&secrets.key_pepper).unwrap();
        let digest: String = pepper
            .digest(&PresentedKey::new(text.as_str()))
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let csv = format!(
            "account_id,digest,name,prefix,last4,scopes\n{account},{digest},old key,hm_live_abcd,wxyz,data:read data:write\n"
        );
        let file = place.file("keys.csv", &csv);
        let import = |dry_run| Command::Import {
            what: Import::Keys,
            file: file.clone(),
            dry_run,
        };
        let (_, said) = place.run(import(true)).await.unwrap();
        assert!(said.contains("1 would be imported"), "{said}");
        let (_, said) = place.run(import(true)).await.unwrap();
        assert!(
            said.contains("1 would be imported"),
            "a dry run changed something: {said}"
        );
        let (_, said) = place.run(import(false)).await.unwrap();
        assert!(said.contains("1 imported"), "{said}");
        let (_, said) = place.run(import(false)).await.unwrap();
        assert!(said.contains("0 imported, 1 there already"), "{said}");
        let found = hm_metering::KeyStore::find_by_digest(
            &place.store().await,
            &[pepper.digest(&PresentedKey::new(text.as_str()))],
        )
        .await
        .unwrap()
        .unwrap();
        assert_eq!(found.record.account, account);
        assert_eq!(found.record.scopes, ["data:read", "data:write"]);
        place.finish().await;
    }
}

#[tokio::test]
async fn a_key_of_an_earlier_system_is_imported_with_its_bcrypt_hash_and_accepted() {
    let mut place = Place::on_sqlite().await;
    let account = place.account().await;
    let text = "sk_Jd82kQp1xz90_the-rest";
    let hash = "$2b$04$aaaaaaaaaaaaaaaaaaaaaO";
    let lines = |hash: &str| {
        format!(
            r#"{{"account_id":"{account}","start":"sk_Jd82kQp1xz90_","bcrypt":"{hash}","name":"old","prefix":"sk_Jd82","last4":"rest"}}"#
        )
    };
    let import = |file: PathBuf| Command::Import {
        what: Import::Keys,
        file,
        dry_run: false,
    };
    let made = bcrypt::hash(text, 4).unwrap();
    let said = place.refused(import(place.file("k.jsonl", &lines(&made)))).await;
    assert!(said.contains("keys.legacy.prefix must be set"), "{said}");
    place.config.keys.legacy = Some(hm_server::config::LegacyKeys {
        prefix: "sk_".to_owned(),
        start: 16,
    });
    let said = place.refused(import(place.file("k.jsonl", &lines(hash)))).await;
    assert!(said.contains("no bcrypt hash") && !said.contains(hash), "{said}");
    let (_, said) = place
        .run(import(place.file("k.jsonl", &lines(&made))))
        .await
        .unwrap();
    assert!(said.contains("1 imported"), "{said}");

    let secrets = Secrets::resolve(&place.config).unwrap();
    let (_, metrics) = Metrics::new().unwrap();
    let app = App::start(
        place.config.clone(),
        &secrets,
        Arc::new(FixedClock(NOON)),
        metrics,
    )
    .await
    .unwrap();
    let verify = |text: &'static str| {
        let verifier = app.verifier().clone();
        async move {
            hm_metering::KeyVerifier::verify(&verifier, &PresentedKey::new(text), NOON)
                .await
                .unwrap()
        }
    };
    use hm_metering::keys::Verdict;
    assert!(matches!(
        verify("sk_Jd82kQp1xz90_the-resT").await,
        Verdict::Invalid { .. }
    ));
    assert!(matches!(verify(text).await, Verdict::Valid(_)));
    app.shutdown().await.unwrap();
}

#[tokio::test]
async fn one_mistake_in_a_file_changes_nothing_and_every_mistake_is_told_without_digests() {
    let place = Place::on_sqlite().await;
    let account = place.account().await;
    let (good, bad) = ("ab".repeat(32), "secret-digest-of-mine");
    let lines = [
        format!(r#"{{"account_id":"{account}","digest":"{good}","name":"n","prefix":"p","last4":"l"}}"#),
        format!(r#"{{"account_id":"{account}","digest":"{bad}","name":"n","prefix":"p","last4":"l"}}"#),
        format!(
            r#"{{"account_id":"{}","digest":"{}","name":"n","prefix":"p","last4":"l"}}"#,
            Uuid::new_v4(),
            "cd".repeat(32)
        ),
        format!(
            r#"{{"account_id":"{account}","digest":"{}","name":"n","prefix":"p","last4":"l","env":"prod"}}"#,
            "ef".repeat(32)
        ),
    ];
    let import = |file: PathBuf, what| Command::Import {
        what,
        file,
        dry_run: false,
    };
    let said = place
        .refused(import(place.file("k.jsonl", &lines.join("\n")), Import::Keys))
        .await;
    for part in [
        "row 2: the digest",
        "row 3: there is no such account",
        "row 4: env",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains(bad) && !said.contains(&good), "{said}");
    let keys = hm_metering_seaorm::entity::api_key::Entity::find();
    assert!(
        keys.all(place.store().await.connection())
            .await
            .unwrap()
            .is_empty()
    );
    for (name, text, part) in [
        ("a.txt", "", "must end in .csv or .jsonl"),
        ("a.jsonl", "{\"account_id\": 7}", "row 1: "),
        ("a.jsonl", "nonsense", "row 1: it is no JSON"),
        ("a.csv", "account_id,units\nx,y\n", "row 1: "),
        ("b.csv", "account_id,units,at\nx\n", "row 1: it has 1 columns"),
    ] {
        let said = place.refused(import(place.file(name, text), Import::Usage)).await;
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = place.refused(import("missing.csv".into(), Import::Keys)).await;
    assert!(said.contains("missing.csv can't be read"), "{said}");
}

#[tokio::test]
async fn imported_usage_counts_in_its_period_once_and_the_ledger_agrees() {
    for place in Place::all().await {
        let account = place.account().await;
        let text = format!(
            "{{\"account_id\":\"{account}\",\"units\":120,\"at\":\"2026-11-20T00:00:00Z\"}}\n\
             {{\"account_id\":\"{account}\",\"units\":3,\"at\":\"2026-11-21T00:00:00Z\",\"id\":\"second\"}}\n"
        );
        let import = |dry_run| Command::Import {
            what: Import::Usage,
            file: place.file("usage.jsonl", &text),
            dry_run,
        };
        let (_, said) = place.run(import(true)).await.unwrap();
        assert!(said.contains("2 would be imported"), "{said}");
        for (command, part) in [
            (import(false), "2 imported, 0 there already"),
            (import(false), "0 imported, 2 there already"),
            (import(true), "0 would be imported, 2 there already"),
        ] {
            let (_, said) = place.run(command).await.unwrap();
            assert!(said.contains(part), "{part}: {said}");
        }
        let counters = quota_counter::Entity::find()
            .all(place.store().await.connection())
            .await
            .unwrap();
        assert_eq!(
            counters.iter().map(|counter| counter.used).collect::<Vec<_>>(),
            [123]
        );
        let (verdict, said) = place.run(CHECK).await.unwrap();
        assert_eq!(verdict, Verdict::Well, "{said}");
        place.finish().await;
    }
}
