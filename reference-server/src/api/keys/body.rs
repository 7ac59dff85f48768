//! What is sent about keys, and what of it is accepted.

use std::collections::BTreeMap;
use std::time::Duration;

use hm_metering::keys::KeyPatch;
use hm_metering::{KeyEnv, Timestamp};
use salvo::oapi::ToSchema;
use serde::{Deserialize, Deserializer};

use crate::api::errors::Mistakes;
use crate::domain::keys::KeyWish;
use crate::domain::names;
use crate::error::AppError;

const MOST_SCOPES: usize = 32;
const LONGEST_SCOPE: usize = 64;
const MOST_FACTS: usize = 16;
const LONGEST_FACT_NAME: usize = 64;
const LONGEST_FACT: usize = 256;
const LONGEST_OVERLAP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[salvo(schema(name = "NewKey"))]
pub struct KeyBody {
    /// At most 100 characters.
    name: String,
    /// When it stops working by itself; never, unless said.
    #[serde(default)]
    #[salvo(schema(value_type = Option<String>, format = DateTime))]
    expires_at: Option<Timestamp>,
    /// What it may do: at most 32 of at most 64 letters, digits and `.:_-*`.
    #[serde(default)]
    scopes: Vec<String>,
    /// `live`, unless said, or `test`.
    #[serde(default)]
    #[salvo(schema(value_type = Option<String>))]
    env: KeyEnv,
    /// Facts of your own: at most 16, with names of at most 64 and values of at most 256 characters.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Changes of a key; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[salvo(schema(name = "KeyPatch"))]
pub struct KeyPatchBody {
    #[serde(default)]
    name: Option<String>,
    /// All scopes.
    #[serde(default)]
    scopes: Option<Vec<String>>,
    /// False switches it off, true on again.
    #[serde(default)]
    is_active: Option<bool>,
    /// Null for never.
    #[serde(default, deserialize_with = "given")]
    #[salvo(schema(value_type = Option<String>, format = DateTime))]
    expires_at: Option<Option<Timestamp>>,
    /// All facts.
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

/// How a key is replaced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[salvo(schema(name = "KeyRotation"))]
pub struct RotateBody {
    /// How long the old key still works: at most 30 days; not at all, unless said.
    #[serde(default)]
    overlap_seconds: u64,
}

impl KeyBody {
    pub(super) fn into_wish(self, now: Timestamp) -> Result<KeyWish, AppError> {
        let mut mistakes = Mistakes::default();
        let name = mistakes.check("name", names::name(&self.name));
        let expires_at = mistakes.check(
            "expiresAt",
            self.expires_at.map(|end| in_future(end, now)).transpose(),
        );
        let scopes = mistakes.check("scopes", scopes(self.scopes));
        let metadata = mistakes.check("metadata", facts(self.metadata));
        match (name, expires_at, scopes, metadata) {
            (Some(name), Some(expires_at), Some(scopes), Some(metadata)) => Ok(KeyWish {
                name,
                env: self.env,
                scopes,
                expires_at,
                metadata,
            }),
            _ => Err(mistakes.into_error()),
        }
    }
}

impl KeyPatchBody {
    pub(super) fn into_patch(self, now: Timestamp) -> Result<KeyPatch, AppError> {
        let mut mistakes = Mistakes::default();
        let end = |end: Option<Timestamp>| end.map(|end| in_future(end, now)).transpose();
        let name = mistakes.check("name", self.name.as_deref().map(names::name).transpose());
        let expires_at = mistakes.check("expiresAt", self.expires_at.map(end).transpose());
        let scopes = mistakes.check("scopes", self.scopes.map(scopes).transpose());
        let metadata = mistakes.check("metadata", self.metadata.map(facts).transpose());
        match (name, expires_at, scopes, metadata) {
            (Some(name), Some(expires_at), Some(scopes), Some(metadata)) => Ok(KeyPatch {
                name,
                scopes,
                is_active: self.is_active,
                expires_at,
                metadata,
            }),
            _ => Err(mistakes.into_error()),
        }
    }
}

impl RotateBody {
    pub(super) fn overlap(&self) -> Result<Duration, AppError> {
        let overlap = Duration::from_secs(self.overlap_seconds);
        if overlap <= LONGEST_OVERLAP {
            return Ok(overlap);
        }
        Err(AppError::invalid_field(
            "overlapSeconds",
            format!("must be at most {}", LONGEST_OVERLAP.as_secs()),
        ))
    }
}

/// Tells a field that is null from one that is not there.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn in_future(end: Timestamp, now: Timestamp) -> Result<Timestamp, &'static str> {
    if end > now {
        Ok(end)
    } else {
        Err("must be in the future")
    }
}

fn scopes(mut scopes: Vec<String>) -> Result<Vec<String>, &'static str> {
    let fits = |scope: &String| {
        (1..=LONGEST_SCOPE).contains(&scope.len())
            && scope
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".:_-*".contains(&byte))
    };
    if scopes.len() > MOST_SCOPES {
        return Err("must be at most 32");
    }
    if !scopes.iter().all(fits) {
        return Err("must each have 1 to 64 letters, digits and `.:_-*`");
    }
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

fn facts(facts: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, &'static str> {
    if facts.len() > MOST_FACTS {
        return Err("must be at most 16 facts");
    }
    let fits = |(name, fact): (&String, &String)| {
        (1..=LONGEST_FACT_NAME).contains(&name.chars().count()) && fact.chars().count() <= LONGEST_FACT
    };
    let plain = |(name, fact): (&String, &String)| !name.contains('\0') && !fact.contains('\0');
    if facts.iter().all(fits) && facts.iter().all(plain) {
        Ok(facts)
    } else {
        Err("must have names of at most 64 and values of at most 256 characters")
    }
}
