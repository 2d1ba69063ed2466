//! What must stay true of owner maps.
