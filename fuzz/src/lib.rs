//! What nobody would write: decoders and machines against arbitrary bytes.
