//! Verbs that need no node.

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use quorate_core::ids::NodeId;

use super::args::{Ca, Config as ConfigVerb, Init, SourceArgs, TokenNew};
use super::client::Failure;
use crate::access::{MintedToken, hex};
use crate::authority::{self, AuthorityError};
use crate::config::{self, Config, Sources};

/// What `init` writes.
const STARTER: &str = include_str!("starter.toml");
/// Every error code, with what it means and what to do.
const ERRORS: &str = include_str!("../../../docs/ERRORS.md");

pub(super) fn init(args: &Init) -> Result<(), Failure> {
    let path = args.path.display();
    if args.path.exists() && !args.force {
        return Err(Failure::Conflict(format!("{path} is there already; --force overwrites it")));
    }
    let written = std::fs::write(&args.path, STARTER);
    written.map_err(|error| Failure::Failed(format!("{path} cannot be written: {error}")))?;
    eprintln!("wrote {path}; next: quorate config check --config {path}");
    Ok(())
}

pub(super) fn config(verb: &ConfigVerb) -> Result<(), Failure> {
    match verb {
        ConfigVerb::Check(args) => {
            let (_, layers) = load(args)?;
            let file = layers.file.map_or("no file".to_owned(), |path| path.display().to_string());
            eprintln!("{file}: all is well");
        }
        ConfigVerb::Show { sources, effective, origin, prefix } => {
            let (_, layers) = load(sources)?;
            print!("{}", config::show(&layers, prefix, *effective, *origin));
        }
    }
    Ok(())
}

fn load(args: &SourceArgs) -> Result<(Config, config::Layers), Failure> {
    let loaded = Config::load(&sources(args));
    loaded
        .map_err(|problems| Failure::Failed(format!("\n{}", config::report(&problems).trim_end())))
}

/// What this process was given. A variable that is no text names no key of ours.
pub(super) fn sources(args: &SourceArgs) -> Sources {
    Sources {
        file: args.config.clone(),
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        flags: args.set.clone(),
    }
}

pub(super) fn ca(verb: &Ca) -> Result<(), Failure> {
    let failure = |error: AuthorityError| match &error {
        AuthorityError::Exists(_) => Failure::Conflict(error.to_string()),
        AuthorityError::File(..) | AuthorityError::Certificate(_) => {
            Failure::Failed(error.to_string())
        }
    };
    match verb {
        Ca::Init { folder } => {
            authority::init(folder).map_err(failure)?;
            let folder = folder.display();
            eprintln!("wrote {folder}/ca.pem and {folder}/ca.key; next: quorate ca issue <node>");
        }
        Ca::Issue { node, folder, years } => {
            let node = node.parse::<NodeId>();
            let node = node.map_err(|error| Failure::Usage(error.to_string()))?;
            authority::issue(folder, &node, *years).map_err(failure)?;
            let folder = folder.display();
            println!(
                "[tls]\nca = \"{folder}/ca.pem\"\ncert = \"{folder}/{node}.pem\"\nkey = \"{folder}/{node}.key\""
            );
        }
    }
    Ok(())
}

pub(super) fn key_new() -> Result<(), Failure> {
    println!("{}", new_key().map_err(|error| Failure::Failed(error.to_string()))?);
    Ok(())
}

/// A key of a keyring, as it is written.
pub(super) fn new_key() -> std::io::Result<String> {
    let mut key = [0_u8; 32];
    let filled = getrandom::fill(&mut key);
    filled.map_err(|error| std::io::Error::other(format!("no entropy: {error}")))?;
    Ok(STANDARD.encode(key))
}

pub(super) fn token_new(args: &TokenNew) -> Result<(), Failure> {
    let minted =
        MintedToken::mint().map_err(|error| Failure::Failed(format!("no entropy: {error}")))?;
    let scopes: Vec<String> = args.scopes.iter().map(|scope| format!("\"{scope}\"")).collect();
    println!("{}", minted.token);
    eprintln!("it is shown only now; admit it with:\n\n[[access.tokens]]");
    eprintln!("hash = \"{}\"\nscopes = [{}]", hex(&minted.hash), scopes.join(", "));
    eprintln!("label = \"{}\"", args.label);
    Ok(())
}

pub(super) fn audit_verify(directory: &Path) -> Result<(), Failure> {
    match crate::audit::verify(directory) {
        Ok(verified) => {
            eprintln!("{} lines, unbroken", verified.lines);
            Ok(())
        }
        Err(broken) => Err(Failure::Failed(broken.to_string())),
    }
}

/// The section of an error code in the page of all codes.
pub(super) fn explain(code: &str) -> Result<(), Failure> {
    let section = section(code);
    let text =
        section.ok_or_else(|| Failure::NotFound(format!("`{code}` is no code of this version")))?;
    println!("{code}\n\n{text}");
    Ok(())
}

fn section(code: &str) -> Option<String> {
    let (_, rest) = ERRORS.split_once(&format!("## `{code}`\n"))?;
    let text = rest.split("\n## ").next().unwrap_or(rest);
    Some(text.trim().replace("**", ""))
}

/// The manual page.
pub(super) fn man(command: &clap::Command) -> Result<(), Failure> {
    let mut page = Vec::new();
    let failed = |error: std::io::Error| Failure::Failed(format!("no manual page: {error}"));
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(failed)?;
    std::io::stdout().write_all(&page).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_explained_by_its_own_section() {
        let text = section("owned_by").expect("a code of this version");
        assert!(text.starts_with("409 another node owns it"), "{text}");
        assert!(!text.contains("##"), "{text}");
        assert_eq!(section("owned"), None);
    }

    #[test]
    fn the_starter_file_is_right_as_it_stands() {
        let path =
            std::env::temp_dir().join(format!("quorate-starter-{}.toml", std::process::id()));
        std::fs::write(&path, STARTER).expect("a temporary file");
        let sources = Sources { file: Some(path.clone()), ..Sources::default() };
        let loaded = Config::load(&sources);
        std::fs::remove_file(&path).expect("its own file");
        loaded.map_err(|problems| config::report(&problems)).expect("no problem");
        assert!(STARTER.lines().count() <= 30);
    }
}
