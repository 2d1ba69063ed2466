//! Picks against naive models.
