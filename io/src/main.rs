//! The `quorate` command.

/// Every request and every entry is made of small values, made on one thread and dropped on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    want_small_pages();
    quorate::cli::main()
}

/// Asks the system for no huge pages: it wipes the whole of one for the first byte that is wanted of it, and the log
/// wants some bytes here and there all the time. Elsewhere, and where the system knows better, nothing changes.
fn want_small_pages() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
