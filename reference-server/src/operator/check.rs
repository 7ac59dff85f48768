//! `hm-server check`.

use std::collections::BTreeSet;

use hm_metering::{AccountId, StoreErrorKind, Timestamp};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::operator::{Checked, Difference, check, rebuild_rollups};

use super::{OperatorError, Verdict, open};
use crate::config::Config;

/// How many days of accounts are remembered to be repaired; what is beyond is found by the next round.
const DAYS_MAX: usize = 10_000;

type Days = BTreeSet<(AccountId, Timestamp)>;

pub(super) async fn run(
    config: &Config,
    repair: bool,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<Verdict, OperatorError> {
    let (database, store) = open(config).await?;
    let (mut checked, mut days) = look(&store, print).await?;
    let mut tried = Days::new();
    while repair && !days.is_subset(&tried) {
        let mut repaired = 0;
        for (account, day) in &days {
            match rebuild_rollups(&store, *account, *day).await {
                Ok(()) => repaired += 1,
                Err(error) if error.kind() == StoreErrorKind::Invalid => print(&format!(
                    "not repaired: events of {day} were pruned, account {account}"
                )),
                Err(error) => return Err(error.into()),
            }
        }
        print(&format!(
            "made rollups anew from the events: {repaired} days of accounts"
        ));
        tried = days;
        (checked, days) = look(&store, print).await?;
    }
    print(&summary(&checked));
    database.close().await?;
    Ok(if checked.differences == 0 {
        Verdict::Well
    } else {
        Verdict::Differs
    })
}

/// Prints each difference, and answers which days can be repaired.
async fn look(
    store: &SeaOrmStore,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<(Checked, Days), OperatorError> {
    let mut days = Days::new();
    let found = |difference: &Difference| {
        print(&format!("differs: {difference}"));
        if difference.witness.is_rollup() && days.len() < DAYS_MAX {
            days.insert((difference.account, difference.period.start));
        }
    };
    let checked = check(store, found).await?;
    Ok((checked, days))
}

fn summary(checked: &Checked) -> String {
    let mut text = format!(
        "checked {} accounts, {} counters, {} days of meters: {} differences",
        checked.accounts, checked.counters, checked.days, checked.differences
    );
    if checked.unchecked > 0 {
        text.push_str(&format!(
            "; {} counters can't be compared any more, as events and sums by minute of their periods were pruned",
            checked.unchecked
        ));
    }
    text
}
