//! The service `counting.Counting`, as a generator would write it from this:
//!
//! ```proto
//! package counting;
//! message CountTo { uint32 last = 1; }
//! message Number { uint32 value = 1; }
//! service Counting { rpc Count(CountTo) returns (stream Number); }
//! ```

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt, stream};
use hm_metering::{Charge, MeterName, Units};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// The last number that a call may ask for, so that what it takes is known before it begins.
pub(crate) const LAST_MAX: u32 = 5;

/// How far to count.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CountTo {
    #[prost(uint32, tag = "1")]
    pub(crate) last: u32,
}

/// A number on the way.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Number {
    #[prost(uint32, tag = "1")]
    pub(crate) value: u32,
}

/// Counts from one, and charges a unit for each number when it is sent.
async fn count(
    request: Request<CountTo>,
) -> Result<Response<impl Stream<Item = Result<Number, Status>> + Send + 'static>, Status> {
    let charge = request.extensions().get::<Charge>().cloned();
    let charge = charge.ok_or_else(|| Status::internal("the service is not behind a metering layer"))?;
    // From here on the call takes what is said, not what was taken for it at the door.
    charge.set(&MeterName::REQUESTS, Units::ZERO);
    let last = request.into_inner().last;
    if last > LAST_MAX {
        return Err(Status::invalid_argument("that is too far to count"));
    }
    let numbers = stream::iter(1..=last).inspect(move |_| charge.add(&MeterName::REQUESTS, Units::ONE));
    Ok(Response::new(numbers.map(|value| Ok(Number { value }))))
}

/// The server's side of the service.
#[derive(Clone, Debug)]
pub(crate) struct CountingServer;

impl NamedService for CountingServer {
    const NAME: &'static str = "counting.Counting";
}

impl Service<http::Request<Body>> for CountingServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            if request.uri().path() != "/counting.Counting/Count" {
                return Ok(Status::unimplemented("").into_http());
            }
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(grpc.server_streaming(service_fn(count), request).await)
        })
    }
}
