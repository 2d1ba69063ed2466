//! What must stay true of membership.

mod anything;
mod cluster;
mod comings;
mod grammar;
mod scripts;
mod world;
