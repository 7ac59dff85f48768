//! Paging through lists by cursor.

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items at most. Stores give between one and [`PageRequest::MAX`].
    pub limit: usize,
    /// Where the page before ended: its [`Page::next`]. None for the first page.
    pub cursor: Option<String>,
}

impl PageRequest {
    /// The most items that one page has.
    pub const MAX: usize = 1_000;

    /// The first `limit` items.
    #[must_use]
    pub const fn first(limit: usize) -> Self {
        Self { limit, cursor: None }
    }

    /// How many items a store gives for this request.
    #[must_use]
    pub fn clamped_limit(&self) -> usize {
        self.limit.clamp(1, Self::MAX)
    }
}

/// A part of a list. Items that arrive while a caller pages through are seen or not; none that were there at the
/// start and stay are left out or given twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// The cursor of the next page; none when this is the last. Its text means nothing outside its store.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The page with each item changed by `change`.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            next: self.next,
        }
    }
}
