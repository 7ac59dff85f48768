//! Customers' rows are read by the account they belong to, and what is not stands on one list, each with its reason.
//!
//! What this means in practice is tested over HTTP (`keys`, `usage`, `sessions`) and on every database by
//! `hm-metering-seaorm`. Here the sources are looked through, so that a query that forgets the account doesn't go unseen.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Person, Server};

/// What asks for rows, or changes some that are there.
const QUERIES: [&str; 12] = [
    "::find()",
    "::find_by_id(",
    "::update_many()",
    "::delete_many()",
    "::delete_by_id(",
    "FROM usage_",
    "FROM quota_",
    "FROM api_keys",
    "FROM accounts",
    "FROM users",
    "UPDATE api_keys",
    "JOIN api_keys",
];

/// What names the account, as a column or as a value.
const ACCOUNT: [&str; 5] = [
    "AccountId",
    "account_id",
    "account.as_uuid()",
    "member.account",
    // Adds the account of a question, and its other limits.
    "where_is(",
];

/// Functions that ask without an account. Those of operators are in one module of each crate,
/// which is not looked through.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "store/keys/feed.rs",
        "since",
        "what replicas hear of changes: which keys, not what is in them",
    ),
    ("store/keys/feed.rs", "last", "the same"),
    (
        "store/keys/mod.rs",
        "find_by_digest",
        "by the digest of a key, which only its owner can have",
    ),
    (
        "store/keys/rehash.rs",
        "run",
        "by the digest of a key; answers whether it was there",
    ),
    (
        "store/keys/uses.rs",
        "run",
        "counts uses of keys; answers nothing",
    ),
    ("store/quota/close.rs", "open_leases", "a replica's own leases"),
    ("store/usage/batch.rs", "begin_record", "a replica's own batches"),
    ("store/usage/batch.rs", "look", "the same"),
    (
        "store/usage/prune.rs",
        "run",
        "pruning, which is about time alone and answers a number",
    ),
    ("store/usage/prune.rs", "remove", "the same"),
    (
        "rollup/add.rs",
        "add_numbers",
        "adds to the rows that come with it, which name their accounts",
    ),
    (
        "question/facts.rs",
        "write",
        "columns for `union`, which adds the account",
    ),
    ("question/facts.rs", "write_other_meters", "the same"),
    (
        "domain/accounts.rs",
        "user_by_email",
        "who somebody is who signs in: there is no account yet",
    ),
    ("domain/sessions.rs", "begin", "a person's own sessions"),
    (
        "domain/sessions.rs",
        "exchange",
        "by a refresh token, which only its owner has",
    ),
    ("domain/sessions.rs", "of_token", "the same"),
    ("domain/sessions.rs", "goes_on", "a person's own session"),
    (
        "domain/sessions.rs",
        "end_where",
        "a person's own sessions, or that of a refresh token",
    ),
];

/// Where queries of customers' rows are, and what is left out because it is for operators.
const PLACES: [(&str, &[&str]); 2] = [
    ("../hm-metering-seaorm/src/store", &["operator", "plans.rs"]),
    ("src", &["operator"]),
];

