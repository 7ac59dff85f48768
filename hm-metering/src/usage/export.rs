//! All events of a query, a page at a time.

use std::fmt;
use std::sync::Arc;

use super::{Event, UsageQuery, UsageStore};
use crate::error::StoreResult;
use crate::page::PageRequest;

/// Reads all events of a query, newest first, a page at a time: memory and each question to the store are bounded,
/// however many events there are.
///
/// Events that arrive in the meantime are seen where they are older than what was read last. When a page fails it can be
/// asked for again.
pub struct Export {
    store: Arc<dyn UsageStore>,
    query: UsageQuery,
    page: Option<PageRequest>,
}

impl Export {
    /// Of the events of `query` in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn UsageStore>, query: UsageQuery) -> Self {
        Self {
            store,
            query,
            page: Some(PageRequest::first(PageRequest::MAX)),
        }
    }

    /// The next events; none when all were read. At most [`PageRequest::MAX`] at a time.
    ///
    /// # Errors
    /// When the store can't tell. Then nothing was passed over. Dropping the future passes nothing over either.
    pub async fn next(&mut self) -> StoreResult<Option<Vec<Event>>> {
        let Some(request) = &self.page else {
            return Ok(None);
        };
        let page = self.store.recent(&self.query, request).await?;
        self.page = page.next.map(|cursor| PageRequest {
            limit: PageRequest::MAX,
            cursor: Some(cursor),
        });
        Ok((!page.items.is_empty()).then_some(page.items))
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("query", &self.query)
            .field("done", &self.page.is_none())
            .finish_non_exhaustive()
    }
}
