//! One finished request.

use serde::{Deserialize, Serialize};

use crate::id::{AccountId, EventId, KeyId, ReplicaId, UserId};
use crate::name::{MeterName, OperationName};
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::Text;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The response was handed over to its last byte.
    Completed,
    /// We answered in the handler's place: over a limit, out of scope.
    Refused,
    /// The client went away before the response was whole.
    ClientGone,
    /// The response's body failed on the way.
    BodyError,
    /// The handler's service failed instead of answering.
    ServiceError,
    /// The handler panicked.
    Panicked,
    /// Our own time limit ended it.
    TimedOut,
    /// We stopped the response, as it took more than could be reserved for it.
    Stopped,
    /// The request was admitted, but the handler was never called.
    NotReached,
}

impl Outcome {
    /// The word for it in stores and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::ClientGone => "client_gone",
            Self::BodyError => "body_error",
            Self::ServiceError => "service_error",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed_out",
            Self::Stopped => "stopped",
            Self::NotReached => "not_reached",
        }
    }

    /// The reverse of [`Outcome::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Completed,
            Self::Refused,
            Self::ClientGone,
            Self::BodyError,
            Self::ServiceError,
            Self::Panicked,
            Self::TimedOut,
            Self::Stopped,
            Self::NotReached,
        ]
        .into_iter()
        .find(|outcome| outcome.as_str() == text)
    }

    /// Whether the handler was called. Only such requests count as uses of a key and in response times.
    #[must_use]
    pub const fn reached_handler(self) -> bool {
        !matches!(self, Self::Refused | Self::NotReached)
    }
}

/// One finished request. Nothing in it ever changes.
///
/// Times and sizes greater than [`i64::MAX`] are kept as that number. Texts that many events have in common are shared by
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name for ever.
    pub id: EventId,
    /// When the request came.
    pub at: Timestamp,
    /// Who was billed.
    pub account: AccountId,
    /// Who made the key.
    pub user: Option<UserId>,
    /// The key.
    pub key: Option<KeyId>,
    /// What was done.
    pub operation: OperationName,
    /// The route, such as `/api/v1/data`: what the operation calls it ([`Operation::endpoint`](crate::Operation::endpoint)), else
    /// the template where the framework tells it, else the path. At most 256 bytes.
    pub endpoint: Text,
    /// The HTTP method, at most 32 bytes.
    pub method: Text,
    /// What the handler says the answer came from, at most 64 bytes.
    pub source: Option<Text>,
    /// The HTTP status; 499 when the client went away before there was one.
    pub status: u16,
    /// The status of a gRPC call, from its trailers, or from its head where that is all there is; 2 (unknown) for one whose
    /// answer was complete without it. None for other requests, for gRPC-Web, which has it in the body, and for a call that
    /// ended before.
    pub grpc_status: Option<u8>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why we refused it, by the refusal's code.
    pub refusal: Option<Text>,
    /// The code of the refusal that a shadow quota would have given. The request was served all the same.
    pub would_refuse: Option<Text>,
    /// What was charged, by meter; meters with nothing charged are left out. Sorted by meter, none twice.
    pub units: Vec<(MeterName, Units)>,
    /// Whether units went over a quota, as far as the replica knew: one that does not refuse, or one of which less was left
    /// than the handler charged in the end.
    pub over: bool,
    /// From the request's arrival to the end of its response, in microseconds.
    pub response_time_us: u64,
    /// From the request's arrival to the first byte of the response's body, in microseconds. None when there was none.
    pub first_byte_us: Option<u64>,
    /// The size of the request's body in bytes as its `Content-Length` announced it; zero where it did not, as with
    /// chunked bodies and gRPC streams.
    pub bytes_in: u64,
    /// How many bytes of the response's body were handed over.
    pub bytes_out: u64,
    /// The id that the caller can name, at most 128 bytes.
    pub request_id: String,
    /// The installation that served it.
    pub replica: ReplicaId,
    /// What the handler noted, by name: at most [`Event::TAGS_MAX`]. Sorted by name, none twice.
    pub tags: Vec<(String, String)>,
}

impl Event {
    /// How many tags an event has at most.
    pub const TAGS_MAX: usize = 8;
    /// How many bytes the name of a tag has at most.
    pub const TAG_NAME_MAX: usize = 32;
    /// How many bytes the value of a tag has at most.
    pub const TAG_VALUE_MAX: usize = 128;

    /// The first digit of the status, 0 to 9.
    #[must_use]
    pub const fn status_class(&self) -> u8 {
        // A status has three digits.
        (self.status / 100 % 10) as u8
    }

    /// What was charged on `meter`.
    #[must_use]
    pub fn units_of(&self, meter: &MeterName) -> Units {
        self.units
            .iter()
            .find(|(has, _)| has == meter)
            .map_or(Units::ZERO, |(_, units)| *units)
    }
}
