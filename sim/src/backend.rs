//! Who drives the nodes of a run.
//!
//! | backend | nodes are driven by | over |
//! | --- | --- | --- |
//! | [`direct`] | the world's own queue | the world's own network and disks |
//! | `turmoil` | the shell of the daemon | the sockets and the runtimes of turmoil, disks of sectors |
//!
//! Plans, records and promises are the same for all. What a backend cannot do is refused by name.

pub mod direct;
pub mod reach;
#[cfg(feature = "shell")]
pub mod shell;
#[cfg(feature = "turmoil")]
pub mod turmoil;

use crate::clock::Micros;
use crate::world::World;

/// Runs the processes of a world that has them elsewhere.
pub trait Host {
    /// Obeys the world, and lets its processes run until `until` or a little later.
    fn run(&mut self, world: &mut World, until: Micros);
}

/// Which backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// See [`direct`].
    #[default]
    Direct,
    /// Real shells over turmoil.
    #[cfg(feature = "turmoil")]
    Turmoil,
}

impl Backend {
    /// All that this build has, by name.
    pub const ALL: &[(&str, Backend)] = &[
        ("direct", Backend::Direct),
        #[cfg(feature = "turmoil")]
        ("turmoil", Backend::Turmoil),
    ];

    /// As on a command line.
    pub fn name(self) -> &'static str {
        let named = Backend::ALL.iter().find(|(_, backend)| *backend == self);
        named.map_or("", |(name, _)| name)
    }

    /// Reads a name.
    ///
    /// # Errors
    /// Says which names there are, and of one that this build lacks how to get it.
    pub fn named(name: &str) -> Result<Backend, String> {
        if let Some((_, backend)) = Backend::ALL.iter().find(|(known, _)| *known == name) {
            return Ok(*backend);
        }
        Err(match name {
            "turmoil" => "this build has no `turmoil`: build it with `--features turmoil`".into(),
            _ => format!("no backend is called `{name}`: there are `direct` and `turmoil`"),
        })
    }

    /// Moves the processes of `world` to where this backend runs them.
    pub(crate) fn host(self, world: &mut World, seed: u64) -> Option<Box<dyn Host>> {
        match self {
            Backend::Direct => {
                let _ = (world, seed); // Its own queue drives it.
                None
            }
            #[cfg(feature = "turmoil")]
            Backend::Turmoil => Some(Box::new(turmoil::shells(world, seed))),
        }
    }
}
