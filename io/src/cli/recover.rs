//! `quorate raft recover`: what to do when a majority of the log's voters is gone for good.
//!
//! It works on the store of a node that does not run. The survivor with the most entries goes on alone, as
//! another log; every other copy is dropped, and its node is added again when it meets the survivor. Both
//! are asked for twice, since neither can be undone.

use std::io::{BufRead as _, Write as _};

use quorate_core::ids::NodeId;
use quorate_core::node::raft::Genesis;

use super::args::Recover;
use super::client::Failure;
use crate::store::{Batch, Directory, Store, StoreError};

/// Changes the store as asked, if that is meant twice.
pub(super) fn recover(words: &Recover, assume_yes: bool) -> Result<(), Failure> {
    let path = words.store.as_path();
    let shown = path.display();
    if !path.join("store").join("node.redb").exists() {
        return Err(Failure::NotFound(format!("there is no store in {shown}")));
    }
    let holder: NodeId = "recover".parse().expect("letters are a node id");
    let directory = Directory::take(path, &holder).map_err(unusable)?;
    let (mut store, image) = directory.open().map_err(unusable)?;
    if words.rejoin {
        let batch = quorate_core::node::dropped(&image);
        if batch.is_empty() {
            return Err(Failure::NotFound(format!("there is no copy of a log in {shown}")));
        }
        ask(assume_yes, &format!("drop the copy of the log in {shown}"), "drop")?;
        apply(&mut store, batch)?;
        eprintln!("dropped; start the node: it waits to be added to the log that it meets");
        return Ok(());
    }
    let fit = quorate_core::node::survivor(&image, drawn()?);
    let (survivor, batch) = fit.map_err(|unfit| Failure::Failed(format!("{shown}: {unfit}")))?;
    let (term, index) = survivor.last;
    eprintln!("node {} holds entries through {index} of term {term}", survivor.node);
    eprintln!("voters were {}", names(&survivor.voters));
    let what = "let it go on alone; whatever others hold beyond that is lost".to_owned();
    let log = format!("{:032x}", survivor.was.0);
    let (first, _) = log.split_at(8);
    eprintln!("the log is {log}");
    ask(assume_yes, &what, first)?;
    apply(&mut store, batch)?;
    eprintln!(
        "start {} now; then, for every other node: quorate raft recover --store … --rejoin",
        survivor.node
    );
    Ok(())
}

/// Asks once for `yes`, and once for `word`.
fn ask(assume_yes: bool, what: &str, word: &str) -> Result<(), Failure> {
    let questions = [
        (format!("This will {what}. Type yes to go on: "), "yes"),
        (format!("It cannot be undone. Type {word} to do it: "), word),
    ];
    if assume_yes {
        return Ok(());
    }
    let mut answers = std::io::stdin().lock().lines();
    for (question, wanted) in questions {
        eprint!("{question}");
        std::io::stderr().flush().map_err(unanswered)?;
        let answer = answers.next().transpose().map_err(unanswered)?;
        if answer.as_deref().map(str::trim) != Some(wanted) {
            return Err(Failure::Failed("nothing was done".to_owned()));
        }
    }
    Ok(())
}

fn unanswered(error: std::io::Error) -> Failure {
    Failure::Failed(format!("no answer: {error}"))
}

fn apply(store: &mut Store, batch: Batch) -> Result<(), Failure> {
    store.apply(&[batch]).map_err(unusable)
}

fn unusable(error: StoreError) -> Failure {
    match &error {
        StoreError::Held { .. } => Failure::Conflict(format!("{error}: stop it first")),
        StoreError::Directory { .. }
        | StoreError::Exposed { .. }
        | StoreError::Write(_)
        | StoreError::Corrupt(_) => Failure::Failed(error.to_string()),
    }
}

fn drawn() -> Result<Genesis, Failure> {
    let mut bytes = [0_u8; 16];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| Failure::Failed(format!("no entropy: {error}")))?;
    Ok(Genesis(u128::from_le_bytes(bytes)))
}

fn names(nodes: &[NodeId]) -> String {
    let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
    names.join(", ")
}
