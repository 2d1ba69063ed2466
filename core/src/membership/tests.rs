//! What must stay true of membership.

mod cluster;
mod grammar;
mod scripts;
mod world;
