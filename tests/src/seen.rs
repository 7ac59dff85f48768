//! What the clients of an account saw of it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::load::{Shots, fire};
use crate::people::{Key, Person};
use crate::server::Server;
use crate::wait::until;

/// Requests that share a quota, as far as their clients know of them.
#[derive(Debug, Default)]
pub struct Seen {
    /// The names of all.
    pub sent: BTreeSet<String>,
    /// The names of those that were served, or refused because the quota is used up.
    pub answered: BTreeSet<String>,
    /// How many were served.
    pub admitted: usize,
}

impl Seen {
    /// Adds a load.
    ///
    /// # Panics
    ///
    /// When one was answered otherwise than with 200, 429 `quota_exceeded` or 503 `temporarily_unavailable`.
    pub fn add(&mut self, shots: &Shots) {
        for shot in &shots.0 {
            self.sent.insert(shot.request_id.clone());
            match &shot.answer {
                None => continue,
                Some(answer) if answer.status == 200 => self.admitted += 1,
                // Said while the database is away, or so busy that a request waited for too long; served to nobody, and not
                // always recorded.
                Some(answer) if answer.status == 503 => {
                    answer.problem(503, "temporarily_unavailable");
                    continue;
                }
                Some(answer) => {
                    answer.problem(429, "quota_exceeded");
                }
            }
            self.answered.insert(shot.request_id.clone());
        }
    }

    /// Spends what is left of the quota, to the last unit: also what others had leased, and didn't spend before they ended.
    ///
    /// # Panics
    ///
    /// When it can't be spent within two minutes, or more was served than the quota has.
    pub async fn use_up(&mut self, server: &Server, person: &Person, key: &Key, quota: usize) {
        key.keep_secret(server);
        let mut portion = 0;
        until("the whole quota is used", Duration::from_secs(120), async || {
            portion += 1;
            let name = format!("{}-rest-{portion}", person.email);
            self.add(&fire(server.address(), &key.text, 100, &name).await);
            (person.usage(server).await["used"] == quota).then_some(())
        })
        .await;
        let admitted = self.admitted;
        assert!(admitted <= quota, "{admitted} served, more than {quota}");
    }
}
