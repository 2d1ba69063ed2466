//! The folder of credentials on one machine: what people do to it, and what a look finds there.
//!
//! It is the truth that a node is compared with. A look answers as of the moment at which it began, however
//! late its answer arrives; looks and writes are numbered in one order, as a host's are.
//!
//! Absent on purpose: bodies. A number stands for what one says.

use std::collections::BTreeMap;

use quorate_core::node::credentials::{Digest, Errand, Found, Key, Listing, Look, Record, Seen};
use quorate_core::time::UnixTime;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum File {
    /// A record that says this.
    Whole(Content),
    /// Half of one.
    Torn,
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// What tells it from others.
    pub number: u64,
    /// Whether it must not be used.
    pub disabled: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Folder {
    files: BTreeMap<Key, File>,
    /// The bodies that the present process holds.
    bodies: BTreeMap<Key, File>,
    /// The folder itself is not there.
    away: bool,
    order: u64,
}

impl Folder {
    /// Another process reads it now.
    pub fn begin(&mut self) {
        self.order = 0;
        self.bodies.clear();
    }

    /// Nothing that was on the disk is there any more.
    pub fn wipe(&mut self) {
        *self = Folder::default();
    }

    /// What is there under `key`.
    pub fn file(&self, key: &Key) -> Option<&File> {
        self.files.get(key)
    }

    /// Everything that is there.
    pub fn files(&self) -> impl Iterator<Item = (&Key, &File)> {
        self.files.iter()
    }

    /// Whether the folder itself is not there.
    pub fn is_away(&self) -> bool {
        self.away
    }

    /// Somebody writes a file.
    pub fn put(&mut self, key: Key, file: File) {
        self.files.insert(key, file);
    }

    /// Whoever sets a machine up sees to it that a file is there.
    pub fn provide(&mut self, key: Key) {
        let content = Content { number: 0, disabled: false };
        self.files.entry(key).or_insert(File::Whole(content));
    }

    /// Somebody removes a file.
    pub fn remove(&mut self, key: &Key) {
        self.files.remove(key);
    }

    /// Somebody removes every file.
    pub fn empty(&mut self) {
        self.files.clear();
    }

    /// The folder goes, or comes back as it was.
    pub fn set_away(&mut self, away: bool) {
        self.away = away;
    }

    /// Does what a node wants of its store.
    pub fn run(&mut self, now: UnixTime, errand: Errand) -> Found {
        match errand {
            Errand::Look { key } => Found::Look(self.look(now, &key)),
            Errand::List if self.away => Found::Listing(Err("the folder is not there".to_owned())),
            Errand::List => {
                self.order += 1;
                let digest = |file: &File| match file {
                    File::Whole(content) => Some(digest(*content)),
                    File::Torn => None,
                };
                let found = self.files.iter().map(|(key, file)| (key.clone(), digest(file)));
                let found = found.collect();
                Found::Listing(Ok(Listing { order: self.order, found, left_out: 0, misnamed: 0 }))
            }
            Errand::Forget { key } => {
                self.bodies.remove(&key);
                Found::Done
            }
            Errand::Restore { keys } => {
                for key in keys {
                    if let Some(body) = self.bodies.get(&key) {
                        self.files.entry(key).or_insert_with(|| body.clone());
                    }
                }
                Found::Done
            }
        }
    }

    /// What is there now.
    pub fn look(&mut self, now: UnixTime, key: &Key) -> Look {
        self.order += 1;
        let seen = match self.files.get(key) {
            _ if self.away => Seen::Failed { what: "the folder is not there".to_owned() },
            None => Seen::Absent,
            Some(File::Torn) => Seen::Invalid { what: "it breaks off".to_owned() },
            Some(File::Whole(content)) => {
                self.bodies.insert(key.clone(), File::Whole(*content));
                let body =
                    serde_json::json!({"type": "sim", "key": "k", "disabled": content.disabled});
                let record = body.as_object().map(Record::read).and_then(Result::ok);
                let record = Box::new(record.expect("it was written as a record"));
                Seen::Record { digest: digest(*content), record, exposed: false }
            }
        };
        Look { order: self.order, at: now, seen }
    }
}

/// What stands for the hash of a body: equal ones for equal contents alone.
pub fn digest(content: Content) -> Digest {
    let mut digest = [u8::from(content.disabled); 32];
    digest.iter_mut().zip(content.number.to_be_bytes()).for_each(|(place, byte)| *place = byte);
    digest
}
