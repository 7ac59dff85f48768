//! What a server does by itself.

use hm_metering::Clock;
use hm_metering_seaorm::entity::usage_summary;
use hm_metering_seaorm::operator::CLOSING_GRACE;
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter};
use uuid::Uuid;

use crate::harness::Server;

/// Summaries of so many accounts, whose periods end now.
async fn summaries_that_end(server: &Server, accounts: u32) {
    let now = server.clock.now().as_micros();
    let rows = (0..accounts).map(|_| {
        let row = usage_summary::Model {
            account_id: Uuid::new_v4(),
            meter: "requests".to_owned(),
            period_start: now - 1_000,
            period_end: now,
            tier: "free".to_owned(),
            count: 1,
            units: 1,
            quota_limit: None,
            updated_at: now - 1,
            closed_at: None,
        };
        row.into_active_model().reset_all()
    });
    usage_summary::Entity::insert_many(rows)
        .exec_without_returning(server.app.database().writer())
        .await
        .unwrap();
}

async fn open_summaries(server: &Server) -> u64 {
    usage_summary::Entity::find()
        .filter(usage_summary::Column::ClosedAt.is_null())
        .count(server.app.database().reader())
        .await
        .unwrap()
}

#[tokio::test]
async fn all_summaries_of_a_period_are_closed_by_one_look() {
    let server = Server::start().await;
    summaries_that_end(&server, 1_200).await;
    assert_eq!(hm_server::jobs::close_summaries(&server.app).await, 0);
    server.clock.advance(CLOSING_GRACE);
    summaries_that_end(&server, 3).await;
    assert_eq!(hm_server::jobs::close_summaries(&server.app).await, 1_200);
    assert_eq!(open_summaries(&server).await, 3);
    assert_eq!(hm_server::jobs::close_summaries(&server.app).await, 0);
}
