//! Which headers tell callers about their limits.

/// Which limit headers answers carry; chosen by [`MeterBuilder::headers`](crate::MeterBuilder::headers).
///
/// Two families can be sent side by side. `X-RateLimit-Limit`, `-Used`, `-Remaining` and `-Reset` are what most APIs
/// send; nobody ever specified them, and what `-Reset` means differs from API to API: see [`ResetFormat`]. `RateLimit`
/// and `RateLimit-Policy` are an IETF draft whose syntax changed twice: see [`HeaderDraft`].
///
/// The default is `X-RateLimit-*` with dates, and the latest draft.
///
/// ```
/// use hm_metering::{HeaderDraft, HeaderStyle, ResetFormat};
///
/// // What GitHub's callers expect, and no draft.
/// let style = HeaderStyle::NONE.with_classic(ResetFormat::EpochSeconds);
/// // Old clients of the draft's sixth revision.
/// let style = HeaderStyle::default().with_draft(HeaderDraft::V6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeaderStyle {
    classic: Option<ResetFormat>,
    draft: Option<HeaderDraft>,
}

/// What `X-RateLimit-Reset` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResetFormat {
    /// The day on which the next period begins, in UTC: `2026-12-25`. Too coarse for periods shorter than a day.
    Date,
    /// The second in which the next period begins, counted from 1970: `1798156800`. As GitHub and Discord do.
    EpochSeconds,
    /// The seconds until the next period begins, rounded up: `1036800`. As Reddit does.
    DeltaSeconds,
}

/// A revision of draft-ietf-httpapi-ratelimit-headers, by the last one that wrote it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderDraft {
    /// Revisions up to 06: `RateLimit-Limit: 100`, `RateLimit-Remaining: 50`, `RateLimit-Reset: 5`, and
    /// `RateLimit-Policy: 100;w=60`.
    V6,
    /// Revision 07: `RateLimit: limit=100, remaining=50, reset=5` and `RateLimit-Policy: 100;w=60`.
    V7,
    /// Revisions 08 to 11: `RateLimit: "minute";r=50;t=5` and `RateLimit-Policy: "minute";q=100;w=60`.
    V8,
}

impl HeaderStyle {
    /// No limit headers at all. `Retry-After` is sent all the same.
    pub const NONE: Self = Self {
        classic: None,
        draft: None,
    };

    /// Sends `X-RateLimit-*`, with the reset written like this.
    #[must_use]
    pub const fn with_classic(mut self, reset: ResetFormat) -> Self {
        self.classic = Some(reset);
        self
    }

    /// Leaves `X-RateLimit-*` out.
    #[must_use]
    pub const fn without_classic(mut self) -> Self {
        self.classic = None;
        self
    }

    /// Sends the draft's headers as this revision writes them.
    #[must_use]
    pub const fn with_draft(mut self, draft: HeaderDraft) -> Self {
        self.draft = Some(draft);
        self
    }

    /// Leaves the draft's headers out.
    #[must_use]
    pub const fn without_draft(mut self) -> Self {
        self.draft = None;
        self
    }

    /// How `X-RateLimit-Reset` is written; none when `X-RateLimit-*` are left out.
    #[must_use]
    pub const fn classic(&self) -> Option<ResetFormat> {
        self.classic
    }

    /// The draft's revision; none when its headers are left out.
    #[must_use]
    pub const fn draft(&self) -> Option<HeaderDraft> {
        self.draft
    }
}

impl Default for HeaderStyle {
    fn default() -> Self {
        Self {
            classic: Some(ResetFormat::Date),
            draft: Some(HeaderDraft::V8),
        }
    }
}
