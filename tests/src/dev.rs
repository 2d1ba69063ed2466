//! `quorate dev` as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::node::{Directory, binary};

/// The demonstration; asked to stop when it goes.
#[derive(Debug)]
pub struct Dev {
    child: Child,
    directory: Directory,
    /// Lines that one may try.
    pub tries: Vec<String>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        drop(Command::new("kill").args(["-TERM", &id]).status());
        drop(self.child.wait());
    }
}

impl Dev {
    /// Starts it in a folder of its own, and reads what may be tried: then it is ready.
    pub fn start(name: &str) -> Dev {
        let directory = Directory::new(name);
        let child = Command::new(binary())
            .args(["dev", "--directory"])
            .arg(directory.0.join("dev"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("the binary runs");
        let mut said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut tries = Vec::new();
        for line in said.by_ref() {
            let line = line.expect("it speaks text");
            if let Some(first) = line.strip_prefix("  try this     ") {
                tries.push(first.to_owned());
            } else if let Some(more) =
                line.strip_prefix("               ").filter(|_| !tries.is_empty())
            {
                tries.push(more.to_owned());
            }
            if line.contains("event follow") {
                break; // The last of them.
            }
        }
        // It goes on to say what happens, and must find somebody who listens.
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let hears = heard.clone();
        std::thread::spawn(move || {
            for line in said.map_while(Result::ok) {
                hears.lock().expect("nobody panics with it").push(line);
            }
        });
        Dev { child, directory, tries, heard }
    }

    /// Its working folder.
    pub fn folder(&self) -> PathBuf {
        self.directory.0.join("dev")
    }

    /// What it has said since it was ready.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("nobody panics with it").clone()
    }

    /// The URL of its first node, and a token for it.
    pub fn first_node(&self) -> [String; 2] {
        let context = std::fs::read_to_string(self.folder().join("context")).expect("it is ready");
        let context: Value = serde_json::from_str(&context).expect("it is JSON");
        ["address", "token"].map(|key| {
            let text = context.get(key).and_then(Value::as_str);
            text.expect("a context names a node").to_owned()
        })
    }
}
