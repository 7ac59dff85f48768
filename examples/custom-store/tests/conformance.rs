//! The store keeps what the traits promise: the suites of the crate, and what a file adds to them.

use std::sync::Arc;

use example_custom_store::FileStore;
use hm_metering::conformance::{Fixture, MadeUpAccounts};
use tempfile::tempdir;

/// A fresh store in a folder that goes when the case is over.
macro_rules! fixture {
    ($kind:ty) => {{
        let folder = tempdir().unwrap();
        let store = FileStore::open(folder.path().join("store.redb")).unwrap();
        Fixture::<$kind>::new(Arc::new(store), MadeUpAccounts).with_guard(folder)
    }};
}

mod quota {
    use hm_metering::QuotaStore;

    use super::*;

    async fn store() -> Fixture<dyn QuotaStore> {
        fixture!(dyn QuotaStore)
    }

    hm_metering::quota_store_tests!(store);
}

mod sink {
    use hm_metering::UsageSink;

    use super::*;

    async fn store() -> Fixture<dyn UsageSink> {
        fixture!(dyn UsageSink)
    }

    hm_metering::usage_sink_tests!(store);
}

mod settling {
    use hm_metering::conformance::SettlingStore;

    use super::*;

    async fn store() -> Fixture<dyn SettlingStore> {
        fixture!(dyn SettlingStore)
    }

    hm_metering::settling_store_tests!(store);
}

mod file {
    use hm_metering::period::Period;
    use hm_metering::quota::{Holder, LeaseAsk, QuotaKey};
    use hm_metering::{AccountId, MeterName, QuotaStore, ReplicaId, Timestamp, Units};
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn what_was_leased_is_there_when_the_file_is_opened_again() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let key = QuotaKey {
            account: AccountId::from_uuid(Uuid::from_u128(1)),
            key: None,
            meter: MeterName::REQUESTS,
            period: Period {
                start: at(0),
                end: at(3_600),
            },
        };
        let ask = LeaseAsk {
            holder: Holder {
                replica: ReplicaId::from_uuid(Uuid::from_u128(2)),
                epoch: 1,
            },
            operation: 1,
            key: key.clone(),
            since: None,
            limit: Units::new(10),
            want: Units::new(7),
            now: at(1),
            until: at(60),
        };
        let first = FileStore::open(&path).unwrap().lease(&ask).await.unwrap();
        let again = FileStore::open(&path).unwrap();
        assert_eq!(again.balances(&[key]).await.unwrap(), [first.balance]);
        assert_eq!(again.lease(&ask).await.unwrap(), first);
    }
}
