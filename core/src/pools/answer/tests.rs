//! The reader as a whole: vectors, scripts per row and source, and laws for any bytes.

mod corners;
mod grammar;
mod laws;
mod scripts;
mod sources;
mod vectors;
