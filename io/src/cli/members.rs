//! `quorate member …`.

use hyper::Method;
use serde_json::{Value, json};

use super::args::Member;
use super::client::{Client, Failure};
use super::show::{columns, items, print, text, whole_list, yaml};

pub(super) async fn run(client: &Client, verb: Member) -> Result<(), Failure> {
    match verb {
        Member::List { state, watch } => {
            let filter = state.map_or_else(String::new, |state| format!("?state={state}"));
            let list = whole_list(client, &format!("/v1/cluster/members{filter}")).await?;
            print(client, &list, |list| table(client, items(list)));
            if watch {
                return super::events::watch(client, "/v1/cluster/members/watch").await;
            }
        }
        Member::Show { id } => {
            let member = client.get(&format!("/v1/cluster/members/{id}")).await?;
            print(client, &member, |member| yaml(member, 0));
        }
        Member::Join { addresses } => {
            client.post("/v1/cluster/join", Some(&json!({ "addresses": addresses }))).await?;
            eprintln!("these seeds are tried from now on");
        }
        Member::Leave { remove_workers } => {
            confirm(client, "leave the cluster and stop this node")?;
            let body = json!({ "remove_workers": remove_workers });
            client.post("/v1/cluster/leave", Some(&body)).await?;
            eprintln!("the node leaves");
        }
        Member::Evict { id } => {
            confirm(client, &format!("forget `{id}` and everything it owned"))?;
            client.ask(Method::DELETE, &format!("/v1/cluster/members/{id}"), None, None).await?;
            eprintln!("`{id}` is forgotten");
        }
    }
    Ok(())
}

/// The member table.
pub(super) fn table(client: &Client, members: &[Value]) -> String {
    let keys = ["/id", "/state", "/incarnation", "/address", "/zone", "/since"];
    let row = |member: &Value| -> Vec<String> {
        let mut cells: Vec<String> = keys.iter().map(|key| text(member, key)).collect();
        if text(member, "/self") == "true"
            && let Some(first) = cells.first_mut()
        {
            first.push('*');
        }
        cells
    };
    let rows: Vec<Vec<String>> = members.iter().map(row).collect();
    columns(client, &["MEMBER", "STATE", "INCARNATION", "ADDRESS", "ZONE", "SINCE"], &rows)
}

/// Asks before what cannot be undone; without a terminal `--yes` must have been said.
pub(super) fn confirm(client: &Client, what: &str) -> Result<(), Failure> {
    use std::io::IsTerminal as _;
    if client.assume_yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("this would {what}: say --yes")));
    }
    eprint!("This will {what}. Type yes to go on: ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|error| Failure::Failed(format!("no answer: {error}")))?;
    if answer.trim() == "yes" {
        Ok(())
    } else {
        Err(Failure::Failed("nothing was done".to_owned()))
    }
}