fn sources(folder: &Path, without: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if without.contains(&name) {
            continue;
        }
        if path.is_dir() {
            sources(&path, without, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The functions of a file, by name, with their text up to the next one; tests at its end are left out.
fn functions(text: &str) -> Vec<(String, String)> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let mut functions: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let begins = words.iter().position(|word| *word == "fn").filter(|place| {
            words[..*place]
                .iter()
                .all(|word| ["pub", "const", "async"].contains(word) || word.starts_with("pub("))
                || words[..*place].join(" ").starts_with("pub(in ")
        });
        if let Some(place) = begins {
            let name = words[place + 1].split(['(', '<']).next().unwrap();
            functions.push((name.to_owned(), String::new()));
        }
        if let Some((_, body)) = functions.last_mut() {
            body.push_str(line);
            body.push('\n');
        }
    }
    functions
}

#[test]
fn every_query_of_customers_rows_names_the_account_or_has_a_reason() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut without = BTreeSet::new();
    let mut asking = 0;
    for (place, left_out) in PLACES {
        let mut files = Vec::new();
        sources(&here.join(place), left_out, &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for (name, body) in functions(&text) {
                if !QUERIES.iter().any(|query| body.contains(query)) {
                    continue;
                }
                asking += 1;
                if !ACCOUNT.iter().any(|account| body.contains(account)) {
                    without.insert((file.display().to_string(), name));
                }
            }
        }
    }
    assert!(asking > 20, "only {asking} functions ask for anything");
    let is_listed = |(file, name): &(String, String)| {
        EXCEPTIONS
            .iter()
            .any(|(end, function, _)| file.ends_with(end) && name == function)
    };
    let unlisted: Vec<_> = without.iter().filter(|found| !is_listed(found)).collect();
    assert!(unlisted.is_empty(), "these ask without an account: {unlisted:#?}");
    let is_found = |(end, function, _): &&(&str, &str, &str)| {
        without
            .iter()
            .any(|(file, name)| file.ends_with(end) && name == function)
    };
    let stale: Vec<_> = EXCEPTIONS.iter().filter(|listed| !is_found(listed)).collect();
    assert!(stale.is_empty(), "these need no exception any more: {stale:#?}");
}

#[test]
fn a_query_that_forgets_the_account_is_seen() {
    let text = "
impl Keys {
    /// Entity::find() in a comment is none.
    pub(in crate::store) async fn all(db: &Db) -> Rows {
        api_key::Entity::find().all(db).await
    }

    pub async fn own(db: &Db, account: AccountId) -> Rows {
        api_key::Entity::find().filter(Column::AccountId.eq(account)).all(db).await
    }
}

#[cfg(test)]
mod tests {
    fn all() { Entity::find() }
}
";
    let functions = functions(text);
    let names: Vec<_> = functions.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["all", "own"]);
    let forgets = |body: &str| {
        QUERIES.iter().any(|query| body.contains(query))
            && !ACCOUNT.iter().any(|account| body.contains(account))
    };
    assert!(forgets(&functions[0].1));
    assert!(!forgets(&functions[1].1));
}

#[tokio::test]
async fn cursors_keys_and_sessions_of_one_account_give_another_nothing() {
    let server = Server::start().await;
    let (ada, eve) = (
        server.register("ada@example.org").await,
        server.register("eve@example.org").await,
    );
    for person in [&ada, &eve] {
        for _ in 0..3 {
            let key = server.key_of(person).await;
            assert_eq!(server.ask(&key.key).await.status, 200);
        }
    }
    let page = async |path: &str, person: &Person| {
        let answer = server.get(path).token(&person.access_token).send().await;
        (answer.status, answer.json())
    };
    let ids = |page: &serde_json::Value, list: &str, id: &str| -> BTreeSet<String> {
        let items = page[list].as_array().unwrap().iter();
        items.map(|item| item[id].as_str().unwrap().to_owned()).collect()
    };
    for (path, list, id) in [
        ("/api/v1/keys", "data", "id"),
        ("/api/v1/usage", "requests", "keyId"),
    ] {
        let own = ids(&page(&format!("{path}?limit=100"), &eve).await.1, list, id);
        let (_, first) = page(&format!("{path}?limit=1"), &ada).await;
        let cursor = first["nextCursor"].as_str().unwrap();
        let (status, rest) = page(&format!("{path}?limit=100&cursor={cursor}"), &eve).await;
        assert_eq!(status, 200, "{rest}");
        assert!(ids(&rest, list, id).is_subset(&own), "{rest}");
    }
    // What ends one person's sessions leaves those of the other.
    let answer = server
        .poke("/api/v1/auth/logout-all")
        .token(&eve.access_token)
        .send()
        .await;
    assert!(answer.status < 300, "{}", answer.text());
    assert_eq!(page("/api/v1/me", &eve).await.0, 401);
    assert_eq!(page("/api/v1/me", &ada).await.1["email"], "ada@example.org");
    assert_eq!(server.refresh(&ada.refresh_token).await.status, 200);
}
