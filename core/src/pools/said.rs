//! What one node publishes of pools, and what a merge refuses.
//!
//! | key | says | value |
//! | --- | --- | --- |
//! | `r/<target>` | it rests | [`RestSaid`] |
//! | `c/<target>` | these rests are over | [`ClearSaid`] |
//! | `k/<target>` | an operator set this member aside, or took it back | [`ParkSaid`] |
//! | `d/<target>` | requests here could use it | [`DemandSaid`] |
//! | `p/<target>` | a request from here tries it | [`ProbeSaid`] |
//! | `n/<pool>/<what>` | people were told: of a lane, or of `<credential>/<class>` | [`NoticeSaid`] |
//!
//! An unknown class, a reach that is none or a value of another form is refused at merge and leaves no trace.
//! What only a clock can judge (a deadline beyond all bounds) is cut by the reader, who reports it.
//!
//! Absent on purpose: provider-wide rests. They are this node's address there, and nobody else's business.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::target::{Subject, Target};
use super::{Cause, Class, Name};
use crate::ids::{Incarnation, NodeId, Replica};
use crate::limits;
use crate::wire::Blob;
use crate::wire::segment::Key;

/// Who first wrote a rest, and as its how manyth. Re-minting and restating keep it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// By whom.
    pub node: NodeId,
    /// In which life.
    pub incarnation: Incarnation,
    /// Rises with every rest that this life writes.
    pub sequence: u64,
}

impl Origin {
    /// Whose sequence it counts in.
    pub fn replica(&self) -> Replica {
        Replica { node: self.node.clone(), incarnation: self.incarnation }
    }
}

/// A target rests. Times are Unix ms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestSaid {
    /// Why.
    pub class: Class,
    /// Where the wait stood.
    pub source: Arc<str>,
    /// Until when ordinary traffic stays away.
    pub rest_until: u64,
    /// Until when the upstream said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stated_reset: Option<u64>,
    /// The how manyth failure in a row without a stated wait.
    pub n: u32,
    /// When it began.
    pub since: u64,
    /// The head of a hash over status and source, in hex.
    pub evidence: Arc<str>,
    /// Who first wrote it.
    pub origin: Origin,
}

/// Rests that are over: for each life, all through this sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClearSaid {
    /// What is covered.
    pub covers: Vec<Origin>,
    /// Why.
    pub cause: Cause,
}

impl ClearSaid {
    /// Whether it voids a rest.
    pub fn voids(&self, rest: &RestSaid) -> bool {
        self.covers.iter().any(|covered| {
            covered.node == rest.origin.node
                && covered.incarnation == rest.origin.incarnation
                && rest.origin.sequence <= covered.sequence
        })
    }
}

/// An operator's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParkSaid {
    /// When it was wished; the latest wins.
    pub set_at: u64,
    /// Until when; 0: taken back.
    pub until: u64,
}

/// Requests here could use a half-open member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemandSaid {
    /// Rises with every renewal.
    pub count: u64,
    /// Whether an operator asks: then it may be tried before its rest is over.
    pub asked: bool,
}

/// A request tries a half-open member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeSaid {
    /// Which rest: its folded `rest_until`.
    pub rest: u64,
    /// The how manyth try of it, from 0.
    pub attempt: u64,
    /// Whether its outcome is known.
    pub spent: bool,
    /// How many tries in a row taught nothing.
    pub idle: u32,
    /// Not before this, Unix ms; 0: whenever it is due.
    pub next_at: u64,
}

/// People were told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeSaid {
    /// When the edge was that it tells of, Unix ms.
    pub of: u64,
    /// What: `exhausted`, `still_exhausted`, `recovered`, `billing` or `auth_failed`.
    pub kind: Arc<str>,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Rest(Target, Option<RestSaid>),
    Clear(Target, Option<ClearSaid>),
    Park(Target, Option<ParkSaid>),
    Demand(Target, Option<DemandSaid>),
    Probe(Target, Option<ProbeSaid>),
    Notice(Arc<str>, Option<NoticeSaid>),
}

/// Whether an entry may stand in `author`'s map of the pools topic.
pub fn check_entry(_: &Replica, key: &Key, value: Option<&Blob>) -> Result<(), &'static str> {
    read_entry(key, value).map(|_| ())
}

