//! Response times.

use futures_util::TryStreamExt;
use hm_metering::usage::{Grain, UsageQuery};
use sea_orm::{DatabaseConnection, DatabaseTransaction, DbBackend, Statement, StreamTrait};

use super::facts::{unreached, where_is};
use super::tile::{Piece, Source, tile};
use super::{Text, count, snapshot};
use crate::error::Failure;
use crate::store::usage::sketch::Sketch;

pub(in crate::store::usage) async fn response_times(
    db: &DatabaseConnection,
    query: &UsageQuery,
    quantiles: &[f64],
) -> Result<Option<Vec<u64>>, Failure> {
    if !quantiles.iter().all(|quantile| (0.0..=1.0).contains(quantile)) {
        return Err(Failure::INVALID);
    }
    let snapshot = snapshot(db).await?;
    let (times, longest) = gather(&snapshot, query).await?;
    snapshot.commit().await?;
    if times.count() == 0 {
        return Ok(None);
    }
    let at = |quantile: &f64| times.at_rank(rank(*quantile, times.count())).min(longest);
    Ok(Some(quantiles.iter().map(at).collect()))
}

/// All times of the query, and the longest. Rows are read one after the other, however many there are.
async fn gather(snapshot: &DatabaseTransaction, query: &UsageQuery) -> Result<(Sketch, u64), Failure> {
    let (mut times, mut longest) = (Sketch::new()?, 0);
    for piece in tile(query.from.as_micros(), query.to.as_micros(), Grain::Day) {
        let statement = statement(StreamTrait::get_database_backend(snapshot), query, piece);
        let mut rows = snapshot.stream_raw(statement).await?;
        while let Some(row) = rows.try_next().await? {
            let time = count(&row, "response_time")?;
            longest = longest.max(time);
            match piece.source {
                Source::Events => times.add(time)?,
                Source::Rollup(_) => times.add_bytes(&row.try_get::<Vec<u8>>("", "sketch")?)?,
            }
        }
    }
    Ok((times, longest))
}

pub(super) fn statement(backend: DbBackend, query: &UsageQuery, piece: Piece) -> Statement {
    let mut text = Text::new(backend, "SELECT ");
    match piece.source {
        Source::Events => text.push("response_time_us AS response_time FROM usage_events"),
        Source::Rollup(_) => {
            text.push("response_time_us_max AS response_time, sketch FROM usage_rollup_sums")
        }
    };
    where_is(&mut text, query, piece);
    if piece.source == Source::Events {
        text.push(&format!(" AND outcome NOT IN ({})", unreached()));
    }
    text.statement()
}

/// The nearest rank: the smallest place at which at least `quantile` of all are reached.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank among more than 2^52 events may be off by one"
)]
fn rank(quantile: f64, events: u64) -> u64 {
    let near = (quantile * events as f64).ceil() as u64;
    // The product may be rounded up past a whole number that is the right answer.
    let below = near.saturating_sub(1);
    let rank = if below as f64 / events as f64 >= quantile {
        below
    } else {
        near
    };
    rank.clamp(1, events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_is_the_smallest_that_reaches_the_share() {
        for (quantile, events, expected) in [
            (0.0, 10, 1),
            (0.5, 10, 5),
            (0.5, 11, 6),
            (0.07, 100, 7),
            (0.29, 100, 29),
            (0.99, 1, 1),
            (1.0, 10, 10),
        ] {
            assert_eq!(rank(quantile, events), expected, "{quantile} of {events}");
        }
    }
}
