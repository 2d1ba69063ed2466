//! Scripts, laws and codecs.
