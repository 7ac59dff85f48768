//! Requests that pass several layers: who let them through already.

use http::Extensions;

use crate::meter::{Charge, Meter, RequestId};

/// What became of a request before it came to a layer of some meter.
pub(crate) enum Before<'a> {
    /// Nobody let it through yet.
    Nothing,
    /// Another meter did, which calls it by this id.
    Other(RequestId),
    /// That meter did.
    Ours(&'a Charge),
}

/// Charges of other meters, which the request's own took the place of.
#[derive(Clone, Default)]
struct Others(Vec<Charge>);

/// Which meters let a request through already, as its extensions tell.
pub(crate) fn before<'a>(extensions: &'a Extensions, meter: &Meter) -> Before<'a> {
    let Some(charge) = extensions.get::<Charge>() else {
        return Before::Nothing;
    };
    if charge.is_of(meter) {
        return Before::Ours(charge);
    }
    let others = extensions.get::<Others>();
    let ours = others.and_then(|others| others.0.iter().find(|charge| charge.is_of(meter)));
    ours.map_or_else(|| Before::Other(charge.request_id()), Before::Ours)
}

/// Puts a charge where handlers look for it. That of another meter is remembered, for layers further in.
pub(crate) fn put_charge(extensions: &mut Extensions, charge: Charge) {
    if let Some(other) = extensions.insert(charge) {
        extensions.get_or_insert_default::<Others>().0.push(other);
    }
}
