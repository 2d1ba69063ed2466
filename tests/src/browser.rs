//! A headless Chromium, spoken to in its own protocol over two pipes.
//!
//! The protocol is JSON, each message ended by a zero byte, on descriptors 3 and 4 of the process
//! (`--remote-debugging-pipe`). Nothing is installed: where there is no Chromium, [`Browser::start`] says so.
//!
//! Absent on purpose: a network. Pages are files.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::node::Directory;

/// Names under which systems install it.
const NAMES: [&str; 5] =
    ["chromium", "chromium-browser", "google-chrome", "chrome", "chromium-headless-shell"];

/// One browser with one page. It ends when its pipe does, and after five minutes in any case.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    commands: File,
    answers: BufReader<File>,
    session: Option<String>,
    asked: u64,
    /// What the page said on its console, and what it failed at.
    pub complaints: Vec<String>,
    _directory: Directory,
}

/// Where a Chromium is, if there is one.
pub fn found() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let files = std::env::split_paths(&paths)
        .flat_map(|folder| NAMES.into_iter().map(move |name| folder.join(name)));
    files.into_iter().find(|file| file.is_file())
}

impl Browser {
    /// Starts one with an empty page of that size.
    pub fn start(program: &Path, width: u32, height: u32) -> Browser {
        let directory = Directory::new("browser");
        let pipes = ["commands", "answers"].map(|name| directory.0.join(name));
        let made = Command::new("mkfifo").args(&pipes).status().expect("mkfifo runs");
        assert!(made.success(), "no pipes in {}", directory.0.display());
        let [commands, answers] = &pipes;
        // The shell opens the descriptors, in the order in which this side does, and becomes the browser.
        let child = Command::new("sh")
            .args([
                "-c",
                "commands=$1 answers=$2; shift 2; exec timeout 300 \"$@\" 3<\"$commands\" 4>\"$answers\"",
                "sh",
            ])
            .args([commands, answers, &program.to_owned()])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-dev-shm-usage",
            ])
            .args(["--remote-debugging-pipe", "--disable-background-networking"])
            .arg(format!("--window-size={width},{height}"))
            .arg(format!("--user-data-dir={}", directory.0.join("profile").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell runs");
        let commands = File::options().write(true).open(commands).expect("the browser reads");
        let answers = BufReader::new(File::open(answers).expect("the browser writes"));
        let mut browser = Browser {
            child,
            commands,
            answers,
            session: None,
            asked: 0,
            complaints: Vec::new(),
            _directory: directory,
        };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}));
        let target = target.get("targetId").cloned().unwrap_or_default();
        let attach = json!({"targetId": target, "flatten": true});
        let session = browser.ask("Target.attachToTarget", attach);
        browser.session = session.get("sessionId").and_then(Value::as_str).map(str::to_owned);
        assert!(browser.session.is_some(), "no session: {session}");
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            browser.ask(domain, json!({}));
        }
        browser
    }

    /// Sends a command and waits for its answer; what comes between is noted.
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let (Some(session), Some(map)) = (&self.session, message.as_object_mut()) {
            map.insert("sessionId".to_owned(), json!(session));
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).expect("the browser reads");
        loop {
            let message = self.next();
            if message.get("id") == Some(&json!(id)) {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message.get("result").cloned().unwrap_or_default();
            }
            self.note(&message);
        }
    }

    fn next(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.answers.read_until(0, &mut bytes).expect("the browser writes");
        assert_eq!(bytes.pop(), Some(0), "the browser has ended");
        serde_json::from_slice(&bytes).expect("the protocol is JSON")
    }

    /// Whatever a page writes to its console, fails at, or asks the network for is a complaint.
    fn note(&mut self, message: &Value) {
        let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
        let params = message.get("params").cloned().unwrap_or_default();
        let url = params.pointer("/request/url").and_then(Value::as_str).unwrap_or_default();
        let outward = method == "Network.requestWillBeSent"
            && !url.starts_with("file:")
            && !url.starts_with("data:");
        let said = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
        if outward || said.contains(&method) {
            self.complaints.push(format!("{method}: {params}"));
        }
    }

    /// Opens a file and waits until its script has run.
    pub fn open(&mut self, file: &Path) {
        self.ask("Page.navigate", json!({"url": format!("file://{}", file.display())}));
        crate::eventually("the page is there", || {
            match self.value("document.readyState") == json!("complete") {
                true => Ok(()),
                false => Err("it still loads".to_owned()),
            }
        });
    }

    /// The value of an expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let ask = json!({"expression": expression, "returnByValue": true});
        let answer = self.ask("Runtime.evaluate", ask);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer.pointer("/result/value").cloned().unwrap_or_default()
    }

    /// Presses a key, as `ArrowLeft` or `f`; `modifiers` as the protocol numbers them (8 is shift).
    pub fn press(&mut self, key: &str, modifiers: u32) {
        let text = if key.chars().count() == 1 { key } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({"type": kind, "key": key, "text": text, "modifiers": modifiers});
            self.ask("Input.dispatchKeyEvent", event);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.child.kill()); // It may have ended by itself.
        drop(self.child.wait());
    }
}
