//! Looks for markers where they must not be, in every form in which they could stand there.

use std::path::Path;

/// Every form in which `marker` could stand in something.
fn forms(marker: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![marker.as_bytes().to_vec()];
    let url: String = marker
        .bytes()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    forms.push(url.into_bytes());
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for skipped in 0..3 {
        let bytes = marker.as_bytes().get(skipped..).unwrap_or_default().chunks_exact(3);
        let letters = bytes.flat_map(|three| {
            let all = three.iter().fold(0_usize, |all, byte| (all << 8) | usize::from(*byte));
            let letter = move |shift: usize| alphabet.get((all >> shift) & 63).copied();
            [18, 12, 6, 0].into_iter().filter_map(letter)
        });
        let plain: Vec<u8> = letters.collect();
        let url_safe = plain.iter().map(|letter| match letter {
            b'+' => b'-',
            b'/' => b'_',
            letter => *letter,
        });
        forms.push(url_safe.collect());
        forms.push(plain);
    }
    forms
}

/// A hunt for markers.
#[derive(Debug)]
pub struct Hunt {
    forms: Vec<Vec<u8>>,
    /// How many places were searched.
    pub places: usize,
}

impl Hunt {
    /// One for these.
    pub fn new(markers: &[String]) -> Hunt {
        Hunt { forms: markers.iter().flat_map(|marker| forms(marker)).collect(), places: 0 }
    }

    /// Fails if `bytes` hold a marker.
    #[track_caller]
    pub fn search(&mut self, place: &str, bytes: &[u8]) {
        self.places += 1;
        for form in &self.forms {
            let found = bytes.windows(form.len()).any(|window| window == form);
            assert!(!found, "{place} holds {}", String::from_utf8_lossy(form));
        }
    }

    /// Searches every file below `folder`, but for what is `besides`.
    pub fn search_files(&mut self, folder: &Path, besides: &Path) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path == besides {
                continue;
            }
            if path.is_dir() {
                self.search_files(&path, besides);
            } else if path.is_file() {
                let bytes = std::fs::read(&path).expect("a file of the node");
                self.search(&path.display().to_string(), &bytes);
            }
        }
    }
}
