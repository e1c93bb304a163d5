//! Corelane's event loop: one pinned thread a core, nothing shared on the way of a byte.
//!
//! The crate knows no protocol and no policy. Tasks (`Core::spawn`) wait on sockets, timers and mailboxes; sockets live
//! in a table that a driver pumps (`table`, `driver`), so a future never owns memory that the kernel can touch.
//!
//! | module | what it knows |
//! |---|---|
//! | `core` | the loop, and the handle that tasks have of it |
//! | `table` | every socket's state, and what it needs next |
//! | `driver` | how to get that from the kernel: io_uring or epoll; or from a simulation |
//! | `buffers` | receive buffers, blocks, counted slices of them |
//! | `executor` | tasks, the ready queue, wakers that are integers |
//! | `timer` | the wheel |
//! | `mailbox`, `doorbell`, `signal` | messages from other threads |
//! | `counters` | cells that one core writes and anybody sums |
//! | `host` | what a core asks its kernel, or its simulation, beside that |
//! | `prepared` | listening sockets that are there before the cores: bound early, or inherited |
//! | `privileges` | giving up the user and the capabilities that the process was started with |
//! | `sim` | a simulated network and clock |

/// Named in one place, so that `tests/loom.rs` can put its own in their stead.
mod atomics {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence};
}
mod buffers;
mod core;
pub mod counters;
mod cpus;
mod descriptor;
mod doorbell;
mod driver;
mod executor;
mod host;
pub mod mailbox;
mod prepared;
mod privileges;
mod recycle;
mod signal;
pub mod sim;
mod socket;
mod sys;
mod table;
mod timer;

pub use buffers::{BLOCK_BYTES, RECEIVE_BUFFER_BYTES, Slice};
pub use core::{Core, LoopCounts, Options, Timer, run};
pub use cpus::{allowed_cpus, core_count, disable_huge_pages};
pub use doorbell::Bell;
pub use driver::{Chosen, DriverChoice, DriverCounts};
pub use executor::yield_now;
pub use prepared::{Prepared, inherited};
pub use privileges::{Identity, become_user, forbid_new_privileges};
pub use recycle::Recycled;
pub use socket::{Accepted, Listener, Socket, Watcher};
pub use sys::{descriptors_max, monotonic_us, raise_descriptors_max, try_address};
pub use table::{FLUSH_TIMEOUT_MS, LINGER_TIMEOUT_MS, RECEIVED_BYTES_HIGH, RECEIVED_BYTES_LOW, Received};

/// Asks the processor to bring a value near that is needed in some hundreds of cycles. A hint: nothing changes by it but time.
#[inline]
pub fn prefetch<T>(value: &T) {
    sys::prefetch(std::ptr::from_ref(value).addr(), size_of::<T>());
}
