//! What people and surfaces do to the folders of credentials.

use quorate_core::ids::Ticket;
use quorate_core::node::Request;
use quorate_core::node::credentials::{Command, Key};
use quorate_core::time::UnixTime;

use super::Run;
use crate::folder::{Content, File};
use crate::surfaces::Wish;

/// The credential that an operation on a key means.
fn key_of(wish: &Wish<'_>) -> Key {
    let word = wish.words.first().map_or("one", String::as_str);
    let id = word.trim_start_matches("http://").replace(':', "-");
    Key::of_default(&id).unwrap_or_else(|error| panic!("the plan names `{id}`: {error}"))
}

fn number(wish: &Wish<'_>, name: &str) -> Option<u64> {
    wish.keys.get(name).and_then(|text| text.parse().ok())
}

impl Run<'_> {
    /// Somebody edits the folder behind the node's back. The watcher notices, unless one in `lost` events is.
    /// One edit in `torn` breaks off.
    pub(super) fn edit(&mut self, machine: usize, wish: &Wish<'_>) -> Option<Ticket> {
        let key = key_of(wish);
        let lost = number(wish, "lost").unwrap_or(0);
        let torn = number(wish, "torn").is_some_and(|torn| wish.turn.is_multiple_of(torn));
        let folder = &mut self.world.machines.get_mut(machine)?.folder;
        let content = Content { number: wish.turn / 2, disabled: wish.turn.is_multiple_of(5) };
        match wish.turn % 7 {
            _ if torn => folder.put(key.clone(), File::Torn),
            0 => folder.put(key.clone(), File::Torn),
            1 | 2 => folder.remove(&key),
            _ => folder.put(key.clone(), File::Whole(content)),
        }
        let heard = lost == 0 || !wish.turn.is_multiple_of(lost);
        let keys = vec![key];
        heard.then(|| self.world.request(machine, Request::Credential(Command::Hint { keys })))?
    }

    /// The watcher says `times` times that something may have changed, and nothing has.
    pub(super) fn hint(&mut self, machine: usize, wish: &Wish<'_>) -> Option<Ticket> {
        let times = number(wish, "times").unwrap_or(1);
        let keys = (0..times).map(|_| key_of(wish)).collect();
        self.world.request(machine, Request::Credential(Command::Hint { keys }))
    }

    /// A surface of the node writes, or deletes: the file first, and then the node hears of it.
    pub(super) fn put_credential(&mut self, machine: usize, wish: &Wish<'_>) -> Option<Ticket> {
        let key = key_of(wish);
        let host = self.world.machines.get_mut(machine)?;
        // A surface without its node, or without its folder, refuses.
        host.process.as_ref().filter(|_| !host.folder.is_away())?;
        if wish.turn.is_multiple_of(4) {
            host.folder.remove(&key);
        } else {
            let content = Content { number: 1_000_000 + wish.turn, disabled: false };
            host.folder.put(key.clone(), File::Whole(content));
        }
        let look = host.folder.look(UnixTime(wish.turn), &key);
        self.world.request(machine, Request::Credential(Command::Wrote { key, look }))
    }

    /// What happens to a whole folder, and what operators say to it.
    pub(super) fn operate(&mut self, machine: usize, wish: &Wish<'_>) -> Option<Ticket> {
        let folder = &mut self.world.machines.get_mut(machine)?.folder;
        let command = match wish.words.first().map(String::as_str) {
            Some("empty") => {
                folder.empty();
                return None;
            }
            Some("away") => {
                folder.set_away(true);
                return None;
            }
            Some("back") => {
                folder.set_away(false);
                return None;
            }
            Some("accept") => Command::Accept,
            Some("restore") => Command::Restore,
            Some("rescan") => Command::Rescan,
            other => panic!("nothing of a folder is called {other:?}"),
        };
        self.world.request(machine, Request::Credential(command))
    }
}
