//! How values are kept, to the byte: what was written by one version, on one database, in one time zone, is read by others.

use hm_metering::keys::NewKey;
use hm_metering::page::PageRequest;
use hm_metering::usage::{Event, UsageQuery};
use hm_metering::{
    AccountId, EventId, KeyStore, MeterName, ReplicaId, Timestamp, Units, UsageSink, UsageStore,
};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement,
};
use hm_metering_seaorm::testing::TestDatabase;
use uuid::Uuid;

use crate::fixtures::{account, batch, event, holder, is_on_mysql, new_key, store};

const ID: Uuid = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
/// Within the hour that St John's has twice, on 1 November 2026, to the microsecond.
const TWICE: Timestamp = Timestamp::from_micros(1_793_506_530_123_456);
/// The last microsecond before 1970.
const BEFORE: Timestamp = Timestamp::from_micros(-1);

/// A session in a time zone that nobody expects: half or three quarters of an hour off, with daylight saving where the
/// server has the names.
async fn session_in(zone: usize, database: &TestDatabase) -> DatabaseConnection {
    let mut options = ConnectOptions::new(database.url());
    options.max_connections(1).sqlx_logging(false);
    let session = Database::connect(options).await.unwrap();
    let sql = match session.get_database_backend() {
        DbBackend::Postgres => [
            "SET TIME ZONE 'America/St_Johns'",
            "SET TIME ZONE 'Pacific/Chatham'",
        ][zone],
        DbBackend::MySql => ["SET time_zone = '-03:30'", "SET time_zone = '+12:45'"][zone],
        // It has no zone; its functions that know one are used nowhere.
        _ => "SELECT 1",
    };
    session.execute_unprepared(sql).await.unwrap();
    session
}

/// An event with everything that could be kept in more than one way.
fn odd(account: AccountId, id: Uuid, at: Timestamp) -> Event {
    Event {
        id: EventId::from_uuid(id),
        at,
        replica: ReplicaId::from_uuid(ID),
        units: vec![
            (MeterName::from_static("0.tokens_in-x"), Units::MAX),
            (MeterName::from_static("z"), Units::ONE),
            (MeterName::REQUESTS, Units::new(2)),
        ],
        tags: vec![
            ("a".to_owned(), ODD.to_owned()),
            ("\u{1f511} key".to_owned(), String::new()),
        ],
        ..event(account, None)
    }
}

/// Quotes, a backslash, a line's end, a control character, a combining accent, a line separator, an emoji.
const ODD: &str = "\"'\\\n\u{1}e\u{301}\u{2028}\u{1f511}";
/// The same as JSON on the wire and in text columns: only what must be escaped is.
const ODD_JSON: &str = "\\\"'\\\\\\n\\u0001e\u{301}\u{2028}\u{1f511}";

/// Asks for a row's columns as texts, each as the server itself writes it.
async fn texts(session: &DatabaseConnection, columns: &[String], from: &str) -> Vec<Vec<String>> {
    let sql = format!("SELECT {} FROM {from}", columns.join(", "));
    let statement = Statement::from_string(session.get_database_backend(), sql);
    let rows = session.query_all_raw(statement).await.unwrap();
    let row = |row: &hm_metering_seaorm::sea_orm::QueryResult| {
        (0..columns.len())
            .map(|place| row.try_get_by_index(place).unwrap())
            .collect()
    };
    rows.iter().map(row).collect()
}

fn id(backend: DbBackend, column: &str) -> String {
    match backend {
        DbBackend::Postgres => format!("upper(encode(uuid_send({column}), 'hex'))"),
        _ => format!("HEX({column})"),
    }
}

fn text(backend: DbBackend, column: &str) -> String {
    match backend {
        DbBackend::MySql => format!("CAST({column} AS CHAR CHARACTER SET utf8mb4)"),
        _ => format!("CAST({column} AS TEXT)"),
    }
}

/// Whether a database writes JSON in a normal form, or as it came.
async fn is_normal(database: &TestDatabase) -> bool {
    database.connection().get_database_backend() == DbBackend::Postgres || is_on_mysql(database).await
}

/// JSON as each database writes it. In the normal form there are spaces, and shorter names come first.
fn json(is_normal: bool, fields: &[(&str, &str)]) -> String {
    let mut fields = fields.to_vec();
    let (colon, comma) = if is_normal { (": ", ", ") } else { (":", ",") };
    if is_normal {
        fields.sort_by_key(|(name, _)| name.len());
    }
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("\"{name}\"{colon}{value}"))
        .collect();
    format!("{{{}}}", fields.join(comma))
}

