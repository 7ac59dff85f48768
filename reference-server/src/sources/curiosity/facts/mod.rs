//! The facts.

mod culture;
mod nature;

/// One curious fact.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact {
    /// The field of knowledge, in one word.
    pub(super) topic: &'static str,
    /// The fact in a line; unique.
    pub(super) title: &'static str,
    /// What is behind it, in a sentence or two.
    pub(super) text: &'static str,
}

/// All facts, those of one topic together.
pub(super) fn all() -> Vec<Fact> {
    [nature::NATURE, culture::CULTURE].concat()
}

const fn fact(topic: &'static str, title: &'static str, text: &'static str) -> Fact {
    Fact { topic, title, text }
}
