//! Scripts for every row of the tables, laws against a simple model, and codecs on any bytes.

mod anything;
mod harness;
mod keys;
mod leases;
mod locks;
mod model;
mod outside;
mod watches;
