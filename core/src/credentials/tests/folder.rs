//! The script of credentials: a folder, and a host that answers every errand at once.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::Ticket;
use crate::machine::Machine;
use crate::script::{Script, Settings as Given};
use crate::time::{Instant, UnixTime};
use crate::wire::Blob;

use super::super::*;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum File {
    /// A record with this content.
    Whole { content: u64, disabled: bool, exposed: bool },
    /// Half of one.
    Torn,
}

/// A machine, its folder and what its host has not answered yet.
pub(super) struct FolderScript {
    pub(super) machine: Credentials,
    pub(super) files: BTreeMap<String, File>,
    kept: BTreeMap<String, Blob>,
    bodies: BTreeMap<String, File>,
    down: bool,
    short: bool,
    holds: bool,
    waiting: VecDeque<(Ticket, Found)>,
    order: u64,
}

pub(super) fn key(id: &str) -> Key {
    Key::of_default(id).expect("an id")
}

pub(super) fn whole(content: u64) -> File {
    File::Whole { content, disabled: false, exposed: false }
}

impl FolderScript {
    pub(super) fn new(files: BTreeMap<String, File>) -> FolderScript {
        let machine = Credentials::new(Settings { enabled: true }, &BTreeMap::new());
        FolderScript {
            machine,
            files,
            kept: BTreeMap::new(),
            bodies: BTreeMap::new(),
            down: false,
            short: false,
            holds: false,
            waiting: VecDeque::new(),
            order: 0,
        }
    }

    fn look(&mut self, now: Instant, id: &str) -> Look {
        self.order += 1;
        let at = UnixTime(now.as_micros() / 1000);
        let seen = match self.files.get(id) {
            _ if self.down => Seen::Failed { what: "gone away".to_owned() },
            None => Seen::Absent,
            Some(File::Torn) => Seen::Invalid { what: "it breaks off".to_owned() },
            Some(File::Whole { content, disabled, exposed }) => {
                let body = serde_json::json!({"type": "codex", "key": "k", "disabled": disabled});
                let body = body.as_object().expect("an object");
                let record = Box::new(Record::read(body).expect("a record"));
                Seen::Record { digest: digest(*content, *disabled), record, exposed: *exposed }
            }
        };
        if let Some(file @ File::Whole { .. }) = self.files.get(id) {
            self.bodies.insert(id.to_owned(), file.clone());
        }
        Look { order: self.order, at, seen }
    }

    fn run(&mut self, now: Instant, errand: Errand) -> Found {
        match errand {
            Errand::Look { key } => Found::Look(self.look(now, key.id())),
            Errand::List if self.down => Found::Listing(Err("gone away".to_owned())),
            Errand::List => {
                self.order += 1;
                let found = self.files.iter().map(|(id, file)| match file {
                    File::Torn => (key(id), None),
                    File::Whole { content, disabled, .. } => {
                        (key(id), Some(digest(*content, *disabled)))
                    }
                });
                let mut found: Vec<_> = found.collect();
                let left_out = if self.short { found.pop().map_or(0, |_| 1) } else { 0 };
                Found::Listing(Ok(Listing { order: self.order, found, left_out, misnamed: 0 }))
            }
            Errand::Forget { key } => {
                self.bodies.remove(key.id());
                Found::Done
            }
            Errand::Restore { keys } => {
                for key in keys {
                    let body = self.bodies.get(key.id()).cloned().expect("it is in use");
                    self.files.insert(key.id().to_owned(), body);
                }
                Found::Done
            }
        }
    }

