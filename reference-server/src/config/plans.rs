//! Plans that accounts can be on.

use std::collections::BTreeMap;

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

impl PlansConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut plans = BTreeMap::new();
        for name in reader.tables("plans") {
            let path = format!("plans.{name}");
            let fits = name.len() <= 32
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            if !fits {
                reader.mistake(
                    &path,
                    "a plan is named by at most 32 lower-case letters, digits and underscores",
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

    /// All plans by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, PlanConfig)> {
        self.plans.iter().map(|(name, plan)| (name.as_str(), *plan))
    }
}
