//! Whatever is logged of a connection, at whatever level, its password is not.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hm_metering_seaorm::{Options, SeaOrmStore};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Takes note of every field of every span and event.
#[derive(Clone, Debug, Default)]
pub struct Everything(Arc<Mutex<String>>);

impl Everything {
    pub fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl Visit for &Everything {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        writeln!(self.0.lock().unwrap(), "span {}", span.metadata().name()).unwrap();
        span.record(&mut &*self);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut &*self);
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut &*self);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_password_is_in_no_span_and_no_event_of_connecting() {
    let logged = Everything::default();
    let _here = tracing::subscriber::set_default(logged.clone());
    let options = Options {
        connect_timeout: Duration::from_millis(100),
        log_statements: true,
        ..Options::default()
    };
    tracing::trace!(control = "seen", "this is taken note of");
    for url in [
        "postgres://user:hunter2@127.0.0.1:1/db",
        "mysql://user:hunter2@127.0.0.1:1/db",
        "sqlite::memory:?hunter2",
    ] {
        // Whether it can be reached or not.
        drop(SeaOrmStore::connect_with(url, &options).await);
    }
    let logged = logged.text();
    assert!(logged.contains("control=\"seen\""), "{logged}");
    assert!(!logged.contains("hunter2"), "{logged}");
}
