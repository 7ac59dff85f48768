//! Comparing things fairly: in one process, in rounds, in alternating order.
//!
//! A machine gets faster and slower while a program runs. What is compared is therefore measured in the same round, one
//! after the other, in every second round in the opposite order; differences and ratios are taken within a round, and the
//! median of the rounds is shown, with the least and the greatest.

use std::time::Duration;

/// How many requests are made ready, and then measured, at a time: few enough to stay in a processor's cache as a request
/// does that has just been read.
pub const GROUP: usize = 64;

/// One of the things that are compared.
pub trait Contestant {
    /// What it does, one line of the table for each stage.
    fn stages(&self) -> Vec<String>;

    /// Does it once for each number in `keys`, and adds the time that each stage took.
    fn run(&mut self, keys: &[u32], spent: &mut [Duration]);

    /// What must not count: called after each run.
    fn rest(&mut self) {}

    /// How many requests so far could not be answered at once.
    fn waited(&self) -> usize {
        0
    }
}

/// What was measured: nanoseconds for one request, by stage and round.
#[derive(Debug, Default)]
pub struct Measured {
    stages: Vec<(String, Vec<f64>)>,
    /// The share of requests that waited, by the first stage of who made them.
    waited: Vec<(String, f64)>,
}

impl Measured {
    /// The rounds of a stage.
    ///
    /// # Panics
    /// When there is no such stage.
    #[must_use]
    pub fn of(&self, stage: &str) -> Rounds {
        let found = self.stages.iter().find(|(name, _)| name == stage);
        Rounds(found.unwrap_or_else(|| panic!("no stage {stage:?}")).1.clone())
    }

    /// Which share of the requests had to wait, by the first stage of who made them.
    ///
    /// # Panics
    /// When there is no such stage.
    #[must_use]
    pub fn waited(&self, stage: &str) -> f64 {
        let found = self.waited.iter().find(|(name, _)| name == stage);
        found.unwrap_or_else(|| panic!("no stage {stage:?}")).1
    }

    /// All stages in the order of the contestants.
    pub fn stages(&self) -> impl Iterator<Item = (&str, Rounds)> {
        self.stages
            .iter()
            .map(|(name, rounds)| (name.as_str(), Rounds(rounds.clone())))
    }
}

/// One number from each round.
#[derive(Clone, Debug)]
pub struct Rounds(Vec<f64>);

impl Rounds {
    /// What is left of each round's number without the other's.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.with(other, |own, other| own - other)
    }

    /// The sum in each round.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, |own, other| own + other)
    }

    /// The ratio in each round.
    #[must_use]
    pub fn per(&self, other: &Self) -> Self {
        self.with(other, |own, other| own / other)
    }

    /// The middle one.
    #[must_use]
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        }
    }

    /// The least one.
    #[must_use]
    pub fn least(&self) -> f64 {
        self.sorted()[0]
    }

    /// The greatest one.
    #[must_use]
    pub fn greatest(&self) -> f64 {
        self.sorted()[self.0.len() - 1]
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn with(&self, other: &Self, of: impl Fn(f64, f64) -> f64) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(own, other)| of(*own, *other))
                .collect(),
        )
    }
}

/// Measures all contestants in `rounds` rounds. In each, everyone gets the same keys twice: once to be warm, once to be
/// measured. `sequence` is used in as many parts as there are rounds; before, `all` makes every key known.
///
/// # Panics
/// When the sequence is shorter than the number of rounds.
#[must_use]
pub fn compare(
    contestants: &mut [Box<dyn Contestant + '_>],
    all: &[u32],
    sequence: &[u32],
    rounds: usize,
) -> Measured {
    let mut measured = Measured::default();
    let mut offsets = Vec::new();
    for contestant in contestants.iter_mut() {
        contestant.run(all, &mut vec![Duration::ZERO; contestant.stages().len()]);
        contestant.rest();
        offsets.push(measured.stages.len());
        let stages = contestant.stages();
        measured.waited.push((stages[0].clone(), 0.0));
        measured
            .stages
            .extend(stages.into_iter().map(|stage| (stage, Vec::new())));
    }
    let part = sequence.len() / rounds;
    assert!(part > 0, "a round needs keys");
    for (round, keys) in sequence.chunks_exact(part).take(rounds).enumerate() {
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for number in order {
            let contestant = &mut contestants[number];
            let stages = contestant.stages().len();
            contestant.run(keys, &mut vec![Duration::ZERO; stages]);
            contestant.rest();
            let mut spent = vec![Duration::ZERO; stages];
            let waited_before = contestant.waited();
            contestant.run(keys, &mut spent);
            let waited = (contestant.waited() - waited_before) as f64;
            measured.waited[number].1 += waited / (part * rounds) as f64;
            contestant.rest();
            for (stage, spent) in spent.iter().enumerate() {
                let each = spent.as_secs_f64() * 1e9 / part as f64;
                measured.stages[offsets[number] + stage].1.push(each);
            }
        }
    }
    measured
}
