//! Flight records through the present binary: the same node, given the same inputs at the same instants.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quorate_core::ids::Replica;
use quorate_core::machine::Machine as _;
use quorate_core::node::flight::{self, Block, Head, MAGIC, Turn};
use quorate_core::node::{Image, Node};

use super::same_build;
use crate::trace::read::ReadError;
use crate::trace::{Difference, hex};
use crate::view::words;

/// What came of one record: one life of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// Whose.
    pub replica: Replica,
    /// Turns that were the same.
    pub turns: u64,
    /// Why the record ends; `None`: its process was killed.
    pub ended: Option<String>,
    /// The first turn that was not the same.
    pub difference: Option<Difference>,
}

/// Replays every record in `path`, a folder or one file of a record that has only one.
pub fn records(path: &Path, force: bool) -> Result<Vec<Flight>, ReadError> {
    let mut flights = Vec::new();
    for files in grouped(path)?.into_values() {
        flights.push(fly(&files, force)?);
    }
    match flights.is_empty() {
        true => Err(ReadError::foreign(path, "there is no record in it")),
        false => Ok(flights),
    }
}

/// The files of each record, in order, by when it began.
fn grouped(path: &Path) -> Result<BTreeMap<u64, Vec<PathBuf>>, ReadError> {
    let unreadable = |error| ReadError::unreadable(path, error);
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(unreadable)?;
        let paths: Result<Vec<PathBuf>, _> =
            entries.map(|entry| entry.map(|it| it.path())).collect();
        files = paths.map_err(unreadable)?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "qrec"));
    }
    let mut groups: BTreeMap<u64, BTreeMap<u32, PathBuf>> = BTreeMap::new();
    for file in files {
        let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let stem = stem.unwrap_or_default();
        let numbers = stem.split_once('-');
        let numbers = numbers.and_then(|(start, n)| Some((start.parse().ok()?, n.parse().ok()?)));
        let (start, number) =
            numbers.ok_or_else(|| ReadError::foreign(&file, "it is not called like a record"))?;
        groups.entry(start).or_default().insert(number, file);
    }
    Ok(groups.into_iter().map(|(start, files)| (start, files.into_values().collect())).collect())
}

fn fly(files: &[PathBuf], force: bool) -> Result<Flight, ReadError> {
    let mut player: Option<Player> = None;
    for (place, path) in files.iter().enumerate() {
        let bytes = std::fs::read(path).map_err(|error| ReadError::unreadable(path, error))?;
        let wrong = |what: &str| ReadError::foreign(path, what);
        let mut rest = bytes.strip_prefix(&MAGIC).ok_or_else(|| wrong("it is no record"))?;
        let mut first = true;
        while let Some(block) = flight::next_block(&mut rest) {
            let block = block.map_err(|error| wrong(&error.to_string()))?;
            match (block, &mut player) {
                (Block::Head(head), None) if place == 0 && first => {
                    same_build(path, &head.build, force)?;
                    player = Some(Player::new(*head));
                }
                (Block::Next(number), Some(_)) if first && usize::try_from(number) == Ok(place) => {
                }
                (Block::Row((keyspace, key, value)), Some(player)) if player.node.is_none() => {
                    player.image.insert((keyspace, key), value);
                }
                (Block::Turn(turn), Some(player)) => player.turn(&turn),
                (Block::End(why), Some(player)) => player.ended = Some(why),
                _ => return Err(wrong("its blocks are not in order, or a file is missing")),
            }
            first = false;
        }
    }
    let first = files.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
    let player = player.ok_or_else(|| ReadError::foreign(first, "it has no head"))?;
    Ok(player.landed())
}

/// A node, and how far it went.
struct Player {
    head: Head,
    image: Image,
    node: Option<Node>,
    turns: u64,
    ended: Option<String>,
    difference: Option<Difference>,
}

impl Player {
    fn new(head: Head) -> Player {
        let image = Image::new();
        Player { head, image, node: None, turns: 0, ended: None, difference: None }
    }

    fn turn(&mut self, turn: &Turn) {
        if self.difference.is_some() {
            return;
        }
        let Head { settings, incarnation, seed, now, .. } = &self.head;
        let boot = || Node::boot(settings.clone(), *incarnation, &self.image, *seed, *now);
        let node = self.node.get_or_insert_with(boot);
        let mut effects = Vec::new();
        for input in &turn.inputs {
            node.handle(turn.now, input.clone(), &mut effects);
        }
        node.flush(turn.now, &mut effects);
        let hash = flight::hash(&effects);
        if hash == turn.hash {
            self.turns += 1;
            return;
        }
        let names = words::Names::new();
        let list = |words: Vec<String>| words.join("; ");
        let inputs = turn.inputs.iter().map(|input| words::of_input(input, &names)).collect();
        let outputs = effects.iter().map(|effect| words::of_effect(effect, &names)).collect();
        let there = format!("at {}, given: {} => hash {}", turn.now, list(inputs), hex(turn.hash));
        let here = format!("{} => hash {}", list(outputs), hex(hash));
        let event = self.turns + 1;
        self.difference = Some(Difference { event, there: Some(there), here: Some(here) });
    }

    fn landed(self) -> Flight {
        let Player { head, turns, ended, difference, .. } = self;
        let (node, incarnation) = (head.settings.membership.node, head.incarnation);
        Flight { replica: Replica { node, incarnation }, turns, ended, difference }
    }
}
