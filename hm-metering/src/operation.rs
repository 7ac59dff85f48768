//! What is being metered: a name and what it takes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use smallvec::{SmallVec, smallvec};

use crate::charge_rule::{ChargeRule, Overrun};
use crate::endpoint::EndpointName;
use crate::key::KeyEnv;
use crate::measures::OperationMeasures;
use crate::name::{MeterName, OperationName};
use crate::on_unavailable::OnUnavailable;
use crate::principal::Identity;
use crate::refusal::{Refusal, RefusalKind};
use crate::units::Units;
use crate::usage::Outcome;

/// An operation as a route declares it: its name, what a request takes before its real cost is known, and which keys may
/// do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    name: OperationName,
    /// Sorted by meter, none twice.
    costs: SmallVec<[(MeterName, Units); 2]>,
    rate_units: u32,
    scopes: Vec<String>,
    /// One of each list.
    any_scopes: Vec<Vec<String>>,
    env: Option<KeyEnv>,
    charge: ChargeRule,
    overrun: Overrun,
    unavailable: OnUnavailable,
    endpoint: Option<EndpointName>,
    measures: OperationMeasures,
}

impl Operation {
    /// How many meters one operation names at most.
    pub const METERS_MAX: usize = 16;

    /// An operation that takes one unit of [`MeterName::REQUESTS`].
    #[must_use]
    pub fn new(name: OperationName) -> Self {
        Self {
            name,
            costs: smallvec![(MeterName::REQUESTS, Units::ONE)],
            rate_units: 1,
            scopes: Vec::new(),
            any_scopes: Vec::new(),
            env: None,
            charge: ChargeRule::default(),
            overrun: Overrun::default(),
            unavailable: OnUnavailable::default(),
            endpoint: None,
            measures: OperationMeasures::new(),
        }
    }

    /// Takes `units` of `meter`; said again, the last word counts. Zero for what only the handler will know: the request is
    /// then let through if anything is left of the meter's quota, and charged what [`Charge`](crate::Charge) says.
    ///
    /// # Panics
    /// When it would name more than [`Operation::METERS_MAX`] meters.
    #[must_use]
    pub fn cost(mut self, meter: MeterName, units: Units) -> Self {
        let is_full = self.costs.len() >= Self::METERS_MAX && self.cost_in(&meter).is_none();
        assert!(!is_full, "an operation names at most 16 meters");
        match self.costs.binary_search_by(|(has, _)| has.cmp(&meter)) {
            Ok(place) => self.costs[place].1 = units,
            Err(place) => self.costs.insert(place, (meter, units)),
        }
        self
    }

    /// A request counts `units` times in each rate limit; once unless said otherwise, and not at all for zero. One that
    /// counts more often than a limit's burst is never let through.
    #[must_use]
    pub const fn rate_cost(mut self, units: u32) -> Self {
        self.rate_units = units;
        self
    }

