//! What must stay true of membership.

mod cluster;
mod scripts;
mod world;
