//! What a source is asked.

use chrono::NaiveDate;

use super::error::{QueryFault, SourceError};

/// The most characters a query may have.
pub const QUERY_CHARS_MAX: usize = 256;
/// The most items one answer may be asked for.
pub const LIMIT_MAX: u32 = 25;
/// How many items an answer has at most when the caller does not say.
pub const LIMIT_DEFAULT: u32 = 10;

/// A query fit to be asked: trimmed, not empty, at most [`QUERY_CHARS_MAX`] characters, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query(String);

impl Query {
    /// Checks a query as the caller wrote it.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, QueryFault> {
        let text = text.trim();
        if text.is_empty() {
            return Err(QueryFault::Empty);
        }
        // A character has at most four bytes, so a huge text is refused without being walked through.
        if text.len() > QUERY_CHARS_MAX * 4 || text.chars().count() > QUERY_CHARS_MAX {
            return Err(QueryFault::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(QueryFault::ControlCharacter);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One question to a source.
#[derive(Clone, Debug)]
pub struct Ask {
    query: Option<Query>,
    limit: u32,
    today: NaiveDate,
}

impl Ask {
    /// Checks a question as the caller put it; `today` is the day on which it is asked.
    ///
    /// # Errors
    ///
    /// [`SourceError::InvalidQuery`] or [`SourceError::InvalidLimit`].
    pub fn parse(query: Option<&str>, limit: Option<u32>, today: NaiveDate) -> Result<Self, SourceError> {
        let query = query.map(Query::parse).transpose()?;
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(SourceError::InvalidLimit);
        }
        Ok(Self { query, limit, today })
    }

    /// What to look for, if anything.
    #[must_use]
    pub fn query(&self) -> Option<&Query> {
        self.query.as_ref()
    }

    /// The text to look for, for a source that has use for nothing else.
    ///
    /// # Errors
    ///
    /// [`QueryFault::Missing`].
    pub fn text(&self) -> Result<&str, QueryFault> {
        self.query.as_ref().map(Query::as_str).ok_or(QueryFault::Missing)
    }

    /// How many items to give at most: 1 to [`LIMIT_MAX`].
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// [`Self::limit`] as a length.
    #[must_use]
    pub fn limit_len(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }

    /// The day on which it is asked, in UTC.
    #[must_use]
    pub fn today(&self) -> NaiveDate {
        self.today
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_trimmed() {
        assert_eq!(Query::parse("  red panda ").unwrap().as_str(), "red panda");
    }

    #[test]
    fn a_query_that_cannot_be_asked_is_refused() {
        assert_eq!(Query::parse(" \u{a0}\t"), Err(QueryFault::Empty));
        assert_eq!(Query::parse("a\nb"), Err(QueryFault::ControlCharacter));
        assert_eq!(Query::parse("a\0b"), Err(QueryFault::ControlCharacter));
        assert_eq!(Query::parse(&"é".repeat(257)), Err(QueryFault::TooLong));
        assert_eq!(Query::parse(&"x".repeat(1_000_000)), Err(QueryFault::TooLong));
    }

    #[test]
    fn a_query_may_have_256_characters_of_any_script() {
        assert!(Query::parse(&"語".repeat(256)).is_ok());
        assert!(Query::parse(&"🦀".repeat(256)).is_ok());
    }

    #[test]
    fn a_limit_outside_its_range_is_refused() {
        let today = NaiveDate::default();
        assert_eq!(Ask::parse(None, None, today).unwrap().limit(), LIMIT_DEFAULT);
        assert_eq!(
            Ask::parse(None, Some(LIMIT_MAX), today).unwrap().limit(),
            LIMIT_MAX
        );
        for limit in [0, LIMIT_MAX + 1, u32::MAX] {
            assert!(matches!(
                Ask::parse(None, Some(limit), today),
                Err(SourceError::InvalidLimit)
            ));
        }
    }
}
