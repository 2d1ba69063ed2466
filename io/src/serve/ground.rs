//! What a node stands on: this machine, or one that is made up.
//!
//! A simulated machine brings its own chance, wall clock and disk, and everything above them is the same
//! code. [`start_in`] is the door for whoever has such a machine.
//!
//! Absent on purpose: any way to get here from a configuration.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::ids::{Incarnation, NodeId};
use quorate_core::node::{INCARNATION_KEY, Image, Keyspace, Settings};
use quorate_core::time::Instant;
use quorate_core::wire::{self, Blob};
use tokio::sync::oneshot;

use super::{Running, ServeSettings, StartError, start_at};
use crate::clock;
use crate::net::Net;
use crate::outside::Outside;
use crate::shell::Mind;
use crate::store::{Directory, Keeper, Store, StoreError, Watch};

/// A disk that is no directory of this machine.
pub trait Medium: Send + 'static {
    /// Opens the store on it, and reads what it holds.
    fn open(&self) -> Result<(Store, Image), StoreError>;
    /// How long what was just written takes until it is on the medium.
    fn delay(&mut self) -> Duration;
    /// That time has passed: what was written is there to stay, and is now reported.
    fn settled(&mut self);
}

/// What of a machine reaches a node other than by its network.
pub struct Ground {
    /// Whence all of the node's chance comes.
    pub seed: [u8; 32],
    /// Microseconds since 1970: the life of a node that keeps nothing, and the first one of an empty disk.
    pub wall_us: u64,
    /// Where it keeps its rows, if not in its data directory.
    pub medium: Option<Box<dyn Medium>>,
}

impl Ground {
    /// This machine.
    pub(super) fn here() -> Ground {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the machine has entropy");
        Ground { seed, wall_us: clock::wall_micros(), medium: None }
    }
}

/// Starts a node on a machine that is made up: `boot` makes what the loop owns of the settings, the life,
/// what the disk held, the seed and the present instant; `outside` performs its calls.
///
/// # Errors
/// As for a node of this machine: what its sockets or its store refuse.
pub async fn start_in<N: Net, M: Mind + Send + 'static>(
    net: N,
    serve: ServeSettings,
    ground: Ground,
    boot: impl FnOnce(Settings, Incarnation, &Image, [u8; 32], Instant) -> M,
    outside: Arc<dyn Outside>,
) -> Result<Running, StartError> {
    start_at(net, serve, ground, Vec::new(), boot, |_, _, _| outside).await
}

/// What a life begins with.
pub(super) struct Kept {
    pub(super) incarnation: Incarnation,
    pub(super) image: Image,
    store: Option<(Store, Holding)>,
    /// What the first write took.
    took: Duration,
}

/// What a store lies in.
enum Holding {
    Directory(Directory),
    Medium(Box<dyn Medium>),
}

impl Kept {
    /// Opens the store, if there is one, and makes the new life durable in it.
    pub(super) fn open(
        net: &impl Net,
        data: Option<&Path>,
        node: &NodeId,
        ground: Ground,
    ) -> Result<Kept, StoreError> {
        let ((mut store, mut image), mut holding) = match (ground.medium, data) {
            (Some(medium), _) => (medium.open()?, Holding::Medium(medium)),
            (None, Some(path)) => {
                let directory = Directory::take(path, node)?;
                (directory.open()?, Holding::Directory(directory))
            }
            (None, None) => {
                let (image, took) = (Image::new(), Duration::ZERO);
                let incarnation = Incarnation(ground.wall_us);
                return Ok(Kept { incarnation, image, store: None, took });
            }
        };
        let began = net.now();
        let incarnation = next_life(&mut store, &mut image, Incarnation(ground.wall_us))?;
        if let Holding::Medium(medium) = &mut holding {
            medium.settled();
        }
        let took = net.now().since(began);
        Ok(Kept { incarnation, image, store: Some((store, holding)), took })
    }

    /// Hands the store to its thread, or over a made up disk to its task. `released` is dropped when the
    /// data directory is free again.
    pub(super) fn keeper(
        self,
        net: &impl Net,
        watch: Watch,
        released: oneshot::Sender<()>,
    ) -> Keeper {
        let Some((store, holding)) = self.store else { return Keeper::of_memory() };
        watch.committed(self.took);
        match holding {
            Holding::Directory(directory) => {
                Keeper::of_store(store, (directory, released), net.clone(), watch)
            }
            Holding::Medium(medium) => Keeper::of_medium(net, store, medium, watch),
        }
    }
}

/// One above the life that is stored; on an empty disk `fresh`, so that one that was lost repeats no life.
fn next_life(
    store: &mut Store,
    image: &mut Image,
    fresh: Incarnation,
) -> Result<Incarnation, StoreError> {
    quorate_core::node::check(image).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let key = (Keyspace::Meta, INCARNATION_KEY.to_owned());
    let incarnation = match image.get(&key) {
        Some(bytes) => wire::decode::<u64, 9>(bytes)
            .map(|stored| Incarnation(stored).next())
            .map_err(|_| StoreError::Corrupt("the incarnation is no number".to_owned()))?,
        None => fresh,
    };
    let value = Blob::from(wire::encode(&incarnation.0));
    store.apply(&[vec![(key.0, key.1.clone(), Some(value.clone()))]])?;
    image.insert(key, value);
    Ok(incarnation)
}
