//! Threads that answer promptly on a machine that is busy with other things.
//!
//! Whoever computes keeps its processor for a slice of some milliseconds, and who wakes meanwhile waits until that is
//! over: after a sync, for a peer's word, for a caller. A thread whose own slices are shorter is let in at once (Linux
//! 6.12, `sched_setattr(2)`), and is interrupted sooner in return. Its share of the processors stays as it is, and
//! nobody needs a privilege for it. Elsewhere nothing changes.
//!
//! Absent on purpose: priorities. A node must never take from its neighbours what they need.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long such a thread may compute before others are let in: the shortest that the kernel knows.
#[cfg(any(target_os = "linux", target_os = "android"))]
const SLICE_NANOS: u64 = 100_000;

/// A runtime whose threads answer promptly.
///
/// # Errors
/// What the machine refuses: threads, or descriptors.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().on_thread_start(answer_promptly).build()
}

/// How often a thread that ends looks whether anything still runs on it.
const LOOK: Duration = Duration::from_millis(10);

/// A thread that answers promptly, with a runtime of its own: what is spawned there stays there, and none of it wakes
/// another thread or is looked for by one. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Own {
    runtime: Handle,
    _ends_with_it: oneshot::Sender<()>,
}

impl Own {
    /// Starts one. When it ends it waits `lingers` for what runs on it.
    ///
    /// # Errors
    /// What the machine refuses: a thread, or descriptors.
    pub(crate) fn start(name: String, lingers: Duration) -> io::Result<Own> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (ends, end) = oneshot::channel::<()>();
        std::thread::Builder::new().name(name).spawn(move || {
            answer_promptly();
            runtime.block_on(until(end, lingers));
        })?;
        Ok(Own { runtime: handle, _ends_with_it: ends })
    }

    /// Where its tasks are spawned.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

/// Waits for the end, and then for what nobody waits for any more.
async fn until(end: oneshot::Receiver<()>, lingers: Duration) {
    let _ = end.await; // It is never sent, only dropped.
    let late = Instant::now() + lingers;
    let tasks = Handle::current().metrics();
    while tasks.num_alive_tasks() > 0 && Instant::now() < late {
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks for short slices for the thread that calls. What the kernel does not know it ignores.
pub fn answer_promptly() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = scheduling().and_then(shorten) {
        tracing::debug!(%error, "a thread cannot ask for short slices");
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn shorten(attributes: libc::sched_attr) -> io::Result<()> {
    let ordinary = [libc::SCHED_OTHER, libc::SCHED_BATCH];
    if !ordinary.iter().any(|policy| u32::try_from(*policy) == Ok(attributes.sched_policy)) {
        return Ok(()); // Somebody has seen to it that it is prompt, or that it is not.
    }
    let wanted = libc::sched_attr { sched_runtime: SLICE_NANOS, ..attributes };
    #[expect(unsafe_code, reason = "no library that is in use has this call")]
    // SAFETY: the pointer is to a live `sched_attr` of this frame, which the call only reads.
    let outcome = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How the thread that calls is scheduled.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn scheduling() -> io::Result<libc::sched_attr> {
    let size = u32::try_from(size_of::<libc::sched_attr>()).expect("a small structure");
    let mut attributes = libc::sched_attr {
        size,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    #[expect(unsafe_code, reason = "no library that is in use has this call")]
    // SAFETY: the pointer is to a live `sched_attr` of this frame, of the size that is named, which the call only writes.
    let outcome =
        unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    if outcome == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_answers_promptly_is_as_nice_as_before() {
        let told = std::thread::spawn(|| {
            let before = scheduling()?;
            shorten(libc::sched_attr { sched_nice: before.sched_nice + 3, ..before })?;
            let nicer = scheduling()?;
            answer_promptly();
            io::Result::Ok((before, nicer, scheduling()?))
        });
        let (before, nicer, after) = told.join().expect("no panic").expect("the kernel answers");
        assert_eq!(nicer.sched_nice, (before.sched_nice + 3).min(19));
        assert_eq!(after.sched_nice, nicer.sched_nice);
        assert_eq!(after.sched_policy, before.sched_policy);
        // Kernels before 6.12 have no slices of a thread's own and tell none.
        assert!([0, SLICE_NANOS].contains(&after.sched_runtime), "{}", after.sched_runtime);
    }
}
