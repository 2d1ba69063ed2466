//! A text that can be used and not shown.
//!
//! No `Debug`, `Display`, `Serialize`, `PartialEq` or `Clone`: a secret in a log line, an answer or a second
//! place does not compile. What it held is wiped when it is dropped.
//!
//! Absent on purpose: more readers than one. A test below lists every place that calls it.

use zeroize::Zeroizing;

/// See the module.
pub struct Secret(Zeroizing<Box<str>>);

/// What a secret is read for. A new purpose is a new line in the list of readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It goes to the provider that issued it.
    Upstream,
    /// It goes into its own store.
    Store,
    /// It answers somebody with the scope `secrets`.
    Reveal,
    /// A test looks at it.
    #[cfg(test)]
    Test,
}

impl Secret {
    /// Takes `text`, which is wiped with it.
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text.into_boxed_str()))
    }

    /// The text, for the one use that is named.
    pub fn expose(&self, _purpose: Purpose) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every file that may read a secret, with how often and what for.
    const READERS: [(&str, usize); 4] = [
        ("gateway/attempt.rs", 1),
        ("http/credentials.rs", 1),
        ("vault/edit.rs", 1),
        ("vault/file.rs", 1),
    ];

    fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder of this package") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_reader_of_a_secret_is_listed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        sources(&root, &mut files);
        let mut found = Vec::new();
        for path in files {
            if path.ends_with("tests.rs") {
                continue; // They may look at what they made up.
            }
            let name = path.strip_prefix(&root).expect("below the root").display().to_string();
            let text = std::fs::read_to_string(&path).expect("a readable source");
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let calls = code.matches(".expose(").count();
            if calls > 0 {
                found.push((name, calls));
            }
        }
        found.sort();
        let listed: Vec<_> = READERS.map(|(name, calls)| (name.to_owned(), calls)).to_vec();
        assert_eq!(found, listed, "a new reader of secrets is a decision: list it here");
    }
}
