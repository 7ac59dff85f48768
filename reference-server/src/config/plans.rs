//! Plans that accounts can be on.

use std::collections::BTreeMap;
use std::time::Duration;

use hm_metering::period::PeriodRule;
use hm_metering::plan::{Quota, QuotaMode, RateLimit};
use hm_metering::{MeterName, Plan, PlanId, Plans, PlansError, Units};

use super::reader::Reader;

/// `[plans.*]`: plans by name.
#[derive(Clone, Debug)]
pub struct PlansConfig {
    plans: BTreeMap<String, PlanConfig>,
}

/// Limits of one plan; `None` is unlimited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PlanConfig {
    /// Requests per month, anchored on the day the account began.
    pub requests_per_month: Option<u64>,
    /// Requests per second and account.
    pub requests_per_second: Option<u64>,
}

impl PlanConfig {
    fn to_plan(self, id: PlanId) -> Plan {
        let second = self.requests_per_second.map(|limit| {
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            RateLimit {
                name: "second".to_owned(),
                limit,
                per: Duration::from_secs(1),
                burst: limit,
            }
        });
        let month = Quota {
            meter: MeterName::REQUESTS,
            limit: self.requests_per_month.map(Units::new),
            period: PeriodRule::AnchoredMonth,
            mode: QuotaMode::Strict,
        };
        Plan {
            id,
            rates: second.into_iter().collect(),
            concurrency: Vec::new(),
            quotas: vec![month],
        }
    }
}

impl PlansConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut plans = BTreeMap::new();
        for name in reader.tables("plans") {
            let path = format!("plans.{name}");
            if PlanId::parse(&name).is_err() {
                reader.mistake(
                    &path,
                    "the name of a plan has 1 to 64 of a-z, 0-9, `.`, `_` and `-`",
                );
            }
            let plan = PlanConfig {
                requests_per_month: reader
                    .limit(&format!("{path}.requests_per_month"), 0..=1_000_000_000_000),
                requests_per_second: reader.limit(&format!("{path}.requests_per_second"), 1..=1_000_000),
            };
            plans.insert(name, plan);
        }
        Self { plans }
    }

    /// The plan of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<PlanConfig> {
        self.plans.get(name).copied()
    }

    /// The plans as the engine wants them.
    ///
    /// # Errors
    ///
    /// The engine's objections, all of them.
    pub fn to_plans(&self) -> Result<Plans, PlansError> {
        // A name that is none was reported when the settings were read.
        Plans::new(
            self.plans
                .iter()
                .filter_map(|(name, plan)| Some(plan.to_plan(PlanId::parse(name).ok()?))),
        )
    }
}
