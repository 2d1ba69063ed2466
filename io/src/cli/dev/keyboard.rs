//! Single keys from a terminal; nothing where there is none.

use std::io::{IsTerminal as _, Read as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// Keys as they are pressed. The terminal is put back when it goes.
pub(super) struct Keyboard {
    keys: Option<mpsc::UnboundedReceiver<char>>,
    before: Option<Termios>,
}

impl Keyboard {
    /// Whether both ends are a terminal.
    pub(super) fn is_there() -> bool {
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
    }

    /// Takes the terminal, if there is one, into a mode in which a key needs no Enter.
    pub(super) fn open() -> Keyboard {
        if !Keyboard::is_there() {
            return Keyboard { keys: None, before: None };
        }
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(mut modes) = before.clone() {
            modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            set(&modes);
        }
        let (sender, keys) = mpsc::unbounded_channel();
        // A blocking read has no place in the runtime; the thread ends with the process.
        std::thread::spawn(move || {
            for byte in std::io::BufReader::new(std::io::stdin()).bytes().map_while(Result::ok) {
                if sender.send(char::from(byte)).is_err() {
                    return;
                }
            }
        });
        Keyboard { keys: Some(keys), before }
    }

    /// The next key; waits for ever without a terminal.
    pub(super) async fn key(&mut self) -> Option<char> {
        match &mut self.keys {
            Some(keys) => keys.recv().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            set(before);
        }
    }
}

fn set(modes: &Termios) {
    if let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Now, modes) {
        eprintln!("the terminal keeps its mode: {error}");
    }
}