    /// Hands over `input` and answers whatever is asked, until nothing is.
    pub(super) fn feed(&mut self, now: Instant, input: Input) -> Vec<Output> {
        let mut told = Vec::new();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut outputs = Vec::new();
            self.machine.handle(now, input, &mut outputs);
            for output in outputs {
                match output {
                    Output::Run { ticket, errand } => {
                        let found = self.run(now, errand);
                        if self.holds {
                            self.waiting.push_back((ticket, found));
                        } else {
                            inputs.push_back(Input::Found { ticket, found });
                        }
                    }
                    Output::Persist { key, value } => {
                        match value {
                            Some(value) => self.kept.insert(key, value),
                            None => self.kept.remove(&key),
                        };
                    }
                    output @ (Output::Changed { .. }
                    | Output::Loaded
                    | Output::Announce(_)
                    | Output::Reply { .. }) => {
                        told.push(output);
                    }
                }
            }
        }
        told
    }

    pub(super) fn command(&mut self, now: Instant, command: Command) -> Vec<Output> {
        self.feed(now, Input::Command { ticket: Ticket(1), command })
    }

    fn wrote(&mut self, now: Instant, id: &str) -> Vec<Output> {
        let look = self.look(now, id);
        self.command(now, Command::Wrote { key: key(id), look })
    }

    fn edit(&mut self, words: &[&str]) -> bool {
        match words {
            ["put", id, content, rest @ ..] => {
                let content = content.parse().expect("a number");
                let disabled = rest.contains(&"disabled");
                let file = File::Whole { content, disabled, exposed: false };
                self.files.insert((*id).to_owned(), file);
            }
            ["expose", id] => {
                if let Some(File::Whole { exposed, .. }) = self.files.get_mut(*id) {
                    *exposed = true;
                }
            }
            ["tear", id] => drop(self.files.insert((*id).to_owned(), File::Torn)),
            ["remove", id] => drop(self.files.remove(*id)),
            ["empty"] => self.files.clear(),
            ["down"] => self.down = true,
            ["up"] => self.down = false,
            ["shorten"] => self.short = true,
            ["hold"] => self.holds = true,
            _ => return false,
        }
        true
    }

    fn act(&mut self, now: Instant, words: &[&str]) -> Vec<Output> {
        match words {
            ["start"] => self.feed(now, Input::Start),
            ["stop"] => self.feed(now, Input::Stop),
            ["tick"] => self.feed(now, Input::Tick),
            ["hint", ids @ ..] => {
                let keys = ids.iter().map(|id| key(id)).collect();
                self.command(now, Command::Hint { keys })
            }
            ["rescan"] => self.command(now, Command::Rescan),
            ["accept"] => self.command(now, Command::Accept),
            ["restore"] => self.command(now, Command::Restore),
            ["purge", seconds] => {
                let before = UnixTime(1000 * seconds.parse::<u64>().expect("a number"));
                self.command(now, Command::Purge { before })
            }
            ["write", id, content] => {
                self.files.insert((*id).to_owned(), whole(content.parse().expect("a number")));
                self.wrote(now, id)
            }
            ["delete", id] => {
                self.files.remove(*id);
                self.wrote(now, id)
            }
            ["release", "last"] => {
                let (ticket, found) = self.waiting.pop_back().expect("something waits");
                self.feed(now, Input::Found { ticket, found })
            }
            ["release"] => {
                self.holds = false;
                let waiting = std::mem::take(&mut self.waiting);
                let found =
                    waiting.into_iter().map(|(ticket, found)| Input::Found { ticket, found });
                found.flat_map(|input| self.feed(now, input)).collect()
            }
            _ => panic!("{words:?} is no input"),
        }
    }
}

pub(super) fn digest(content: u64, disabled: bool) -> Digest {
    let mut digest = [u8::from(disabled); 32];
    digest.iter_mut().zip(content.to_be_bytes()).for_each(|(place, byte)| *place = byte);
    digest
}

impl Script for FolderScript {
    fn given(settings: &Given) -> FolderScript {
        let files = settings.get("files", String::new());
        let files = files.split(',').filter(|id| !id.is_empty());
        FolderScript::new(files.map(|id| (id.to_owned(), whole(1))).collect())
    }

    fn when(&mut self, now: Instant, words: &[&str]) -> Vec<String> {
        if self.edit(words) {
            return Vec::new();
        }
        match words {
            ["heads"] => self.machine.heads().map(|head| shown(head)).collect(),
            ["restart"] => {
                self.machine = Credentials::new(Settings { enabled: true }, &self.kept);
                self.order = 0;
                Vec::new()
            }
            _ => {
                let told = self.act(now, words);
                let names: BTreeMap<_, _> = self
                    .machine
                    .heads()
                    .map(|head| (head.handle, head.key.id().to_owned()))
                    .collect();
                let name = |handle| names.get(&handle).cloned().unwrap_or_else(|| "?".to_owned());
                told.iter().filter_map(|output| print(output, &name)).collect()
            }
        }
    }
}

fn shown(head: &Head) -> String {
    let state = match (&head.record, head.deleted) {
        (_, true) => "deleted".to_owned(),
        (None, false) => "unread".to_owned(),
        (Some(record), false) if record.disabled => "disabled".to_owned(),
        (Some(_), false) => "in use".to_owned(),
    };
    format!("{} r{} {state}", head.key.id(), head.revision)
}

fn print(output: &Output, name: &dyn Fn(CredentialHandle) -> String) -> Option<String> {
    let text = match output {
        Output::Changed { head, renewed: false } => format!("pools hear {}", shown(head)),
        Output::Changed { head, renewed: true } => format!("pools hear {} anew", shown(head)),
        Output::Loaded => "pools hear that this is all".to_owned(),
        Output::Announce(Event::Changed { handle, revision, change, .. }) => {
            format!("{change:?} {} r{revision}", name(*handle))
        }
        Output::Announce(Event::FileInvalid { handle, what }) => {
            format!("invalid {}: {what}", name(*handle))
        }
        Output::Announce(Event::FileExposed { handle }) => format!("exposed {}", name(*handle)),
        Output::Announce(Event::Store { failure: Some(what) }) => {
            format!("the store fails: {what}")
        }
        Output::Announce(Event::Store { failure: None }) => "the store answers".to_owned(),
        Output::Announce(Event::Drained { .. }) => return None,
        Output::Announce(event) => format!("{event:?}"),
        Output::Reply { answer: Answer::Applied { head, changed }, .. } => {
            format!("applied r{} {}", head.revision, if *changed { "changed" } else { "unchanged" })
        }
        Output::Reply { answer, .. } => format!("{answer:?}"),
        Output::Run { .. } | Output::Persist { .. } => return None,
    };
    Some(text)
}

/// Ticks until nothing more comes by itself within `within`; says when that was.
pub(super) fn settle(
    script: &mut FolderScript,
    mut now: Instant,
    within: std::time::Duration,
) -> Instant {
    let end = now + within;
    while let Some(wake) = script.machine.next_wake().filter(|wake| wake.at <= end) {
        now = now.max(wake.at);
        script.feed(now, Input::Tick);
    }
    now
}
