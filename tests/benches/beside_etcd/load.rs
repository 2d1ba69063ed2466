//! Callers that ask one thing after another.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::wire::{Address, Client};

/// Bytes of a value.
const VALUE: [u8; 256] = [b'v'; 256];
/// Keys that are written and read.
const KEYS: usize = 1000;
/// Before anything is counted.
const WARMS_UP: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    Put,
    Get,
    GetLocal,
}

/// How many ask what, for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) question: Question,
    pub(crate) callers: usize,
    pub(crate) lasts: Duration,
}

/// How long each answer took. Whatever is refused ends the run: it would be a fast answer.
pub(crate) fn run(address: Address, load: Load) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let took = Rc::new(RefCell::new(Vec::new()));
    let counted = took.clone();
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(async move {
        if load.question != Question::Put {
            let mut client = Client::connect(address).await.expect("it listens");
            for key in 0..KEYS {
                assert!(
                    client.put(&name(key), &VALUE).await.expect("it answers"),
                    "a put is refused"
                );
            }
        }
        let begins = Instant::now() + WARMS_UP;
        let ends = begins + load.lasts;
        let callers: Vec<_> = (0..load.callers)
            .map(|caller| {
                tokio::task::spawn_local(ask(
                    address,
                    load.question,
                    caller,
                    (begins, ends),
                    counted.clone(),
                ))
            })
            .collect();
        for caller in callers {
            caller.await.expect("no caller panics");
        }
    }));
    took.take()
}

async fn ask(
    address: Address,
    question: Question,
    caller: usize,
    (begins, ends): (Instant, Instant),
    took: Rc<RefCell<Vec<Duration>>>,
) {
    let mut client = Client::connect(address).await.expect("it listens");
    for number in caller.. {
        let began = Instant::now();
        if began >= ends {
            return;
        }
        let key = name(number * 7919 % KEYS);
        let well = match question {
            Question::Put => client.put(&key, &VALUE).await,
            Question::Get => client.get(&key, false).await,
            Question::GetLocal => client.get(&key, true).await,
        };
        assert!(well.expect("it answers"), "{question:?} is refused");
        if began >= begins {
            took.borrow_mut().push(began.elapsed());
        }
    }
}

fn name(number: usize) -> String {
    format!("key{number:06}")
}

/// What is written before a start is timed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fill {
    pub(crate) entries: usize,
    /// Over so many keys.
    pub(crate) keys: usize,
    pub(crate) value: &'static [u8],
}

/// A long history of small values.
pub(crate) const HISTORY: Fill = Fill { entries: 1_000_000, keys: 100_000, value: b"a value" };
/// 64 MiB of values, each of its own key.
pub(crate) const VALUES: Fill = Fill { entries: 262_144, keys: 262_144, value: &VALUE };

pub(crate) fn fill(address: Address, what: Fill) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(async move {
        let callers: Vec<_> = (0..FILLERS)
            .map(|caller| {
                tokio::task::spawn_local(async move {
                    let mut client = Client::connect(address).await.expect("it listens");
                    for number in (caller..what.entries).step_by(FILLERS) {
                        let key = name(number % what.keys);
                        assert!(client.put(&key, what.value).await.expect("it answers"), "refused");
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("no caller panics");
        }
    }));
}

const FILLERS: usize = 256;
