//! What is being metered: a name and what it takes.

use smallvec::{SmallVec, smallvec};

use crate::charge_rule::{ChargeRule, Overrun};
use crate::name::{MeterName, OperationName};
use crate::units::Units;

/// Units of one meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The counted thing.
    pub meter: MeterName,
    /// How much of it.
    pub units: Units,
}

/// An operation as a route declares it: its name, what a request takes before its real cost is known, and the
/// scopes a key needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    name: OperationName,
    costs: SmallVec<[Cost; 2]>,
    rate_units: u32,
    scopes: Vec<String>,
    charge: ChargeRule,
    overrun: Overrun,
}

impl Operation {
    /// How many meters one operation names at most.
    pub const METERS_MAX: usize = 16;

    /// An operation that takes one unit of [`MeterName::REQUESTS`].
    #[must_use]
    pub fn new(name: OperationName) -> Self {
        Self {
            name,
            costs: smallvec![Cost {
                meter: MeterName::REQUESTS,
                units: Units::ONE
            }],
            rate_units: 1,
            scopes: Vec::new(),
            charge: ChargeRule::default(),
            overrun: Overrun::default(),
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
        match self.costs.iter_mut().find(|cost| cost.meter == meter) {
            Some(cost) => cost.units = units,
            None => self.costs.push(Cost { meter, units }),
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

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &OperationName {
        &self.name
    }

    /// What a request takes, by meter. A meter is listed once.
    #[must_use]
    pub fn costs(&self) -> &[Cost] {
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

    /// How much of `meter` a request takes; none when the operation has nothing to do with it.
    #[must_use]
    pub fn cost_in(&self, meter: &MeterName) -> Option<Units> {
        self.costs
            .iter()
            .find(|cost| cost.meter == *meter)
            .map(|cost| cost.units)
    }

    /// How much of `meter` a request takes.
    #[must_use]
    pub fn units_of(&self, meter: &MeterName) -> Units {
        self.costs
            .iter()
            .find(|cost| cost.meter == *meter)
            .map_or(Units::ZERO, |cost| cost.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
