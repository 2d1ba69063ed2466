//! The command line's words agree with themselves, and their examples are words too.

use clap::{Command as Clap, CommandFactory as _, Parser as _};

use super::Args;

/// Every command that runs, by its whole name.
fn leaves(command: &Clap, name: &str, found: &mut Vec<(String, Clap)>) {
    if !command.has_subcommands() {
        found.push((name.to_owned(), command.clone()));
    }
    for verb in command.get_subcommands() {
        leaves(verb, &format!("{name} {}", verb.get_name()), found);
    }
}

fn all() -> Vec<(String, Clap)> {
    let mut found = Vec::new();
    leaves(&Args::command(), "quorate", &mut found);
    found
}

fn examples(command: &Clap) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    help.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
}

#[test]
fn the_words_agree_with_themselves() {
    Args::command().debug_assert();
}

#[test]
fn every_verb_has_two_examples_of_itself_and_each_parses() {
    for (name, command) in all() {
        let examples = examples(&command);
        assert!(examples.len() >= 2, "`{name} --help` has {} examples", examples.len());
        for example in examples {
            let words =
                example.split_whitespace().take_while(|word| !matches!(*word, ">" | ">>" | "|"));
            let words: Vec<&str> = words.collect();
            assert!(words.join(" ").starts_with(&name), "`{example}` is no example of `{name}`");
            let parsed = Args::try_parse_from(words);
            assert!(parsed.is_ok(), "`{example}`: {}", parsed.expect_err("it did not parse"));
        }
    }
}

#[test]
fn the_nouns_and_verbs_are_the_promised_ones() {
    let names: Vec<String> = all().into_iter().map(|(name, _)| name).collect();
    for promised in [
        "dev",
        "serve",
        "init",
        "status",
        "health",
        "doctor",
        "explain",
        "completion",
        "man",
        "config check",
        "config show",
        "key list",
        "key new",
        "token new",
        "audit tail",
        "audit verify",
        "member list",
        "member show",
        "member join",
        "member leave",
        "member evict",
        "credential list",
        "credential show",
        "credential put",
        "credential delete",
        "credential disable",
        "credential enable",
        "credential reveal",
        "credential reconcile",
        "credential purge",
        "credential breaker",
        "worker list",
        "worker show",
        "worker add",
        "worker set",
        "worker drain",
        "worker undrain",
        "worker remove",
        "worker probe",
        "worker suppress",
        "worker unsuppress",
        "worker pick",
        "worker explain",
        "gossip show",
        "event follow",
        "node show",
        "node reload",
        "node drain",
        "node undrain",
        "node dump",
        "trace record",
        "members",
        "credentials",
        "workers",
        "events",
        "keys",
    ] {
        let name = format!("quorate {promised}");
        assert!(names.contains(&name), "`{name}` is missing");
    }
}

#[test]
fn what_every_verb_takes_may_come_after_it() {
    let late = ["quorate", "worker", "list", "--output", "json", "--address", "[::1]:8430"];
    let parsed = Args::try_parse_from(late).expect("well formed");
    assert_eq!(parsed.target.address.as_deref(), Some("[::1]:8430"));
}
