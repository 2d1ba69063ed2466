//! Where values come from: file, environment, flags; each value with its place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::catalogue::{self, Key, Kind};

/// The largest configuration file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The prefix of variables that set keys.
const VARIABLE_PREFIX: &str = "QUORATE__";

/// What a process was given.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`, or `QUORATE_CONFIG`; without one the usual places are looked at.
    pub file: Option<PathBuf>,
    /// The environment's variables.
    pub environment: BTreeMap<String, String>,
    /// `--set key=value`, in order.
    pub flags: Vec<String>,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it is the default.
    Default,
    /// In a file, at a line and column from 1.
    File(PathBuf, usize, usize),
    /// In a variable.
    Environment(String),
    /// In a flag.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Default => f.write_str("default"),
            Place::File(path, line, column) => write!(f, "{}:{line}:{column}", path.display()),
            Place::Environment(name) => write!(f, "environment {name}"),
            Place::Flag(text) => write!(f, "flag --set {text}"),
        }
    }
}

/// The value of a key that won, and those it won over.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its value.
    pub value: Value,
    /// Where it was written.
    pub place: Place,
    /// What it overrules, the nearest first.
    pub overruled: Vec<(Value, Place)>,
}

/// All layers merged: one row per key that was written anywhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layers {
    /// By key.
    pub rows: BTreeMap<String, Row>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
}

impl Layers {
    /// Reads all layers. What cannot be read is a problem, and the rest is read on.
    pub fn read(sources: &Sources, problems: &mut Vec<Problem>) -> Layers {
        let mut layers = Layers { file: chosen_file(sources), ..Layers::default() };
        if let Some(path) = layers.file.clone() {
            layers.read_file(&path, problems);
        }
        for (name, text) in &sources.environment {
            if let Some(path) = name.strip_prefix(VARIABLE_PREFIX) {
                let path = path.replace("__", ".").to_lowercase();
                layers.add(path, parsed(text), Place::Environment(name.clone()), problems);
            }
        }
        for flag in &sources.flags {
            let place = Place::Flag(flag.clone());
            match flag.split_once('=') {
                Some((path, text)) => layers.add(path.to_owned(), parsed(text), place, problems),
                None => problems.push(Problem {
                    code: "flag_malformed",
                    message: format!("`--set {flag}` has no `=`"),
                    place,
                    help: Some("write --set key=value".to_owned()),
                }),
            }
        }
        layers
    }

    /// What each key says that takes effect at a start alone, and is no number of a protocol; written as here or as
    /// its default.
    pub fn fixed(&self) -> BTreeMap<&'static str, String> {
        let fixed = |key: &Key| !key.live && !matches!(key.kind, Kind::Number(_));
        let said = |key: &Key| match self.get(key.path) {
            Some(row) => row.value.to_string(),
            None => key.default.to_owned(),
        };
        catalogue::keys().iter().filter(|key| fixed(key)).map(|key| (key.path, said(key))).collect()
    }

    /// The winning value of a key.
    pub fn get(&self, path: &str) -> Option<&Row> {
        self.rows.get(path)
    }

    fn read_file(&mut self, path: &Path, problems: &mut Vec<Problem>) {
        let problem = |code, message: String, line, column| Problem {
            code,
            message,
            place: Place::File(path.to_owned(), line, column),
            help: None,
        };
        let length = std::fs::metadata(path).map(|file| file.len());
        if length.as_ref().is_ok_and(|length| *length > FILE_BYTES_MAX) {
            let message = format!("the file has more than {FILE_BYTES_MAX} bytes");
            return problems.push(problem("file_too_large", message, 1, 1));
        }
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("the file cannot be read: {error}");
                return problems.push(problem("file_unreadable", message, 1, 1));
            }
        };
        let place = |at: usize| {
            let before = text.get(..at).unwrap_or(&text);
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
            Place::File(path.to_owned(), line, column)
        };
        match DeTable::parse(&text) {
            Ok(table) => self.flatten("", table.get_ref(), &place, problems),
            Err(error) => {
                let span = error.span().unwrap_or_default();
                // Of anything else the text may be a secret.
                let key = text.get(span.clone()).filter(|_| error.message() == "duplicate key");
                let key = key.map_or_else(String::new, |key| format!(": `{key}`"));
                problems.push(Problem {
                    code: "toml_malformed",
                    message: format!("{}{key}", error.message()),
                    place: place(span.start),
                    help: None,
                });
            }
        }
    }

    fn flatten(
        &mut self,
        above: &str,
        table: &DeTable<'_>,
        place: &dyn Fn(usize) -> Place,
        problems: &mut Vec<Problem>,
    ) {
        for (name, value) in table.iter() {
            let name_text = name.get_ref();
            let path = if above.is_empty() {
                name_text.to_string()
            } else {
                format!("{above}.{name_text}")
            };
            match value.get_ref() {
                DeValue::Table(inner) if descend(&path) => {
                    self.flatten(&path, inner, place, problems);
                }
                value @ (DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)
                | DeValue::Table(_)) => {
                    self.add(path, plain(value), place(name.span().start), problems)
                }
            }
        }
    }

    fn add(&mut self, path: String, value: Value, place: Place, problems: &mut Vec<Problem>) {
        if catalogue::find(&path).is_none() {
            let nearest = catalogue::nearest(&path);
            problems.push(Problem {
                code: "unknown_key",
                message: format!("`{path}` is not a key"),
                place,
                help: nearest.map(|nearest| format!("did you mean `{nearest}`?")),
            });
            return;
        }
        let row = self.rows.remove(&path);
        let overruled = row.map_or_else(Vec::new, |row| {
            let mut overruled = vec![(row.value, row.place)];
            overruled.extend(row.overruled);
            overruled
        });
        self.rows.insert(path, Row { value, place, overruled });
    }
}

/// Whether the table at `path` only groups keys (or is a map, whose entries are merged by key).
fn descend(path: &str) -> bool {
    catalogue::is_table(path)
        || catalogue::find(path).is_some_and(|key| matches!(key.kind, Kind::Map | Kind::Pools))
}

fn chosen_file(sources: &Sources) -> Option<PathBuf> {
    let named = sources.file.clone();
    let named = named.or_else(|| sources.environment.get("QUORATE_CONFIG").map(PathBuf::from));
    named.or_else(|| {
        let usual = ["quorate.toml", "/etc/quorate/quorate.toml"].map(PathBuf::from);
        usual.into_iter().find(|path| path.exists())
    })
}

/// A text as a TOML value, or as itself.
fn parsed(text: &str) -> Value {
    let table = format!("x = {text}").parse::<toml::Table>();
    table.ok().and_then(|mut table| table.remove("x")).unwrap_or_else(|| Value::from(text))
}

fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| Value::String(integer.to_string()), Value::Integer),
        DeValue::Float(float) => {
            float.as_str().parse().map_or_else(|_| Value::Float(0.0), Value::Float)
        }
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(datetime) => Value::Datetime(*datetime),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| plain(item.get_ref())).collect())
        }
        DeValue::Table(table) => Value::Table(
            table
                .iter()
                .map(|(name, value)| (name.get_ref().to_string(), plain(value.get_ref())))
                .collect(),
        ),
    }
}
