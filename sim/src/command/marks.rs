//! `quorate-sim marks`: which places were reached, and by whom.

use std::path::{Path, PathBuf};

use quorate_sim::backend::Backend;
use quorate_sim::marks::{Reached, Row};
use quorate_sim::plan::draw;
use quorate_sim::swarm;
use serde_json::json;

use super::{Refused, cores, say};

/// Lists every mark; false if something was run or read and left one out.
pub(super) fn list(
    seeds: Option<(u64, u64)>,
    reports: &[PathBuf],
    json: bool,
) -> Result<bool, Refused> {
    let mut reached = Reached::default();
    for report in reports {
        read(&mut reached, report).map_err(|why| format!("{}: {why}", report.display()))?;
    }
    if let Some(seeds) = seeds {
        let summary =
            swarm::swarm(&draw::World::default(), Backend::Direct, seeds, cores(), &|_| {});
        reached.join(&summary.marks);
    }
    let rows = reached.rows();
    if json {
        let rows: Vec<_> = rows.iter().map(|row| row_json(row)).collect();
        say(&json!({"format": 1, "command": "marks", "marks": rows}).to_string());
    } else {
        rows.iter().for_each(|row| say(&line(row)));
        let missing = reached.missing().len();
        say(&format!("{} of {} marks reached", rows.len() - missing, rows.len()));
    }
    let idle = seeds.is_none() && reports.is_empty();
    Ok(idle || reached.missing().is_empty())
}

fn read(reached: &mut Reached, report: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(report).map_err(|error| error.to_string())?;
    let report = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    reached.read(&report)
}

fn row_json(row: &Row<'_>) -> serde_json::Value {
    json!({"name": row.name, "hits": row.hits, "seeds": row.seeds, "first": row.first})
}

fn line(row: &Row<'_>) -> String {
    let Row { name, hits, seeds, first } = row;
    let first: Vec<String> = first.iter().map(u64::to_string).collect();
    let by = match seeds {
        0 => String::new(),
        _ => format!("  {seeds} seeds: {}{}", first.join(" "), dots(*seeds, first.len())),
    };
    let missing = if *hits == 0 { "missing" } else { "" };
    format!("{missing:<8} {hits:>12}  {name}{by}")
}

fn dots(seeds: u64, shown: usize) -> &'static str {
    if seeds > shown as u64 { " …" } else { "" }
}
