//! G-1 to G-8, for any backlog and any budget.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::gossip::tests::{FakeMaps, replica, up};
use crate::gossip::{Gossip, Input, Settings};
use crate::ids::NodeId;
use crate::limits::SECTION_HEADER_BYTES;
use crate::machine::Machine;
use crate::random::Rng;
use crate::time::Instant;
use crate::wire::decode;
use crate::wire::segment::{Segment, Topic};

/// A backlog: per topic the sizes of its entries, and whether each ends its item.
type Shape = Vec<Vec<(usize, bool)>>;

struct Bench {
    gossip: Gossip,
    maps: FakeMaps,
}

fn target() -> NodeId {
    replica("n2").node
}

fn bench(shape: &Shape, members: usize) -> Bench {
    let settings = Settings {
        interval: Duration::from_millis(200),
        fanout: 3,
        burst: 4,
        digest_interval: Duration::from_secs(2),
        direct_max: 0,
        pull_timeout: Duration::from_secs(2),
        backlog_max: 4096,
    };
    let mut gossip = Gossip::new(settings, replica("n1"), Instant::ZERO, Rng::from_number(1));
    for number in 2..=members {
        gossip.handle(Instant::ZERO, up(&format!("n{number}")), &mut Vec::new());
    }
    let mut maps = FakeMaps::default();
    for (topic, entries) in (1..).map(Topic).zip(shape) {
        let mut from = 0;
        for (sequence, (bytes, ends_item)) in (1..).zip(entries) {
            maps.write(topic, &replica("n1"), sequence, *bytes);
            if *ends_item || sequence == entries.len() as u64 {
                let replica = replica("n1");
                let written = Input::Written { topic, replica, from, upto: sequence };
                gossip.handle(Instant::ZERO, written, &mut Vec::new());
                gossip.flush(Instant::ZERO, &mut Vec::new());
                from = sequence;
            }
        }
    }
    Bench { gossip, maps }
}

impl Bench {
    fn drain(&mut self, budget: usize) -> Vec<(usize, Segment)> {
        let sections = self.gossip.drain(&target(), budget, &self.maps);
        let sections = sections.into_iter().map(|(_, bytes)| {
            let framed = bytes.len() + SECTION_HEADER_BYTES;
            (framed, decode::<Segment, 1400>(&bytes).expect("a segment in canonical form"))
        });
        sections.collect()
    }

    /// Drains until nothing waits, at most so often; tells in which drain each entry first went.
    fn first_sent(&mut self, budget: usize, drains_max: usize) -> BTreeMap<(Topic, u64), usize> {
        let mut first = BTreeMap::new();
        for drain in 0..drains_max {
            if self.gossip.backlog.is_empty() {
                break;
            }
            for (_, segment) in self.drain(budget) {
                for entry in segment.entries.iter() {
                    first.entry((segment.topic, entry.sequence)).or_insert(drain);
                }
            }
            self.end_turn();
        }
        first
    }

    fn end_turn(&mut self) {
        self.gossip.flush(Instant::ZERO, &mut Vec::new());
    }

    /// The framed unit of each of the first 64 items per topic, in order.
    fn units(&self) -> BTreeMap<Topic, Vec<usize>> {
        let backlog = &self.gossip.backlog;
        let topics = backlog.topics().map(|topic| {
            let items = backlog.queue(topic).expect("a topic that had items").items();
            let unit = |item: &crate::gossip::backlog::Item| {
                let load = &mut super::Load::new(&self.maps, usize::MAX);
                load.put_unit(topic, &item.source, item.from, item.upto).expect("it is held");
                usize::MAX - load.left
            };
            (topic, items.take(64).map(unit).collect())
        });
        topics.collect()
    }

    fn order(&self) -> Vec<(Topic, u32, u64, u64)> {
        let backlog = &self.gossip.backlog;
        let items = backlog.topics().flat_map(|topic| {
            let queue = backlog.queue(topic).expect("a topic that had items");
            queue.items().map(move |item| (topic, item.sent, item.from, item.upto))
        });
        items.collect()
    }
}

