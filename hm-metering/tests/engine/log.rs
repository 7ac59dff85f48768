//! What the engine tells `tracing`, kept for the test that runs on this thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// An event or a span.
#[derive(Clone, Debug)]
pub struct Line {
    /// The message of an event, the name of a span.
    pub what: String,
    pub level: Level,
    pub fields: BTreeMap<&'static str, String>,
}

impl Line {
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("(missing)", String::as_str)
    }
}

/// What was heard, in the order in which it came.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub events: Vec<Line>,
    pub spans: Vec<Line>,
}

impl Heard {
    pub fn events_of(&self, message: &str) -> Vec<Line> {
        of(&self.events, message)
    }

    pub fn spans_of(&self, name: &str) -> Vec<Line> {
        of(&self.spans, name)
    }

    /// Whether any line, with all of its fields, has this text.
    pub fn has(&self, text: &str) -> bool {
        format!("{self:?}").contains(text)
    }
}

fn of(lines: &[Line], what: &str) -> Vec<Line> {
    lines.iter().filter(|line| line.what == what).cloned().collect()
}

thread_local! {
    static HEARD: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

/// Listens on this thread from now on. A test whose runtime has one thread hears itself and nobody else.
pub fn listen() {
    // One subscriber for the process: what is first reached on a thread without one would stay mute for ever.
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| tracing::subscriber::set_global_default(ToThread(AtomicU64::new(1))).unwrap());
    HEARD.set(Some(Heard::default()));
}

/// What was heard on this thread since [`listen`].
pub fn heard() -> Heard {
    HEARD.with_borrow(|heard| heard.clone().unwrap())
}

struct ToThread(AtomicU64);

impl Subscriber for ToThread {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("hm_metering") && HEARD.with_borrow(Option::is_some)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut reader = Reader::default();
        span.record(&mut reader);
        let metadata = span.metadata();
        let line = reader.line(metadata.name().to_owned(), *metadata.level());
        HEARD.with_borrow_mut(|heard| heard.as_mut().map(|heard| heard.spans.push(line)));
        Id::from_u64(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut reader = Reader::default();
        event.record(&mut reader);
        let message = reader.0.remove("message").unwrap_or_default();
        let line = reader.line(message, *event.metadata().level());
        HEARD.with_borrow_mut(|heard| heard.as_mut().map(|heard| heard.events.push(line)));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Reader(BTreeMap<&'static str, String>);

impl Reader {
    fn line(self, what: String, level: Level) -> Line {
        Line {
            what,
            level,
            fields: self.0,
        }
    }
}

impl Visit for Reader {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
