//! A verifier of one's own: callers present a JSON Web Token of an identity provider in place of a stored key.
//!
//! The engine keeps the verdict on a token in memory, so a signature is checked once in a while and not on each request.

#![forbid(unsafe_code)]

use std::fmt;

use async_trait::async_trait;
use hm_metering::error::StoreResult;
use hm_metering::keys::{InvalidKey, Verdict, Verified};
use hm_metering::{AccountId, KeyVerifier, PlanId, PresentedKey, Principal, Timestamp};
use jsonwebtoken::{DecodingKey, Validation, decode};
use serde::Deserialize;
use uuid::Uuid;

/// Accepts tokens that `key` proves to be the provider's.
pub struct JwtVerifier {
    key: DecodingKey,
    rules: Validation,
}

/// What a token says. It is an error for any of them to be missing, except the scopes.
#[derive(Deserialize)]
struct Claims {
    /// The account.
    sub: Uuid,
    /// Its plan.
    plan: String,
    /// Until when the token is good, in seconds.
    exp: i64,
    /// What it allows, separated by spaces.
    #[serde(default)]
    scope: String,
}

impl JwtVerifier {
    /// `rules` says which algorithms, issuers and audiences are accepted. Name issuer and audience among the required claims
    /// too: one that is not required is only looked at where it is there.
    #[must_use]
    pub fn new(key: DecodingKey, mut rules: Validation) -> Self {
        // The meter has a clock of its own, and compares the time on each request.
        rules.validate_exp = false;
        Self { key, rules }
    }

    /// Whom the token speaks for and until when; none when it is no token of the provider.
    fn read(&self, token: &str) -> Option<Verified> {
        let claims: Claims = decode(token, &self.key, &self.rules).ok()?.claims;
        let scopes = claims.scope.split_whitespace().map(str::to_owned).collect();
        let plan = PlanId::parse(&claims.plan).ok()?;
        // Anchored periods would count from here. A token does not know when its account began, so plans should have
        // periods of the calendar.
        let anchor = Timestamp::default();
        // It names no key: a provider issues many tokens for one account, and there is no feed of their changes.
        let principal = Principal::new(AccountId::from_uuid(claims.sub), plan, anchor).with_scopes(scopes);
        Some(Verified {
            expires_at: Some(Timestamp::from_micros(claims.exp.checked_mul(1_000_000)?)),
            ..Verified::new(principal)
        })
    }
}

#[async_trait]
impl KeyVerifier for JwtVerifier {
    fn is_well_formed(&self, presented: &str) -> bool {
        presented.len() <= 4_096 && self.claims(presented) && presented.split('.').count() == 3
    }

    fn claims(&self, bearer: &str) -> bool {
        // `{"` in base64: each token begins with an object.
        bearer.starts_with("eyJ")
    }

    async fn verify(&self, presented: &PresentedKey, now: Timestamp) -> StoreResult<Verdict> {
        let invalid = |reason| Ok(Verdict::Invalid { reason, key: None });
        match self.read(presented.expose()) {
            None => invalid(InvalidKey::Unknown),
            Some(verified) if verified.expires_at.is_some_and(|end| end <= now) => {
                invalid(InvalidKey::Expired)
            }
            Some(verified) => Ok(Verdict::Valid(verified)),
        }
    }
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
