//! The process's dealings with the system: SIGINT and SIGTERM as an event on a thread of its own, so that no handler
//! interrupts an event loop, and the limit of open files.

use std::mem::MaybeUninit;

/// Calls `interrupted` at each SIGINT or SIGTERM. Has to be called before any other thread starts: threads inherit the
/// mask that keeps these signals for ours.
pub(crate) fn on_interrupt(mut interrupted: impl FnMut() + Send + 'static) -> std::io::Result<()> {
    let signals = block();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        loop {
            let mut signal = 0;
            // SAFETY: both pointers are to locals; the set was initialised by `block`.
            if unsafe { libc::sigwait(&raw const signals, &raw mut signal) } == 0 {
                interrupted();
            }
        }
    })?;
    Ok(())
}

fn block() -> libc::sigset_t {
    let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set before the others read it; the old mask isn't asked for.
    unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        libc::sigaddset(signals.as_mut_ptr(), libc::SIGINT);
        libc::sigaddset(signals.as_mut_ptr(), libc::SIGTERM);
        libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), std::ptr::null_mut());
        signals.assume_init()
    }
}

/// Raises the limit of open files as far as it goes without privileges, so that connections aren't short of descriptors.
pub(crate) fn raise_files_max() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a local. A failure leaves the limit as it was.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
