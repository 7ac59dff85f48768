//! The data sources behind the metered API: what can be asked, how it is asked, and what is kept of the answers.
//!
//! [`Sources`] is the only thing a handler talks to. It knows every [`Source`] by name, refuses what cannot be asked,
//! keeps answers for a while, bounds how many questions are under way, and remembers how each source is doing:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use hm_metering::Clock;
//! # use hm_server::sources::{Sources, SourcesConfig};
//! # async fn ask(clock: Arc<dyn Clock>) -> Result<(), Box<dyn std::error::Error>> {
//! let sources = Sources::new(&SourcesConfig::default(), clock)?;
//! match sources.answer("wiki", Some("tardigrade"), None).await {
//!     Ok(answer) => println!("{}", serde_json::to_string(&answer)?),
//!     Err(error) => println!("{} {}: {error}", error.status(), error.code()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `wiki`, `arxiv`, `news` and `weather` are live: each is one public HTTP service whose base URL and time limit are
//! settings. `curiosity` is built in and answers without a network. Another source is added by implementing
//! [`Source`] and handing it to [`Sources::with`].
//!
//! # Security
//!
//! An upstream is not trusted. Redirects are not followed, bodies are bounded while they arrive, entities of XML
//! documents are never expanded, links that are not `http` or `https` are dropped, and every text is cut to a
//! length. Texts are plain text, so whoever puts one into a page has to escape it.

mod answer;
mod arxiv;
mod ask;
mod atom;
mod cache;
mod config;
mod curiosity;
mod error;
mod health;
mod news;
mod registry;
mod text;
mod upstream;
mod weather;
mod wiki;

use std::time::Duration;

use async_trait::async_trait;

pub use self::answer::{Answer, Conditions, Details, Item};
pub use self::ask::{Ask, LIMIT_DEFAULT, LIMIT_MAX, QUERY_CHARS_MAX, Query};
pub use self::config::{ArxivConfig, NewsConfig, SourceSetupError, SourcesConfig, WeatherConfig, WikiConfig};
pub use self::curiosity::Curiosity;
pub use self::error::{QueryFault, SourceError};
pub use self::health::{Health, SourceStatus};
pub use self::registry::Sources;

/// Where the answers of a source come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Part of the program: answers at once, cannot fail, is neither cached nor bounded.
    BuiltIn,
    /// Asks another service over the network.
    Live {
        /// How long one question may take in all, connecting and reading included.
        time_limit: Duration,
    },
}

/// Something that can be asked for items.
///
/// Implementations hold no state of their own about their health or past answers: [`Sources`] does that for all.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The name it is asked by, in lower case; unique among the sources of one server.
    fn name(&self) -> &'static str;

    /// Where its answers come from.
    fn reach(&self) -> Reach;

    /// Whether it can be asked without a query.
    fn answers_without_query(&self) -> bool {
        false
    }

    /// Looks for at most [`Ask::limit`] items, best first. Nothing found is an empty list.
    ///
    /// `ask` carries a query unless [`Self::answers_without_query`] says that none is needed.
    ///
    /// # Errors
    ///
    /// [`SourceError::Upstream`] and [`SourceError::BadAnswer`] when the other service fails, and
    /// [`SourceError::InvalidQuery`] when this source has no use for the query. The time limit is kept by the caller.
    ///
    /// # Cancellation
    ///
    /// The future may be dropped at any await, which gives up the question and leaves nothing behind.
    async fn search(&self, ask: &Ask) -> Result<Vec<Item>, SourceError>;
}
