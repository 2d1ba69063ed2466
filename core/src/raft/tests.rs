//! The log in a world of its own: what its members agree on, whatever happens to messages and disks.

mod agreement;
mod beginnings;
mod changes;
mod chaos;
mod climbing;
mod requests;
mod snapshots;
mod strangers;
mod world;
