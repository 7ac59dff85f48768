//! Reserving what a handler says that its request takes beyond what was taken at the door.

use std::sync::Arc;

use super::ATTEMPTS;
use super::admitted::Admitted;
use super::hold::Hold;
use super::said::Words;
use super::undecided::Question;
use crate::charge_rule::Overrun;
use crate::name::MeterName;
use crate::quota::{Answer, nanos};
use crate::units::Units;

impl Admitted {
    /// Changes what the request takes of `meter`, and reserves what is missing.
    pub(super) fn charge(&self, meter: &MeterName, change: impl FnOnce(Units) -> Units) {
        self.said.change(|words| {
            let said = words.tally.change(meter, change);
            let Some((before, total)) = said else { return };
            // The account's quota, and one of the key's own.
            for (place, hold) in self.holds.iter().enumerate() {
                if hold.meter() == meter && !self.said.is_stopped() {
                    self.reserve(words, place, before, total);
                }
            }
        });
    }

    /// Takes from the lease what a hold lacks of `total`, or puts back what is too much. `before` is what was said of it when
    /// something was last handed over.
    fn reserve(&self, words: &mut Words, place: usize, before: Units, total: Units) {
        let hold = &self.holds[place];
        let Some(limit) = hold.lease_limit() else { return };
        words.extra.resize(self.holds.len(), Units::ZERO);
        let extra = &mut words.extra[place];
        let window = hold.lease.window();
        let reserved = hold.units.plus(*extra);
        let too_much = reserved.minus(total).min(*extra);
        if !too_much.is_zero() {
            window.put_back(too_much);
            *extra = extra.minus(too_much);
        }
        let missing = total.minus(reserved);
        if missing.is_zero() {
            words.has_enough(place);
            return;
        }
        let now = nanos(self.engine.clock.monotonic());
        let (taken, is_low) = window.take_some(missing, now);
        *extra = extra.plus(taken);
        let lacks = missing.minus(taken);
        if lacks.is_zero() {
            words.has_enough(place);
        }
        if !is_low {
            return;
        }
        // As far as is known; so it is decided at the door too.
        let left = hold.limit.unwrap_or(limit).minus(window.taken_by_all());
        let is_wanted =
            lacks <= left || (self.request.operation.on_overrun() == Overrun::Cap && !left.is_zero());
        if is_wanted && window.may_have_more(limit, now) {
            if let Some(book) = &self.engine.book {
                // What is said once will most likely be said again.
                book.start_renewal(&hold.lease, Some(limit), missing.min(left));
            }
            if !lacks.is_zero() && self.waits_for(hold) {
                words.has_too_little(place, before);
            }
        } else {
            let before = words.has_enough(place).unwrap_or(before);
            self.give_up(words, place, before, total);
        }
    }

    /// What a hold lacks of `total` can't be had.
    fn give_up(&self, words: &mut Words, place: usize, before: Units, total: Units) {
        let hold = &self.holds[place];
        let extra = &mut words.extra[place];
        let reserved = hold.units.plus(*extra);
        if reserved >= total || self.request.operation.on_overrun() != Overrun::Reject || hold.never_refuses()
        {
            return;
        }
        // What was said last is about what will not be handed over any more.
        let unsent = reserved.minus(before).min(*extra);
        hold.lease.window().put_back(unsent);
        *extra = extra.minus(unsent);
        words.refused = Some((place, total));
        self.said.stop();
    }

    /// Whether the response waits until a hold has got what it lacks. One that is charged beyond its lease need not, and one
    /// that is served although the store can't answer must not.
    fn waits_for(&self, hold: &Hold) -> bool {
        self.request.operation.on_overrun() != Overrun::Overflow
            && !hold.never_refuses()
            && hold.beyond.is_none()
    }

    /// Waits until everything that was said is reserved, or can't be. A store that does not answer is waited for as long as at
    /// the door.
    pub(super) async fn reserve_all(self: Arc<Self>) {
        let began = self.engine.clock.monotonic();
        for _ in 0..ATTEMPTS {
            let Some(question) = self.said.so_far(|words| self.next_question(words)).flatten() else {
                return;
            };
            let waited = self.engine.clock.monotonic().saturating_sub(began);
            let at_most = self.engine.wait_at_most.saturating_sub(waited);
            if self.engine.ask(&question, at_most).await == Answer::Failed {
                break;
            }
            self.said.change(|words| {
                for (place, before) in words.lacking.clone() {
                    let total = words.total_of(self.holds[place].meter());
                    self.reserve(words, place, before, total);
                }
            });
        }
        self.said.change(|words| {
            for (place, before) in std::mem::take(&mut words.lacking) {
                let total = words.total_of(self.holds[place].meter());
                self.give_up(words, place, before, total);
            }
        });
    }

    /// What the store has to be asked for the first hold that lacks something.
    fn next_question(&self, words: &Words) -> Option<Question> {
        let (place, _) = *words.lacking.first()?;
        let hold = &self.holds[place];
        let limit = hold.lease_limit()?;
        let reserved = hold
            .units
            .plus(words.extra.get(place).copied().unwrap_or_default());
        let lacks = words.total_of(hold.meter()).minus(reserved);
        let left = hold
            .limit
            .unwrap_or(limit)
            .minus(hold.lease.window().taken_by_all());
        Some(Question {
            lease: Arc::clone(&hold.lease),
            limit: Some(limit),
            need: lacks.min(left),
        })
    }
}

impl Words {
    fn total_of(&self, meter: &MeterName) -> Units {
        let said = self.tally.meters.iter().find(|(has, _)| has == meter);
        said.map_or(Units::ZERO, |(_, units)| *units)
    }

    /// More is leased for a hold. What was said before the first time counts: nothing is handed over meanwhile.
    fn has_too_little(&mut self, place: usize, before: Units) {
        if !self.lacking.iter().any(|(at, _)| *at == place) {
            self.lacking.push((place, before));
        }
    }

    /// Nothing more is leased for a hold. Answers what was said before it had too little, if it had.
    fn has_enough(&mut self, place: usize) -> Option<Units> {
        let at = self.lacking.iter().position(|(at, _)| *at == place)?;
        Some(self.lacking.remove(at).1)
    }
}
