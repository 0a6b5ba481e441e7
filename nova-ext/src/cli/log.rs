//! Log lines to standard error: time, level, what, and the fields, which name the incident.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::stamp::Stamp;

/// What says how much is logged: a level.
pub(super) const VARIABLE: &str = "NOVA_HA_LOG";

/// From now on, what is logged is printed.
pub(super) fn begin() {
    let most = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(Level::INFO);
    // Fails only if somebody else prints it already.
    let _ = tracing::subscriber::set_global_default(Lines { most });
}

struct Lines {
    most: Level,
}

impl Subscriber for Lines {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        *about.level() <= self.most && about.target().starts_with("nova_ext")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let text: String = format!("{} {level}: {}{}", Stamp::now(), line.message, line.fields)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        // Nobody to tell if this fails.
        let _ = writeln!(io::stderr(), "{text}");
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // No errors: into strings.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}
