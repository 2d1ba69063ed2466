//! What `config check` and `config show` print.

use std::fmt::Write as _;

use quorate_core::node::settings::Unit;

use super::Problem;
use super::catalogue::{self, Key, Kind};
use super::layers::{Layers, Place};

/// All problems, and their number.
pub fn report(problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        writeln!(text, "{problem}").expect("a string takes every write");
    }
    let noun = if problems.len() == 1 { "error" } else { "errors" };
    writeln!(text, "{} {noun}, nothing was changed", problems.len())
        .expect("a string takes every write");
    text
}

/// The keys at or below `prefix`, as TOML. `effective` adds what nobody wrote; `origin` says where each
/// value comes from and what it overrules. Secrets are references, and keys of the keyring are hidden.
pub fn show(layers: &Layers, prefix: &str, effective: bool, origin: bool) -> String {
    let within = |path: &str| {
        prefix.is_empty()
            || path
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut lines = Vec::new();
    for key in catalogue::keys() {
        let below = format!("{}.", key.path);
        let rows = layers.rows.iter();
        let written: Vec<_> =
            rows.filter(|(path, _)| *path == key.path || path.starts_with(&below)).collect();
        if written.is_empty()
            && effective
            && within(key.path)
            && !matches!(key.kind, Kind::Map | Kind::Pools)
        {
            lines.push(line(key.path, default_text(&key), origin.then(|| "default".to_owned())));
        }
        for (path, row) in written.into_iter().filter(|(path, _)| within(path)) {
            let value = if key.path == "cluster.keyring" {
                "[\"(hidden)\"]".to_owned()
            } else {
                row.value.to_string()
            };
            lines.push(line(path, value, origin.then(|| origin_text(&row.place, &row.overruled))));
        }
    }
    lines.concat()
}

/// Every key as a Markdown table: `docs/CONFIGURATION.md` holds it, and a test compares them.
pub fn reference() -> String {
    let mut text = String::from("| key | value | default | set by | without restart | |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for key in catalogue::keys() {
        let owner = if key.owner == catalogue::Owner::Node { "node" } else { "fleet" };
        let live = if key.live { "yes" } else { "no" };
        let (value, default) = (value_text(&key), default_text(&key));
        let row = format!(
            "| `{}` | {value} | `{default}` | {owner} | {live} | {} |\n",
            key.path, key.about
        );
        text.push_str(&row);
    }
    text
}

fn value_text(key: &Key) -> String {
    match key.kind {
        Kind::Number(setting) => {
            let unit = match setting.unit {
                Unit::Millis => "ms",
                Unit::Count => "",
                Unit::Bytes => "bytes",
            };
            format!("{}..{} {unit}", setting.min, setting.max).trim_end().to_owned()
        }
        Kind::Millis(max) => format!("0..{max} ms"),
        Kind::Bytes(max) => format!("0..{max} bytes"),
        Kind::Text => "text".to_owned(),
        Kind::Flag => "true, false".to_owned(),
        Kind::Texts => "list of texts".to_owned(),
        Kind::Choice(words) => words.join(", "),
        Kind::Map => "table of texts".to_owned(),
        Kind::Tables => "list of tables".to_owned(),
        Kind::Pools => "table of tables".to_owned(),
    }
}

fn default_text(key: &Key) -> String {
    match key.kind {
        Kind::Number(_) => "(by profile)",
        Kind::Millis(_)
        | Kind::Bytes(_)
        | Kind::Text
        | Kind::Flag
        | Kind::Texts
        | Kind::Choice(_)
        | Kind::Map
        | Kind::Pools
        | Kind::Tables => match key.default {
            "" => "(derived)",
            default => default,
        },
    }
    .to_owned()
}

fn origin_text(place: &Place, overruled: &[(toml::Value, Place)]) -> String {
    let mut text = place.to_string();
    for (value, place) in overruled {
        write!(text, ", overrules {place} {value}").expect("a string takes every write");
    }
    text
}

fn line(path: &str, value: String, origin: Option<String>) -> String {
    let assignment = format!("{path} = {value}");
    match origin {
        Some(origin) => format!("{assignment:<48} # {origin}\n"),
        None => format!("{assignment}\n"),
    }
}
