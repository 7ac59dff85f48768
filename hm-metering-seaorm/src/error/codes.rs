//! What the codes of each database mean to us.

use hm_metering::StoreErrorKind;

/// What a database calls an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code<'a> {
    /// An SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "that database is not compiled in")
    )]
    Postgres(&'a str),
    /// A number and its SQLSTATE, <https://mariadb.com/kb/en/mariadb-error-code-reference/> and
    /// <https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html>.
    #[cfg_attr(
        not(feature = "mysql"),
        expect(dead_code, reason = "that database is not compiled in")
    )]
    MySql(u16, &'a str),
    /// An extended result code, <https://www.sqlite.org/rescode.html>; the low byte is the primary code.
    Sqlite(u32),
    /// What no database of ours says.
    Unknown,
}

impl Code<'_> {
    pub(super) fn kind(self) -> StoreErrorKind {
        match self {
            Self::Postgres(state) => postgres_kind(state),
            Self::MySql(number, state) => mysql_kind(number, state),
            Self::Sqlite(code) => sqlite_kind(code),
            Self::Unknown => StoreErrorKind::Unexpected,
        }
    }

    /// Serialization failure, deadlock, and a record, or a table's definition, that changed since the transaction's view of
    /// it began. On PostgreSQL also a row that may not be where it was going: none of our tables has checks, so its place was
    /// made elsewhere while it was on its way. SQLite has none of them here: every transaction that writes begins with the
    /// write lock, and one that could not get it in time has waited long enough.
    pub(super) fn lost_a_race(self) -> bool {
        match self {
            Self::Postgres(state) => matches!(state, "40001" | "40P01" | "23514"),
            Self::MySql(number, _) => matches!(number, 1020 | 1213 | 1412),
            Self::Sqlite(_) | Self::Unknown => false,
        }
    }

    /// A lock could not be had in the time that was set for it, or, when SQLite changes how it keeps its journal, at once.
    pub(super) fn waited_in_vain(self) -> bool {
        match self {
            Self::Postgres(state) => state == "55P03",
            Self::MySql(number, _) => number == 1205,
            Self::Sqlite(code) => code & 0xff == 5,
            Self::Unknown => false,
        }
    }

    /// The server ended this connection, for doing nothing among others, or all of them.
    pub(super) fn lost_the_connection(self) -> bool {
        match self {
            Self::Postgres(state) => {
                state.starts_with("08") || matches!(state, "25P03" | "57P01" | "57P02" | "57P03" | "57P05")
            }
            Self::MySql(number, state) => {
                state.starts_with("08") || matches!(number, 1053 | 1077..=1080 | 1927)
            }
            Self::Sqlite(_) | Self::Unknown => false,
        }
    }
}

fn postgres_kind(state: &str) -> StoreErrorKind {
    match (state.get(..2).unwrap_or_default(), state) {
        (_, "57014") => StoreErrorKind::Timeout,
        // Connection lost, out of resources, shutting down, disk trouble, lost a race too often, lock not available;
        // read-only while another server takes over; ended after too long in mid-transaction.
        ("08" | "40" | "53" | "55" | "57" | "58", _) | (_, "25006" | "25P03" | "25P04") => {
            StoreErrorKind::Unavailable
        }
        // Wrong password or role, rights taken away, no such database: someone has to put it right, and can.
        ("28" | "3D", _) | (_, "42501") => StoreErrorKind::Unavailable,
        // No value of that type, against a constraint, more than a row, a statement or an index holds.
        ("22" | "23" | "54", _) => StoreErrorKind::Invalid,
        ("XX", _) => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Unexpected,
    }
}

fn mysql_kind(number: u16, state: &str) -> StoreErrorKind {
    match number {
        // Out of time, on MariaDB and MySQL, and told to stop.
        1969 | 3024 | 1317 => StoreErrorKind::Timeout,
        // Disk trouble, out of memory, out of connections, shutting down, network trouble.
        1021
        | 1023
        | 1026
        | 1030
        | 1037..=1041
        | 1053
        | 1077..=1080
        | 1114
        | 1129..=1130
        | 1158..=1161
        | 1180
        | 1203
        | 1226
        | 1927 => StoreErrorKind::Unavailable,
        // A lock that wasn't to be had in time, lost a race too often, out of room for locks.
        1020 | 1205 | 1206 | 1213 | 1412 => StoreErrorKind::Unavailable,
        // Read-only while another server takes over, and not yet a member of its cluster.
        1047 | 1290 | 1792 | 1836 => StoreErrorKind::Unavailable,
        // The server's log of changes is kept as statements, which it refuses under our isolation.
        1665 => StoreErrorKind::Unavailable,
        // Wrong password or user, rights taken away, no such database: someone has to put it right, and can.
        1044 | 1045 | 1049 | 1142 | 1143 | 1227 | 1698 => StoreErrorKind::Unavailable,
        // Nothing where something must be, too long, out of range, not of that type, not that character set, more than a
        // packet or its parameters hold.
        1048 | 1153 | 1264 | 1265 | 1292 | 1300 | 1364 | 1366 | 1390 | 1406 | 1690 | 3819 | 4025 => {
            StoreErrorKind::Invalid
        }
        1034 | 1035 | 1194 | 1195 | 1712 => StoreErrorKind::Corrupt,
        _ => match state.get(..2).unwrap_or_default() {
            "08" | "28" | "40" => StoreErrorKind::Unavailable,
            "22" | "23" => StoreErrorKind::Invalid,
            _ => StoreErrorKind::Unexpected,
        },
    }
}

