//! How a counter's meter stands in its column.
//!
//! A counter is an account's, or that of one of its keys. The tables of counters and leases have no column for the key, as one
//! would have to be in their primary keys, and servers of the version before use these. So the key's id stands behind the
//! name of the meter: `requests#0198c5a07d2b7e3f8a1b2c3d4e5f6071`. No name of a meter has such a mark in it, so nobody takes one
//! for the other, and the column holds both, since names of keys' meters are bounded by [`KeyQuotas::METER_MAX`].

use hm_metering::quota::QuotaKey;
use hm_metering::{KeyId, MeterName};
use sea_orm::prelude::Uuid;

use crate::error::Failure;

/// Stands in no name.
const MARK: char = '#';

/// A meter, and the key whose counter it is; none for the account's.
pub(in crate::store) type Counted = (MeterName, Option<KeyId>);

/// The column's value.
pub(in crate::store) fn written(meter: &MeterName, key: Option<KeyId>) -> String {
    match key {
        None => meter.as_str().to_owned(),
        Some(key) => format!("{meter}{MARK}{}", key.as_uuid().simple()),
    }
}

/// The same for a counter.
pub(super) fn of(key: &QuotaKey) -> String {
    written(&key.meter, key.key)
}

/// What a column's value stands for.
pub(in crate::store) fn read(column: &str) -> Result<Counted, Failure> {
    let (meter, key) = match column.split_once(MARK) {
        None => (column, None),
        Some((meter, id)) => {
            let id = Uuid::try_parse(id).map_err(Failure::unreadable)?;
            (meter, Some(KeyId::from_uuid(id)))
        }
    };
    Ok((MeterName::parse(meter).map_err(Failure::unreadable)?, key))
}

#[cfg(test)]
mod tests {
    use hm_metering::keys::KeyQuotas;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_fits_its_column() {
        let longest = MeterName::parse(&"m".repeat(KeyQuotas::METER_MAX)).unwrap();
        let key = KeyId::from_uuid(Uuid::from_u128(0x0198_c5a0_7d2b_7e3f_8a1b_2c3d_4e5f_6071));
        for counted in [
            (MeterName::REQUESTS, None),
            (MeterName::parse(&"m".repeat(64)).unwrap(), None),
            (MeterName::REQUESTS, Some(key)),
            (longest, Some(KeyId::from_uuid(Uuid::max()))),
        ] {
            let column = written(&counted.0, counted.1);
            assert!(column.len() <= 64, "{column}");
            assert_eq!(read(&column).ok(), Some(counted));
        }
        assert_eq!(
            written(&MeterName::REQUESTS, Some(key)),
            "requests#0198c5a07d2b7e3f8a1b2c3d4e5f6071"
        );
    }

    #[test]
    fn what_nobody_wrote_is_not_read() {
        for column in [
            "",
            "#",
            "requests#",
            "requests#1",
            "#0198c5a07d2b7e3f8a1b2c3d4e5f6071",
        ] {
            assert!(read(column).is_err(), "{column}");
        }
    }
}
