//! The tables of the specification, row by row.