/// A session in one of the zones on a database of its own kind, and a store that uses it.
struct Zoned {
    zone: usize,
    session: DatabaseConnection,
    backend: DbBackend,
    is_normal: bool,
    store: SeaOrmStore,
}

impl Zoned {
    /// One for each zone.
    async fn all(database: &TestDatabase) -> Vec<Self> {
        let mut all = Vec::new();
        for zone in 0..2 {
            let session = session_in(zone, database).await;
            all.push(Self {
                zone,
                backend: session.get_database_backend(),
                is_normal: is_normal(database).await,
                store: SeaOrmStore::new(session.clone()),
                session,
            });
        }
        all
    }

    fn json(&self, fields: &[(&str, &str)]) -> String {
        json(self.is_normal, fields)
    }
}

#[tokio::test]
async fn ids_times_units_and_json_are_the_same_bytes_in_whatever_zone_a_session_is() {
    for database in TestDatabase::every().await.unwrap() {
        let plain = store(&database).await;
        let account = account(&plain).await;
        for zoned in Zoned::all(&database).await {
            let (zone, backend) = (zoned.zone, zoned.backend);
            let id_of = |place: u128| Uuid::from_u128(ID.as_u128() + place + 4 * zone as u128);
            let times = [Timestamp::MIN, BEFORE, TWICE, Timestamp::MAX];
            let events: Vec<_> = (0..)
                .zip(times)
                .map(|(place, at)| odd(account, id_of(place), at))
                .collect();
            zoned
                .store
                .record(&batch(holder(), 1, events.clone(), Vec::new()))
                .await
                .unwrap();

            let columns = [
                id(backend, "id"),
                text(backend, "created_at"),
                text(backend, "units"),
                text(backend, "meter_units"),
                text(backend, "tags"),
                id(backend, "replica"),
            ];
            let all = texts(&zoned.session, &columns, "usage_events ORDER BY id").await;
            let numbers = [
                "-62135596800000000",
                "-1",
                "1793506530123456",
                "253402300799999999",
            ];
            for (place, created_at) in numbers.into_iter().enumerate() {
                let units = zoned.json(&[("0.tokens_in-x", "999999999999999"), ("z", "1")]);
                let quoted = format!("\"{ODD_JSON}\"");
                let tags = zoned.json(&[("a", quoted.as_str()), ("\u{1f511} key", "\"\"")]);
                let id = format!("{:X}", id_of(place as u128).simple());
                let expected = [
                    format!("{id:0>32}"),
                    created_at.to_owned(),
                    "2".to_owned(),
                    units,
                    tags,
                    format!("{:0>32}", format!("{:X}", ID.simple())),
                ];
                assert_eq!(all[place + 4 * zone], expected, "{backend:?} in zone {zone}");
            }
            let everything = UsageQuery::new(account, Timestamp::MIN, Timestamp::MAX);
            for store in [&plain, &zoned.store] {
                let read = store.recent(&everything, &PageRequest::first(100)).await.unwrap();
                for event in &events[..3] {
                    let mut event = event.clone();
                    event.units.sort_unstable();
                    assert!(read.items.contains(&event), "{event:?} not in {:?}", read.items);
                }
            }
            zoned.session.close().await.unwrap();
        }
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_key_is_kept_the_same_in_whatever_zone_a_session_is() {
    for database in TestDatabase::every().await.unwrap() {
        let plain = store(&database).await;
        let account = account(&plain).await;
        for zoned in Zoned::all(&database).await {
            let backend = zoned.backend;
            let new = NewKey {
                not_before: Some(BEFORE),
                expires_at: Some(Timestamp::MAX),
                created_at: TWICE,
                scopes: vec![ODD.to_owned()],
                metadata: [("\u{1f511}".to_owned(), ODD.to_owned())].into(),
                ..new_key(account)
            };
            let written = zoned.store.insert(&new).await.unwrap();
            assert_eq!(plain.get(account, new.id).await.unwrap(), Some(written.clone()));
            assert_eq!(
                (written.not_before, written.expires_at),
                (new.not_before, new.expires_at)
            );
            let columns = [
                text(backend, "not_before"),
                text(backend, "expires_at"),
                text(backend, "created_at"),
                text(backend, "scopes"),
                text(backend, "metadata"),
                match backend {
                    DbBackend::Postgres => "upper(encode(key_hash, 'hex'))".to_owned(),
                    _ => "HEX(key_hash)".to_owned(),
                },
            ];
            let one = match backend {
                DbBackend::Postgres => format!("api_keys WHERE id = '{}'", new.id.as_uuid()),
                _ => format!("api_keys WHERE HEX(id) = '{:X}'", new.id.as_uuid().simple()),
            };
            let quoted = format!("\"{ODD_JSON}\"");
            let digest: String = new
                .digest
                .as_bytes()
                .iter()
                .map(|byte| format!("{byte:02X}"))
                .collect();
            let expected = [
                "-1".to_owned(),
                "253402300799999999".to_owned(),
                "1793506530123456".to_owned(),
                format!("[{quoted}]"),
                zoned.json(&[("\u{1f511}", quoted.as_str())]),
                digest,
            ];
            assert_eq!(
                texts(&zoned.session, &columns, &one).await,
                [expected],
                "{backend:?} in zone {}",
                zoned.zone
            );
            zoned.session.close().await.unwrap();
        }
        database.close().await.unwrap();
    }
}

/// What a column must be, by its name.
fn kind(column: &str) -> Option<&'static str> {
    let json = [
        "meter_units",
        "tags",
        "scopes",
        "ip_allow",
        "metadata",
        "rate_limit",
        "before",
        "after",
    ];
    let numbers = [
        "units",
        "count",
        "used",
        "leased",
        "granted",
        "settled",
        "quota",
        "quota_limit",
        "requests",
        "refused",
        "failed",
        "usage_count",
        "version",
        "token",
        "epoch",
        "number",
    ];
    let is_time = ["_at", "_start", "_end"].iter().any(|end| column.ends_with(end)) || column == "not_before";
    match column {
        "request_id" | "subscription_id" | "subject_id" | "pepper_id" | "key_changes_lock" => None,
        _ if is_time || numbers.contains(&column) || column.ends_with("_us") => Some("number"),
        "id" | "replica" => Some("id"),
        _ if column.ends_with("_id") => Some("id"),
        "key_hash" | "sketch" | "digest" => Some("bytes"),
        _ if json.contains(&column) => Some("json"),
        _ => None,
    }
}

#[tokio::test]
async fn every_id_time_number_and_json_has_one_type_for_each_database() {
    for database in TestDatabase::every().await.unwrap() {
        let db = database.connection();
        let backend = db.get_database_backend();
        let columns = ["tables", "columns", "types"].map(str::to_owned);
        let listed = match backend {
            DbBackend::Postgres => {
                "(SELECT table_name::text AS tables, column_name::text AS columns, data_type::text AS types \
                 FROM information_schema.columns WHERE table_schema = 'public') AS listed"
            }
            DbBackend::MySql => {
                "(SELECT table_name AS tables, column_name AS columns, CAST(column_type AS CHAR) AS types \
                 FROM information_schema.columns WHERE table_schema = DATABASE()) AS listed"
            }
            _ => {
                "(SELECT m.name AS tables, c.name AS columns, lower(c.type) AS types FROM sqlite_master AS m, \
                 pragma_table_info(m.name) AS c WHERE m.type = 'table') AS listed"
            }
        };
        let (mut seen, mut others) = (0, Vec::new());
        for row in texts(db, &columns, listed).await {
            let [table, column, found] = &row[..] else {
                panic!("{row:?}");
            };
            let Some(kind) = kind(column).filter(|_| {
                table != "key_changes_lock" && table != "seaql_migrations" && !table.starts_with("sqlite_")
            }) else {
                continue;
            };
            let expected: &[&str] = match (backend, kind) {
                (DbBackend::Postgres, "id") => &["uuid"],
                (DbBackend::Postgres, "number") => &["bigint"],
                (DbBackend::Postgres, "json") => &["jsonb"],
                (DbBackend::Postgres, _) => &["bytea"],
                (DbBackend::MySql, "id") => &["binary(16)"],
                // MySQL no longer says how wide a number is shown.
                (DbBackend::MySql, "number") => &["bigint(20)", "bigint"],
                // On MariaDB it is a name for long text in UTF-8 that is checked.
                (DbBackend::MySql, "json") => &["longtext", "json"],
                (DbBackend::MySql, _) => &["blob", "binary(32)", "varbinary(32)"],
                // What is declared there says nothing of what is kept, which the other tests look at.
                (_, "id") => &["uuid_text"],
                (_, "number") => &["integer"],
                (_, "json") => &["jsonb_text"],
                (_, _) => &["blob", "varbinary_blob(32)", "blob(32)"],
            };
            if !expected.contains(&found.as_str()) {
                others.push(format!("{table}.{column} is {found}"));
            }
            seen += 1;
        }
        assert!(others.is_empty(), "{backend:?}: {others:#?}");
        assert!(seen > 80, "only {seen} columns were looked at");
        database.close().await.unwrap();
    }
}