/// Reads an entry, refusing what no honest node writes.
pub(super) fn read_entry(key: &Key, value: Option<&Blob>) -> Result<Said, &'static str> {
    if value.is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
        return Err("a pools entry over bounds");
    }
    let (kind, rest) = key.split_once('/').ok_or("a key that is none of the topic's")?;
    if kind == "n" {
        let (pool, what) = rest.split_once('/').ok_or("a notice of no pool")?;
        pool.parse::<Name>().map_err(|_| "a notice of no pool")?;
        let said: Option<NoticeSaid> = read(value)?;
        if what.len() > limits::POOL_MODEL_BYTES_MAX
            || said.as_ref().is_some_and(|said| said.kind.len() > limits::POOL_SOURCE_BYTES_MAX)
        {
            return Err("a notice over bounds");
        }
        return Ok(Said::Notice(Arc::from(rest), said));
    }
    let target: Target = rest.parse()?;
    let (subject, _) = &target.whom;
    let said = match kind {
        "r" => {
            let all = target.reach == super::target::Reach::All;
            if all && matches!(subject, Subject::Provider(_)) {
                return Err("a rest of one node's address");
            }
            let said: Option<RestSaid> = read(value)?;
            if said.as_ref().is_some_and(|said| !said.class.rests() || !is_short(said)) {
                return Err("a rest of what does not rest");
            }
            Said::Rest(target, said)
        }
        "c" => Said::Clear(target, read(value)?),
        "k" if matches!(subject, Subject::Credential(_)) => Said::Park(target, read(value)?),
        "d" => Said::Demand(target, read(value)?),
        "p" => Said::Probe(target, read(value)?),
        _ => return Err("a key that is none of the topic's"),
    };
    Ok(said)
}

fn is_short(said: &RestSaid) -> bool {
    said.source.len() <= limits::POOL_SOURCE_BYTES_MAX && said.evidence.len() <= 16
}

fn read<T: DeserializeOwned>(value: Option<&Blob>) -> Result<Option<T>, &'static str> {
    value
        .map(|value| serde_json::from_slice(value))
        .transpose()
        .map_err(|_| "a malformed pools entry")
}

/// The bytes of a value.
pub(super) fn blob(value: &impl Serialize) -> Blob {
    Blob::from(serde_json::to_vec(value).expect("what is said is a JSON object"))
}

/// The key under which something is said of a target: `r`, `c`, `k`, `d` or `p`.
pub(super) fn key(kind: &str, target: &Target) -> Key {
    Key::from(format!("{kind}/{target}"))
}

/// Everything that one author says.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    /// In which life, as far as is known.
    pub(super) incarnation: Incarnation,
    /// Whether its node was given up for dead.
    pub(super) failed: bool,
    pub(super) rests: BTreeMap<Target, RestSaid>,
    pub(super) clears: BTreeMap<Target, ClearSaid>,
    pub(super) parks: BTreeMap<Target, ParkSaid>,
    /// With the moment at which this very word was first seen here.
    pub(super) demands: BTreeMap<Target, (DemandSaid, u64)>,
    pub(super) probes: BTreeMap<Target, (ProbeSaid, u64)>,
    pub(super) notices: BTreeMap<Arc<str>, NoticeSaid>,
}

impl Book {
    /// How many entries it has.
    pub(super) fn len(&self) -> usize {
        self.rests.len()
            + self.clears.len()
            + self.parks.len()
            + self.demands.len()
            + self.probes.len()
            + self.notices.len()
    }

    /// Takes in what an entry says at `now`, Unix ms.
    pub(super) fn hear(&mut self, now: u64, said: Said) -> Option<Target> {
        fn put<T>(map: &mut BTreeMap<Target, T>, target: &Target, value: Option<T>) {
            match value {
                Some(value) => map.insert(target.clone(), value),
                None => map.remove(target),
            };
        }
        match said {
            Said::Rest(target, said) => {
                put(&mut self.rests, &target, said);
                Some(target)
            }
            Said::Clear(target, said) => {
                put(&mut self.clears, &target, said);
                Some(target)
            }
            Said::Park(target, said) => {
                put(&mut self.parks, &target, said);
                Some(target)
            }
            Said::Demand(target, said) => {
                put(&mut self.demands, &target, said.map(|said| (said, now)));
                Some(target)
            }
            Said::Probe(target, said) => {
                put(&mut self.probes, &target, said.map(|said| (said, now)));
                Some(target)
            }
            Said::Notice(lane, said) => {
                match said {
                    Some(said) => self.notices.insert(lane, said),
                    None => self.notices.remove(&lane),
                };
                None
            }
        }
    }

    /// Every target that it speaks of.
    pub(super) fn targets(&self) -> std::collections::BTreeSet<Target> {
        let rests = self.rests.keys().chain(self.clears.keys()).chain(self.parks.keys());
        rests.chain(self.demands.keys()).chain(self.probes.keys()).cloned().collect()
    }
}

/// A clear of as many lives as it may name, each under the longest of node ids.
const VALUE_BYTES_MAX: usize = 16 * 1024;
