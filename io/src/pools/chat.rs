//! Chats: a line of words in, a piece of HTML out.
//!
//! A line says what the command line says, with or without a slash before it: `pool rotate codex`, `/pool park
//! codex codex-1 --for 30m`. Quotes hold words together. Keyboards make a dash of two hyphens; it is two
//! hyphens again.
//!
//! Absent on purpose: rights. A chat holds the scopes that the configuration gives it.

use std::collections::BTreeMap;

use clap::Parser;

use crate::access::Scope;
use crate::cli::args::operator::Operator;
use crate::config::Secret;

/// Bytes of a message that Telegram takes, less those of the markup around it.
const TEXT_BYTES_MAX: usize = 4000;
/// Bytes of a line that is read.
const LINE_BYTES_MAX: usize = 4096;

/// Who may chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatSettings {
    /// What the chat service shows with each message (`secret_token` of `setWebhook`).
    pub secret: Secret,
    /// What each chat may do.
    pub chats: BTreeMap<i64, Vec<Scope>>,
}

/// The words of a line.
#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    words: Operator,
}

/// What a line asks for, or what its writer should know.
pub(crate) fn words_of(line: &str) -> Result<Operator, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("a line has at most {LINE_BYTES_MAX} bytes"));
    }
    let mut words = split(line)?;
    if let Some(first) = words.first_mut() {
        // In a group a command may name the bot: `/pool@quorate_bot`.
        let bare = first.trim_start_matches('/');
        *first = bare.split('@').next().unwrap_or_default().to_owned();
    }
    Line::try_parse_from(words).map(|line| line.words).map_err(|error| error.to_string())
}

/// Words are parted by blanks; what stands between quotes is one word.
fn split(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (None, '—') if word.is_none() => word = Some("--".to_owned()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

/// Text as it is, in a fixed width; nothing in it is markup.
pub(crate) fn html(text: &str) -> String {
    let mut escaped = String::new();
    let mut cut = false;
    for letter in text.trim_end().chars() {
        let piece = match letter {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            letter => shown(letter),
        };
        if escaped.len() + piece.len() > TEXT_BYTES_MAX {
            cut = true;
            break;
        }
        escaped.push_str(&piece);
    }
    format!("<pre>{escaped}{}</pre>", if cut { "…" } else { "" })
}

/// A letter that changes how others are shown is shown as its number.
fn shown(letter: char) -> String {
    let misleads = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if misleads || (letter.is_control() && letter != '\n') {
        return letter.escape_unicode().to_string();
    }
    letter.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::operator::Pool;

    #[test]
    fn a_line_says_what_the_command_line_says() {
        let line = "/pool@quorate_bot clear codex codex-1 —reason \"quota raised\"";
        let Ok(Operator::Pool(Pool::Clear { pool, member, model, reason })) = words_of(line) else {
            panic!("{:?}", words_of(line))
        };
        let read = (pool.as_str(), member.as_str(), model, reason.as_str());
        assert_eq!(read, ("codex", "codex-1", None, "quota raised"));
        assert!(matches!(words_of("pool list"), Ok(Operator::Pool(Pool::List))));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_answered_with_what_would() {
        for (line, told) in [
            ("", "pool"),
            ("pool", "rotate"),
            ("pool rotat codex", "rotate"),
            ("pool rotate", "<POOL>"),
            ("pool park codex a --for soon", "no time"),
            ("pool clear codex a --reason \"half", "quote"),
            ("serve --config /etc/passwd", "unrecognized"),
        ] {
            let error = words_of(line).expect_err(line);
            assert!(error.contains(told), "{line}: {error}");
        }
        assert!(words_of(&"pool ".repeat(2000)).is_err());
    }

    #[test]
    fn nothing_in_an_answer_is_markup() {
        let text = "<b>&\"x\"</b>\u{202e}\u{7}\n";
        let shown = "<pre>&lt;b&gt;&amp;&quot;x&quot;&lt;/b&gt;\\u{202e}\\u{7}</pre>";
        assert_eq!(html(text), shown);
        let long = html(&"<".repeat(5000));
        assert!(long.len() <= 4096 && long.ends_with("&lt;…</pre>"), "{}", long.len());
    }
}
