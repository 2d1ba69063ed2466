//! How much memory a decoder holds: an allocator that counts, per thread, what is live.

#![expect(unsafe_code, reason = "an allocator cannot be written without it; tests only")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that ends may free after its counters are gone; nobody measures it any more.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn signed(size: usize) -> isize {
    isize::try_from(size).expect("a layout is at most isize::MAX bytes")
}

// SAFETY: every call is handed to the system's allocator unchanged; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller's promise about `pointer` and `layout` is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs `work` and tells how much more was live at once than before.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, usize::try_from(PEAK.get() - before).unwrap_or(0))
}

/// Runs `work`, which may not hold more than `bound` bytes at once.
pub(crate) fn within(bound: usize, work: impl FnOnce()) {
    let ((), peak) = peak(work);
    assert!(peak <= bound, "{peak} bytes were live where {bound} are allowed");
}

/// What decoding `input` bytes under `limit` may hold at once.
///
/// A lying length can ask for eight times the limit of its class for a moment; many small things can
/// ask for [`GROWTH`] times what arrived.
pub(crate) fn bound(limit: usize, input: usize) -> usize {
    (8 * limit).max(GROWTH * input)
}

/// An entry of three bytes is 56 in memory, and its list doubles as it grows.
const GROWTH: usize = 24;

#[test]
fn the_counter_sees_what_is_live_at_once() {
    let ((), peak) = peak(|| {
        for _ in 0..10 {
            drop(std::hint::black_box(vec![0_u8; 1000]));
        }
        let both = (vec![0_u8; 1000], vec![0_u8; 500]);
        std::hint::black_box(&both);
    });
    assert_eq!(peak, 1500);
}
