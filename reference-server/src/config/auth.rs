//! Tokens, passwords and login limits.

use std::time::Duration;

use super::Environment;
use super::reader::Reader;

/// `[auth]`.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// `iss` of access tokens.
    pub issuer: String,
    /// `aud` of access tokens.
    pub audience: String,
    /// How long an access token is good for.
    pub access_token_ttl: Duration,
    /// How long a session lasts without being refreshed.
    pub refresh_token_ttl: Duration,
    /// Sessions a person may have open.
    pub max_sessions: u64,
    /// Password hashing.
    pub password: PasswordConfig,
    /// Limits on guessing.
    pub login: LoginConfig,
}

/// `[auth.password]`: the cost of Argon2id and how many hashes run at once.
#[derive(Clone, Debug)]
pub struct PasswordConfig {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Hashes computed at the same time.
    pub concurrency: usize,
    /// How long another one waits for its turn.
    pub wait: Duration,
}

/// `[auth.login]`.
#[derive(Clone, Debug)]
pub struct LoginConfig {
    /// Attempts before the answer is 429.
    pub attempts: u32,
    /// Time after which attempts are forgotten.
    pub window: Duration,
    /// Pairs of address and client that are remembered.
    pub tracked: usize,
    /// Calls of register and login that one client address may make in a minute.
    pub burst_per_minute: u32,
}

const LEAST_MEMORY_KIB: u32 = 19 * 1024;
const LEAST_ITERATIONS: u32 = 2;

impl AuthConfig {
    pub(super) fn read(reader: &mut Reader, environment: Environment) -> Self {
        let config = Self {
            issuer: reader.text("auth.issuer"),
            audience: reader.text("auth.audience"),
            access_token_ttl: reader.seconds("auth.access_token_ttl_s", 30..=86_400),
            refresh_token_ttl: reader.seconds("auth.refresh_token_ttl_s", 60..=31_536_000),
            max_sessions: reader.integer("auth.max_sessions", 1..=1000),
            password: PasswordConfig {
                memory_kib: reader.small("auth.password.memory_kib", 8..=4 * 1024 * 1024),
                iterations: reader.small("auth.password.iterations", 1..=100),
                parallelism: reader.small("auth.password.parallelism", 1..=16),
                concurrency: reader.size("auth.password.concurrency", 1..=256),
                wait: reader.millis("auth.password.wait_ms", 0..=60_000),
            },
            login: LoginConfig {
                attempts: reader.small("auth.login.attempts", 1..=10_000),
                window: reader.seconds("auth.login.window_s", 1..=86_400),
                tracked: reader.size("auth.login.tracked", 16..=10_000_000),
                burst_per_minute: reader.small("auth.login.burst_per_minute", 1..=1_000_000),
            },
        };
        if environment.is_production() {
            config.password.refuse_weak(reader);
        }
        config
    }
}

impl PasswordConfig {
    fn refuse_weak(&self, reader: &mut Reader) {
        if self.memory_kib < LEAST_MEMORY_KIB {
            reader.mistake(
                "auth.password.memory_kib",
                format_args!("must be at least {LEAST_MEMORY_KIB} in production"),
            );
        }
        if self.iterations < LEAST_ITERATIONS {
            reader.mistake(
                "auth.password.iterations",
                format_args!("must be at least {LEAST_ITERATIONS} in production"),
            );
        }
    }
}
