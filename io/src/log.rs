//! What is written to stderr: few lines, each of them meant for somebody.
//!
//! Text on a terminal, else one JSON object a line. A place in the code may write 5 lines in 10 s, then
//! one a minute that says how many were left out; the process writes at most 50 lines a second. Text from
//! outside is escaped, so that nobody can write a line of their own.
//!
//! Absent on purpose: files, rotation, spans. Hot paths count and do not write.

mod announced;
mod limit;

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex};

use quorate_core::machine::{Count, Counted, Labels};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::reload;
use tracing_subscriber::{EnvFilter, Registry};

use crate::clock;
use crate::traffic::Number;

pub use announced::follow;
use limit::{Limit, Verdict};

/// What is written unless something else is asked for.
pub const FILTER_DEFAULT: &str = "info";

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Format {
    /// Text if somebody watches.
    pub fn of_stderr() -> Format {
        if std::io::stderr().is_terminal() { Format::Text } else { Format::Json }
    }
}

/// The log of a process: what it counts, and its filter.
#[derive(Debug, Clone)]
pub struct Log {
    lines: Arc<Lines>,
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Why a filter was not taken.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no log filter: {why}")]
pub struct FilterError {
    text: String,
    why: String,
}

impl Log {
    /// Sets up the log of the whole process, once. `node` is part of every line.
    pub fn install(node: &str, filter: &str, format: Format) -> Result<Log, FilterError> {
        let (log, subscriber) = Log::new(node, filter, format, Box::new(std::io::stderr()))?;
        // A second log in one process (tests) keeps the first.
        let _ = tracing::subscriber::set_global_default(subscriber);
        Ok(log)
    }

    /// Changes the filter.
    pub fn set_filter(&self, filter: &str) -> Result<(), FilterError> {
        let parsed = parse(filter)?;
        let refused =
            |why: reload::Error| FilterError { text: filter.into(), why: why.to_string() };
        self.filter.reload(parsed).map_err(refused)
    }

    fn new(
        node: &str,
        filter: &str,
        format: Format,
        out: Box<dyn std::io::Write + Send>,
    ) -> Result<(Log, impl Subscriber + Send + Sync), FilterError> {
        let (filter, handle) = reload::Layer::new(parse(filter)?);
        let lines = Arc::new(Lines::default());
        let writer = Writer {
            node: node.to_owned(),
            format,
            limit: Mutex::default(),
            out: Mutex::new(out),
            lines: lines.clone(),
        };
        let subscriber = Registry::default().with(filter).with(writer);
        Ok((Log { lines, filter: handle }, subscriber))
    }
}

fn parse(filter: &str) -> Result<EnvFilter, FilterError> {
    let parsed = EnvFilter::builder().parse(filter);
    parsed.map_err(|error| FilterError { text: filter.to_owned(), why: error.to_string() })
}

#[derive(Debug, Default)]
struct Lines {
    written: [Number; LEVELS.len()],
    suppressed: Number,
}

const LEVELS: [(Level, &str); 5] = [
    (Level::ERROR, "error"),
    (Level::WARN, "warn"),
    (Level::INFO, "info"),
    (Level::DEBUG, "debug"),
    (Level::TRACE, "trace"),
];

impl Counted for Log {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        for ((_, level), written) in LEVELS.iter().zip(&self.lines.written) {
            let labels = Labels::One("level", level);
            visit(Count { name: "log_lines_total", labels, value: written.get() });
        }
        let value = self.lines.suppressed.get();
        visit(Count { name: "log_suppressed_total", labels: Labels::None, value });
    }
}

struct Writer {
    node: String,
    format: Format,
    limit: Mutex<Limit>,
    out: Mutex<Box<dyn std::io::Write + Send>>,
    lines: Arc<Lines>,
}

impl<S: Subscriber> Layer<S> for Writer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let place = event.metadata().callsite();
        let verdict = self.limit.lock().expect("a limit never panics").ask(place, clock::now());
        let suppressed = match verdict {
            Verdict::Write { suppressed } => suppressed,
            Verdict::Suppress => {
                self.lines.suppressed.add(1);
                return;
            }
        };
        let line = self.line(event, suppressed);
        let level = LEVELS.iter().position(|(level, _)| level == event.metadata().level());
        if let Some(written) = level.and_then(|level| self.lines.written.get(level)) {
            written.add(1);
        }
        // One write a line, so that lines of threads do not mix. With stderr closed nobody is told.
        let _ = self.out.lock().expect("writing never panics").write_all(line.as_bytes());
    }
}

impl Writer {
    fn line(&self, event: &Event<'_>, suppressed: u64) -> String {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if suppressed > 0 {
            fields.others.push(("suppressed", serde_json::Value::from(suppressed)));
        }
        let time = clock::rfc3339(clock::wall());
        let (level, target) = (event.metadata().level(), event.metadata().target());
        match self.format {
            Format::Text => {
                let mut line = format!("{time} {level:>5} {}", escaped(&fields.message));
                for (name, value) in &fields.others {
                    let _ = write!(line, " {name}={value}"); // Writing to a string cannot fail.
                }
                line.push('\n');
                line
            }
            Format::Json => {
                let mut line = serde_json::Map::new();
                line.insert("ts".into(), time.into());
                line.insert("level".into(), level.to_string().to_lowercase().into());
                line.insert("target".into(), target.into());
                line.insert("message".into(), fields.message.into());
                line.insert("node_id".into(), self.node.clone().into());
                for (name, value) in fields.others {
                    line.entry(name).or_insert(value);
                }
                format!("{}\n", serde_json::Value::Object(line))
            }
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, serde_json::Value)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.others.push((field.name(), value.into()));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.push((field.name(), value.into()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// `text` without anything that could end a line or speak to a terminal.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

#[cfg(test)]
mod tests;