    /// Asks for a scope; said several times, a key needs all of them.
    #[must_use]
    pub fn require_scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Asks for any one of these scopes, besides what is asked for otherwise; said several times, a key needs one of each
    /// list. No key has one of an empty list.
    #[must_use]
    pub fn require_any_scope<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.any_scopes.push(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Lets only keys of this environment in, such as live ones where something real happens; said again, the last word
    /// counts.
    #[must_use]
    pub const fn only_env(mut self, env: KeyEnv) -> Self {
        self.env = Some(env);
        self
    }

    /// Which requests are charged; those that succeed, unless said.
    #[must_use]
    pub fn charge(mut self, rule: ChargeRule) -> Self {
        self.charge = rule;
        self
    }

    /// What to do when a handler charges more than could be reserved; it is charged all the same, unless said.
    #[must_use]
    pub const fn overrun(mut self, overrun: Overrun) -> Self {
        self.overrun = overrun;
        self
    }

    /// What to do when a store can't answer; requests are refused with 503, unless said.
    #[must_use]
    pub const fn on_unavailable(mut self, policy: OnUnavailable) -> Self {
        self.unavailable = policy;
        self
    }

    /// Calls the endpoint of each request so in its event, in place of the route's template or, where no router tells one, the
    /// path.
    ///
    /// Without a router each path is an endpoint of its own, and reports keep a row for each: a caller that asks for more and
    /// more paths makes more and more of them. Say this, or [`Operation::endpoint_by`], wherever callers choose the path.
    #[must_use]
    pub fn endpoint(mut self, name: impl Into<Arc<str>>) -> Self {
        self.endpoint = Some(EndpointName::Fixed(name.into()));
        self
    }

    /// Has the name of each request's endpoint made of the route's template or the path, as for services that have several
    /// routes behind one layer and no router that is known here. It is asked for each request and should be quick. If it panics,
    /// the endpoint is called as it is.
    ///
    /// ```
    /// # use hm_metering::{Operation, OperationName};
    /// let users = Operation::new(OperationName::from_static("users")).endpoint_by(|path| match path {
    ///     "/users" => "/users".into(),
    ///     _ => "/users/{id}".into(),
    /// });
    /// ```
    #[must_use]
    pub fn endpoint_by(mut self, name: impl Fn(&str) -> Cow<'static, str> + Send + Sync + 'static) -> Self {
        self.endpoint = Some(EndpointName::Of(Arc::new(name)));
        self
    }

    /// What a request's endpoint is called, if not as it is.
    pub(crate) fn endpoint_of<'a>(&'a self, endpoint: &'a str) -> Option<Cow<'a, str>> {
        self.endpoint.as_ref().map(|name| name.of(endpoint))
    }

    /// Which requests are charged.
    #[must_use]
    pub const fn charge_rule(&self) -> &ChargeRule {
        &self.charge
    }

    /// What happens when a handler charges more than could be reserved.
    #[must_use]
    pub const fn on_overrun(&self) -> Overrun {
        self.overrun
    }

    /// What happens when a store can't answer.
    #[must_use]
    pub const fn when_unavailable(&self) -> OnUnavailable {
        self.unavailable
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &OperationName {
        &self.name
    }

    /// What a request takes, sorted by meter. A meter is listed once.
    #[must_use]
    pub fn costs(&self) -> &[(MeterName, Units)] {
        &self.costs
    }

    /// How many times a request counts in each rate limit.
    #[must_use]
    pub const fn rate_units(&self) -> u32 {
        self.rate_units
    }

    /// The scopes that a key must have, all of them.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// The lists of scopes that a key must have one of.
    pub fn any_scopes(&self) -> impl Iterator<Item = &[String]> {
        self.any_scopes.iter().map(Vec::as_slice)
    }

    /// The environment whose keys alone are let in; none for both.
    #[must_use]
    pub const fn env(&self) -> Option<KeyEnv> {
        self.env
    }

    /// A request ended.
    pub(crate) fn note_finished(&self, outcome: Outcome, took: Duration) {
        self.measures.finished(&self.name, outcome, took);
    }

    /// A request was refused.
    pub(crate) fn note_refused(&self, code: &'static str) {
        self.measures.refused(&self.name, code);
    }

    /// A request is served although a store could not answer.
    pub(crate) fn note_fallback(&self) {
        self.measures.fell_back(&self.name, self.unavailable.as_str());
    }

    /// Whether `caller` may do this at all, whatever its limits say. Nobody has no scope and no environment.
    pub(crate) fn permit(&self, caller: Option<&dyn Identity>) -> Result<(), Refusal> {
        if let Some(env) = self.env
            && caller.is_none_or(|caller| caller.env() != env)
        {
            return Err(Refusal::new(RefusalKind::WrongEnvironment));
        }
        let has = |scope: &String| caller.is_some_and(|caller| caller.scopes().contains(scope));
        if let Some(scope) = self.scopes.iter().find(|scope| !has(scope)) {
            return Err(Refusal::new(RefusalKind::MissingScope).with_scope(scope));
        }
        match self.any_scopes.iter().find(|scopes| !scopes.iter().any(has)) {
            Some(scopes) => Err(Refusal::new(RefusalKind::MissingScope).with_scope(scopes.join(" or "))),
            None => Ok(()),
        }
    }

    /// How much of `meter` a request takes; none when the operation has nothing to do with it.
    #[must_use]
    pub fn cost_in(&self, meter: &MeterName) -> Option<Units> {
        let cost = self.costs.iter().find(|(has, _)| has == meter)?;
        Some(cost.1)
    }

    /// How much of `meter` a request takes.
    #[must_use]
    pub fn units_of(&self, meter: &MeterName) -> Units {
        self.cost_in(meter).unwrap_or(Units::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::id::{AccountId, KeyId};
    use crate::name::PlanId;
    use crate::principal::Principal;
    use crate::time::Timestamp;

    fn caller(env: KeyEnv, scopes: &[&str]) -> Principal {
        let account = AccountId::from_uuid(Uuid::from_u128(1));
        Principal::new(account, PlanId::from_static("free"), Timestamp::from_micros(0))
            .with_key(KeyId::from_uuid(Uuid::from_u128(2)), env)
            .with_scopes(scopes.iter().map(|scope| (*scope).to_owned()).collect())
    }

    fn refused(operation: &Operation, caller: &Principal) -> Option<(RefusalKind, Option<String>)> {
        let refusal = operation.permit(Some(caller.identity())).err()?;
        Some((refusal.kind(), refusal.scope().map(str::to_owned)))
    }

    #[test]
    fn all_of_some_scopes_and_one_of_others() {
        let operation = Operation::new(OperationName::from_static("facts"))
            .require_scope("read")
            .require_any_scope(["red", "blue"])
            .require_any_scope(["big"]);
        let missing = |scope: &str| Some((RefusalKind::MissingScope, Some(scope.to_owned())));
        for (scopes, expected) in [
            (&["read", "red", "big"][..], None),
            (&["big", "blue", "read", "more"], None),
            (&["red", "big"], missing("read")),
            (&["read", "big"], missing("red or blue")),
            (&["read", "red", "blue"], missing("big")),
            (&["Read", "red", "big"], missing("read")),
        ] {
            assert_eq!(
                refused(&operation, &caller(KeyEnv::Live, scopes)),
                expected,
                "{scopes:?}"
            );
        }
        let nobody = Operation::new(OperationName::from_static("facts")).require_any_scope::<&str>([]);
        assert!(refused(&nobody, &caller(KeyEnv::Live, &["read"])).is_some());
        assert!(operation.permit(None).is_err(), "nobody has scopes");
    }

    #[test]
    fn keys_of_the_other_environment_are_not_let_in() {
        let any = Operation::new(OperationName::from_static("facts"));
        let live = any.clone().only_env(KeyEnv::Live);
        let test = live.clone().only_env(KeyEnv::Test);
        let wrong = Some((RefusalKind::WrongEnvironment, None));
        for (operation, of_live, of_test) in [
            (&any, None, None),
            (&live, None, wrong.clone()),
            (&test, wrong, None),
        ] {
            assert_eq!(refused(operation, &caller(KeyEnv::Live, &[])), of_live);
            assert_eq!(refused(operation, &caller(KeyEnv::Test, &[])), of_test);
        }
        assert!(any.permit(None).is_ok() && live.permit(None).is_err());
    }

    #[test]
    fn a_cost_said_twice_counts_once() {
        let tokens = MeterName::from_static("tokens");
        let operation = Operation::new(OperationName::from_static("chat"))
            .cost(tokens.clone(), Units::new(10))
            .cost(tokens.clone(), Units::new(7));
        assert_eq!(operation.units_of(&tokens), Units::new(7));
        assert_eq!(operation.units_of(&MeterName::REQUESTS), Units::ONE);
        assert_eq!(operation.costs().len(), 2);
    }
}
