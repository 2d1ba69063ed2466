//! Content decoding of what upstreams answer, bounded.
//!
//! A body is decoded to at most a bound of output: what is beyond it is not seen, and whatever it would
//! cost to decode is not spent. What does not decode as a whole is absent.

use std::borrow::Cow;
use std::io::{self, Read};

/// Codings that one body may have on top of each other.
const LAYERS_MAX: usize = 4;
/// Bytes of the buffer that a brotli decoder reads through.
const BROTLI_BUFFER_BYTES: usize = 4096;
/// Bytes of zstd's window that are believed: 8 MiB, as RFC 9659 asks.
const ZSTD_WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The first `bytes_max` bytes of `body` without its `codings`, as `Content-Encoding` lists them in the
/// order in which they were applied. `None` if a coding is not known or the body is not what it says.
pub fn decoded<'a>(body: &'a [u8], codings: &str, bytes_max: usize) -> Option<Cow<'a, [u8]>> {
    let codings: Vec<String> = codings
        .split(',')
        .map(|coding| coding.trim().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect();
    if codings.len() > LAYERS_MAX {
        return None;
    }
    if codings.is_empty() {
        return Some(Cow::Borrowed(body.get(..bytes_max).unwrap_or(body)));
    }
    let mut decoded = Cow::Borrowed(body);
    for coding in codings.iter().rev() {
        decoded = Cow::Owned(layer(&decoded, coding, bytes_max)?);
    }
    Some(decoded)
}

fn layer(body: &[u8], coding: &str, bytes_max: usize) -> Option<Vec<u8>> {
    match coding {
        "gzip" | "x-gzip" => bounded(flate2::bufread::MultiGzDecoder::new(body), bytes_max),
        // RFC 9110 means zlib's form; some send the bare stream.
        "deflate" => bounded(flate2::bufread::ZlibDecoder::new(body), bytes_max)
            .or_else(|| bounded(flate2::bufread::DeflateDecoder::new(body), bytes_max)),
        "br" => {
            bounded(brotli_decompressor::Decompressor::new(body, BROTLI_BUFFER_BYTES), bytes_max)
        }
        "zstd" => zstd(body, bytes_max),
        _ => None,
    }
}

fn zstd(body: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    use ruzstd::decoding::StreamingDecoder;
    let decoder = StreamingDecoder::new_with_max_window_size(body, ZSTD_WINDOW_BYTES_MAX);
    bounded(decoder.ok()?, bytes_max)
}

/// What `reader` gives, up to the bound.
fn bounded(reader: impl Read, bytes_max: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let read: io::Result<usize> = reader.take(most).read_to_end(&mut bytes);
    read.ok().map(|_| bytes)
}