fn shapes(entry_bytes: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Shape> {
    let entry = (prop_oneof![entry_bytes.clone(), 1_usize..=120], any::<bool>());
    proptest::collection::vec(proptest::collection::vec(entry, 1..16), 1..=8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// G-1 for any sequence of budgets; G-6 and G-7 are asserted by each drain.
    #[test]
    fn no_drain_is_ever_over_its_budget(
        shape in shapes(1..=1500),
        budgets in proptest::collection::vec(0_usize..=1400, 1..12),
    ) {
        let mut bench = bench(&shape, 5);
        for budget in budgets {
            let framed: usize = bench.drain(budget).iter().map(|(framed, _)| framed).sum();
            prop_assert!(framed <= budget, "G-1: {} of {}", framed, budget);
            bench.end_turn();
        }
    }

    /// G-3: progress exactly when some unit fits, and otherwise no change.
    #[test]
    fn a_budget_that_holds_a_unit_makes_progress(shape in shapes(1..=1200), budget in 0_usize..=1400) {
        let mut bench = bench(&shape, 5);
        let smallest = bench.units().into_values().flatten().min().expect("something waits");
        for budget in [budget, smallest, smallest - 1] {
            let before = bench.order();
            let smallest = bench.units().into_values().flatten().min().expect("something waits");
            let sent = bench.drain(budget);
            prop_assert_eq!(!sent.is_empty(), budget >= smallest, "G-3: {} of {}", smallest, budget);
            if sent.is_empty() {
                prop_assert_eq!(before, bench.order());
            }
            bench.end_turn();
        }
    }

    /// G-2 on a backlog that was never skipped: a share each, less than one entry's frame short of it.
    #[test]
    fn each_waiting_topic_gets_its_share(shape in shapes(1..=1200), budget in 0_usize..=1400) {
        let mut bench = bench(&shape, 5);
        let share = budget / shape.len();
        let frames: BTreeMap<Topic, (usize, usize)> = (1..).map(Topic).zip(&shape).map(|(topic, entries)| {
            // Frames of our segments have at most 24 bytes of headers here.
            let largest = entries.iter().map(|(bytes, _)| bytes + 24).max().unwrap_or(0);
            let looked_at = entries.iter().map(|(bytes, _)| *bytes).sum::<usize>();
            (topic, (largest, looked_at))
        }).collect();
        let sent = bench.drain(budget);
        for (topic, (largest, backlog)) in frames {
            let got: usize = sent.iter().filter(|(_, segment)| segment.topic == topic).map(|(framed, _)| framed).sum();
            let due = backlog.min(share).saturating_sub(largest);
            prop_assert!(got >= due, "G-2: {:?} got {} of {}", topic, got, due);
        }
    }

    /// G-1 and G-3 at the edge: a budget of exactly what was sent sends exactly that, one byte less does not.
    #[test]
    fn an_exact_fit_fits(sizes in proptest::collection::vec(1_usize..=400, 1..4)) {
        let shape: Shape = vec![sizes.iter().map(|bytes| (*bytes, false)).collect()];
        let whole = bench(&shape, 5).drain(1400);
        let framed: usize = whole.iter().map(|(framed, _)| framed).sum();
        let exact = bench(&shape, 5).drain(framed);
        prop_assert_eq!(&whole, &exact);
        prop_assert_ne!(whole, bench(&shape, 5).drain(framed - 1));
    }

    /// G-8: with room for the largest unit, every entry goes out and every item retires.
    #[test]
    fn repeated_drains_empty_any_backlog(shape in shapes(1..=1200), members in 2_usize..6) {
        let mut bench = bench(&shape, members);
        let entries: usize = shape.iter().map(Vec::len).sum();
        // An item may be cut once per entry, and each piece waits for its eight skips.
        let first = bench.first_sent(1300, 200 * (entries + 1));
        prop_assert!(bench.gossip.backlog.is_empty(), "G-8: the backlog stays");
        prop_assert_eq!(first.len(), entries, "every entry was sent");
    }

    /// G-4: an item of one entry waits for what stands before it, its eight skips and the aged ones.
    #[test]
    fn nothing_that_fits_waits_longer_than_its_turn(
        mut shape in shapes(1..=1200),
        budget in 1240_usize..=1400,
    ) {
        shape.iter_mut().flatten().for_each(|(_, ends_item)| *ends_item = true);
        let share = budget / shape.len();
        let items: usize = shape.iter().map(Vec::len).sum();
        let first = bench(&shape, 5).first_sent(budget, 200 * (items + 1));
        for (topic, entries) in (1..).map(Topic).zip(&shape) {
            let mut before = 0_usize;
            for (sequence, (bytes, _)) in (1..).zip(entries) {
                let allowed = before.div_ceil(share) + 8 + items;
                let waited = first.get(&(topic, sequence)).copied();
                prop_assert!(waited.is_some_and(|waited| waited <= allowed), "G-4: {:?}", waited);
                before += bytes + 24;
            }
        }
    }

    /// G-5: what is not emitted keeps its order; a remainder stands where its item stood.
    #[test]
    fn what_is_not_sent_keeps_its_order(shape in shapes(1..=1200), budget in 0_usize..=1400) {
        let mut bench = bench(&shape, 5);
        let before = bench.order();
        bench.drain(budget);
        let unsent: Vec<_> = bench.order().into_iter().filter(|(_, sent, ..)| *sent == 0).collect();
        let mut waiting = before.iter();
        for (topic, _, from, upto) in &unsent {
            let stood = waiting.any(|(other, _, start, end)| {
                other == topic && end == upto && start <= from
            });
            prop_assert!(stood, "G-5: {:?} {}..{} has another place", topic, from, upto);
        }
    }
}

#[test]
fn a_burst_goes_on_where_it_stopped_and_the_next_turn_begins_again() {
    let mut bench = bench(&vec![vec![(77, false); 20]], 5);
    let told = |sections: Vec<(usize, Segment)>| -> Vec<(u64, u64)> {
        sections.iter().map(|(_, segment)| (segment.from, segment.upto)).collect()
    };
    assert_eq!(told(bench.drain(699)), [(0, 8)]);
    assert_eq!(told(bench.drain(699)), [(8, 16)]);
    assert_eq!(told(bench.drain(699)), [(16, 20)]);
    assert_eq!(told(bench.drain(699)), []);
    bench.end_turn();
    assert_eq!(told(bench.drain(699)), [(0, 8)]);
}
