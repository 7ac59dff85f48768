//! Usage events: the ledger. Rows are inserted and pruned, never changed.
use sea_orm::entity::prelude::*;

/// One row of `usage_events`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_events")]
pub struct Model {
    /// The event.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Who is charged.
    pub account_id: Uuid,
    /// Who made the key, where one was presented.
    pub user_id: Option<Uuid>,
    /// The key used.
    pub key_id: Option<Uuid>,
    /// What the route is called in limits and reports.
    pub operation: String,
    /// The route.
    pub endpoint: String,
    /// The HTTP method.
    pub method: String,
    /// Where the answer came from, where the route has several sources.
    pub source: Option<String>,
    /// The HTTP status; 499 when the client went away before there was one.
    pub status: i32,
    /// The status of a gRPC call.
    pub grpc_status: Option<i16>,
    /// How the request ended.
    pub outcome: String,
    /// Why it was refused, if it was.
    pub refusal: Option<String>,
    /// Why a shadow quota would have refused it.
    pub would_refuse: Option<String>,
    /// Units of the meter `requests` that were charged.
    pub units: i64,
    /// Units of other meters: an object of meter to units.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub meter_units: Option<Json>,
    /// Whether units went over a quota that does not refuse, or over what was reserved.
    pub over: bool,
    /// Time to the end of the answer, in whole milliseconds.
    pub response_time_ms: i64,
    /// The same in microseconds.
    pub response_time_us: i64,
    /// Time to the first byte of the answer's body, in microseconds.
    pub first_byte_us: Option<i64>,
    /// Bytes of the request's body.
    pub bytes_in: i64,
    /// Bytes of the answer's body.
    pub bytes_out: i64,
    /// The id under which logs know the request; empty where there was none.
    pub request_id: String,
    /// The replica that answered.
    pub replica: Option<Uuid>,
    /// What the handler noted: an object of name to value.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub tags: Option<Json>,
    /// When the request came in.
    pub created_at: i64,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
