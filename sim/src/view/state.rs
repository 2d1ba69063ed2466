//! The state of a node as rows, and what a turn changed in it.

use std::collections::BTreeMap;

use quorate_core::node::Node;

use super::words::life;

/// Rows by name, in order: what a node believes of itself, of members, links, maps and workers.
pub type State = BTreeMap<String, String>;

/// Everything worth showing of a node that runs.
pub fn of(node: &Node) -> State {
    let mut state = State::new();
    let published = node.published();
    let members = published.members.load();
    state.insert("self life".to_owned(), life(node.local().incarnation));
    for (name, member) in &members.rows {
        if !member.local {
            let shown = format!("{} · {}", member.state.name(), life(member.incarnation));
            state.insert(format!("member {name}"), shown);
        }
    }
    for peer in node.linked() {
        state.insert(format!("link {peer}"), "up".to_owned());
    }
    for map in node.maps().maps() {
        let (complete, head, floor) =
            (map.progress.complete, map.progress.head, map.progress.floor);
        let mut shown = match complete == head {
            true => format!("{complete}"),
            false => format!("{complete} of {head}"),
        };
        if floor > 0 {
            shown.push_str(&format!(" · floor {floor}"));
        }
        if map.doubtful > 0 {
            shown.push_str(&format!(" · {} doubtful", map.doubtful));
        }
        if map.orphaned {
            shown.push_str(" · orphaned");
        }
        let name = format!("map {} of {}", map.topic.name(), map.replica.node);
        // Two lives of one owner may be held at a time.
        let row = state.entry(name).or_default();
        let gap = if row.is_empty() { "" } else { ", then " };
        row.push_str(gap);
        row.push_str(&shown);
    }
    for (url, entry) in &published.workers.load().entries {
        let mut shown = format!("{:?} by {}", entry.status, entry.chosen);
        if entry.claims.len() > 1 {
            shown.push_str(&format!(" of {}", entry.claims.len()));
        }
        if entry.removing {
            shown.push_str(" · removing");
        }
        state.insert(format!("worker {url}"), shown);
    }
    state
}

/// What leads from one state to the next; `None`: the row went.
pub fn difference(old: &State, new: &State) -> Vec<(String, Option<String>)> {
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), None));
    let set = new.iter().filter(|(key, value)| old.get(*key) != Some(*value));
    gone.chain(set.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

/// Takes a difference in.
pub fn apply(state: &mut State, difference: &[(String, Option<String>)]) {
    for (key, value) in difference {
        match value {
            Some(value) => state.insert(key.clone(), value.clone()),
            None => state.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_leads_from_the_old_to_the_new() {
        let state = |rows: &[(&str, &str)]| -> State {
            rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let (old, new) = (state(&[("a", "1"), ("b", "2")]), state(&[("b", "3"), ("c", "4")]));
        let change = difference(&old, &new);
        assert_eq!(change.len(), 3);
        let mut moved = old.clone();
        apply(&mut moved, &change);
        assert_eq!(moved, new);
        assert!(difference(&new, &new).is_empty());
    }
}
