//! Laws: whatever is edited and hinted in whatever order, what is in use ends as what is in the folder.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::folder::{File, FolderScript, digest, key, settle, whole};
use crate::limits;
use crate::time::{Instant, UnixTime};

/// One act of somebody who edits files.
#[derive(Debug, Clone)]
enum Act {
    Put(u8, u64),
    Tear(u8),
    Remove(u8),
    Hint(u8),
    Pause(u16),
}

fn act() -> impl Strategy<Value = Act> {
    let id = 0u8..24;
    prop_oneof![
        4 => (id.clone(), 0u64..4).prop_map(|(id, content)| Act::Put(id, content)),
        1 => id.clone().prop_map(Act::Tear),
        2 => id.clone().prop_map(Act::Remove),
        4 => id.prop_map(Act::Hint),
        2 => (0u16..400).prop_map(Act::Pause),
    ]
}

proptest! {
    /// K8, as far as a folder goes: with hints lost, repeated and late, an undisturbed minute brings what is in
    /// use to what is there, but for what the breaker holds. K1 is asserted on the way.
    #[test]
    fn what_is_in_use_ends_as_what_is_there(acts in proptest::collection::vec(act(), 0..120)) {
        let mut script = FolderScript::new(BTreeMap::new());
        let mut now = Instant::from_millis(1);
        script.feed(now, Input::Start);
        let mut revisions: BTreeMap<Key, u64> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Put(id, content) => drop(script.files.insert(format!("k{id}"), whole(content))),
                Act::Tear(id) => drop(script.files.insert(format!("k{id}"), File::Torn)),
                Act::Remove(id) => drop(script.files.remove(&format!("k{id}"))),
                Act::Hint(id) => {
                    let keys = vec![key(&format!("k{id}"))];
                    script.command(now, Command::Hint { keys });
                }
                Act::Pause(millis) => {
                    let wait = Duration::from_millis(millis.into());
                    settle(&mut script, now, wait);
                    now = now + wait;
                }
            }
            for head in script.machine.heads() {
                let last = revisions.insert(head.key.clone(), head.revision);
                prop_assert!(last.is_none_or(|last| last <= head.revision), "K1");
            }
        }
        now = settle(&mut script, now, Duration::from_secs(70));
        settle(&mut script, now, Duration::from_secs(70));
        prop_assert!(script.machine.is_quiet());
        let held = script.machine.breaker_holds();
        let mut missing = 0;
        for head in script.machine.heads() {
            match script.files.get(head.key.id()) {
                Some(File::Whole { content, disabled, .. }) => {
                    prop_assert!(!head.deleted && head.digest == digest(*content, *disabled));
                }
                Some(File::Torn) => {}
                None if head.deleted => {}
                None => missing += 1,
            }
        }
        prop_assert_eq!(missing, held, "K7: what is missing is removed, or held");
        for (id, file) in &script.files {
            let known = script.machine.head(&key(id)).is_some_and(|head| !head.deleted);
            prop_assert!(known || *file == File::Torn, "{} was never taken up", id);
        }
    }
}

/// K5: a flood is bounded by names, and what found no room is found by the look at everything.
#[test]
fn a_flood_overflows_into_one_look_at_everything() {
    let files = (0..1000).map(|at| (format!("k{at}"), whole(1))).collect();
    let mut script = FolderScript::new(files);
    let now = Instant::from_millis(1);
    let keys = (0..1000).map(|at| key(&format!("k{at}"))).collect();
    let told = script.command(now, Command::Hint { keys });
    let offered = told.iter().find_map(|output| {
        let Output::Reply { answer, .. } = output else { return None };
        let Answer::Offered { queued, overflowed, .. } = answer else { return None };
        Some((*queued, *overflowed))
    });
    assert_eq!(offered, Some((256, 744)));
    settle(&mut script, now, Duration::from_secs(1));
    assert_eq!(script.machine.heads().filter(|head| !head.deleted).count(), 1000);
    assert!(script.machine.is_quiet());
}

/// The bound of what is in use refuses what is beyond it, and half of it is never deleted for that.
#[test]
fn more_than_may_be_is_not_taken_up() {
    let files = (0..limits::CREDENTIALS_MAX + 5).map(|at| (format!("k{at}"), whole(1))).collect();
    let mut script = FolderScript::new(files);
    let now = Instant::from_millis(1);
    script.feed(now, Input::Start);
    settle(&mut script, now, Duration::from_secs(3));
    assert_eq!(script.machine.heads().count(), limits::CREDENTIALS_MAX);
    let shown = script.machine.publish().expect("it is new");
    assert_eq!((shown.troubles.len(), shown.loaded), (5, true));
    script.command(now, Command::Purge { before: UnixTime(u64::MAX) });
    assert_eq!(script.machine.heads().count(), limits::CREDENTIALS_MAX, "nothing was deleted");
}
