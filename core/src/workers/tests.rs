//! What the parts do together: every row of the table of statuses, silence, removal, refusals.

mod harness;
mod laws;
mod ownership;
mod removal;
mod silence;
mod table;