fn sqlite_kind(code: u32) -> StoreErrorKind {
    match code & 0xff {
        9 => StoreErrorKind::Timeout,
        // Busy, locked, out of memory, read-only, disk error, disk full, can't open.
        5 | 6 | 7 | 8 | 10 | 13 | 14 => StoreErrorKind::Unavailable,
        11 | 26 => StoreErrorKind::Corrupt,
        18..=20 => StoreErrorKind::Invalid,
        _ => StoreErrorKind::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_tell_what_kind_of_failure_it_is() {
        for (code, kind) in [
            (Code::Postgres("57014"), StoreErrorKind::Timeout),
            (Code::Postgres("57P01"), StoreErrorKind::Unavailable),
            (Code::Postgres("08006"), StoreErrorKind::Unavailable),
            (Code::Postgres("53300"), StoreErrorKind::Unavailable),
            (Code::Postgres("58030"), StoreErrorKind::Unavailable),
            (Code::Postgres("42501"), StoreErrorKind::Unavailable),
            (Code::Postgres("25P03"), StoreErrorKind::Unavailable),
            (Code::Postgres("40P01"), StoreErrorKind::Unavailable),
            (Code::Postgres("22021"), StoreErrorKind::Invalid),
            (Code::Postgres("42P01"), StoreErrorKind::Unexpected),
            (Code::Postgres(""), StoreErrorKind::Unexpected),
            (Code::MySql(1969, "70100"), StoreErrorKind::Timeout),
            (Code::MySql(3024, "HY000"), StoreErrorKind::Timeout),
            (Code::MySql(1205, "HY000"), StoreErrorKind::Unavailable),
            (Code::MySql(1213, "40001"), StoreErrorKind::Unavailable),
            (Code::MySql(1412, "HY000"), StoreErrorKind::Unavailable),
            (Code::MySql(1290, "HY000"), StoreErrorKind::Unavailable),
            (Code::MySql(1665, "HY000"), StoreErrorKind::Unavailable),
            (Code::MySql(1040, "08004"), StoreErrorKind::Unavailable),
            (Code::MySql(1045, "28000"), StoreErrorKind::Unavailable),
            (Code::MySql(1927, "70100"), StoreErrorKind::Unavailable),
            (Code::MySql(1406, "22001"), StoreErrorKind::Invalid),
            (Code::MySql(1366, "22007"), StoreErrorKind::Invalid),
            (Code::MySql(1146, "42S02"), StoreErrorKind::Unexpected),
            (Code::Sqlite(5), StoreErrorKind::Unavailable),
            (Code::Sqlite(517), StoreErrorKind::Unavailable),
            (Code::Sqlite(13), StoreErrorKind::Unavailable),
            (Code::Sqlite(11), StoreErrorKind::Corrupt),
            (Code::Sqlite(275), StoreErrorKind::Invalid),
            (Code::Sqlite(1), StoreErrorKind::Unexpected),
        ] {
            assert_eq!(code.kind(), kind, "{code:?}");
        }
    }

    #[test]
    fn a_transaction_that_lost_a_race_is_told_from_one_that_waited_in_vain() {
        for code in [
            Code::Postgres("40001"),
            Code::Postgres("40P01"),
            Code::Postgres("23514"),
            Code::MySql(1213, "40001"),
            Code::MySql(1412, "HY000"),
        ] {
            assert!(code.lost_a_race(), "{code:?}");
        }
        for code in [
            Code::Postgres("55P03"),
            Code::MySql(1205, "HY000"),
            Code::Sqlite(5),
        ] {
            assert!(!code.lost_a_race(), "{code:?}");
        }
    }
}
