//! What a core and those who wake it say to each other: two flags, and the tasks to wake. All that memory orders decide is
//! here. It names its atomics by way of `crate::atomics`, so that `tests/loom.rs` can try every order of events on this
//! very file.
//!
//! A sender puts its message where the core will look (a mailbox, the list of woken tasks), then rings. Waking the core
//! costs a system call only if it sleeps or is about to; a fence on either side between its own flag and the other's rules
//! out that the sender sees an awake core while the core misses the message:
//!
//! | sender | core |
//! |---|---|
//! | message; `pending = true`; fence; read `asleep` | `asleep = true`; fence; read `pending`; sleep if false |

use std::ptr;

use crate::atomics::{AtomicBool, AtomicPtr, Ordering, fence};

pub(crate) struct Signal {
    pending: AtomicBool,
    asleep: AtomicBool,
    /// Tasks woken by other threads: a stack that the core takes whole.
    woken: AtomicPtr<Woken>,
}

struct Woken {
    task: u64,
    next: *mut Woken,
}

impl Signal {
    pub(crate) fn new() -> Signal {
        Signal {
            pending: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            woken: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The sender's side, behind its message. True: the core sleeps, or is about to, and has to be woken.
    #[must_use]
    pub(crate) fn ring(&self) -> bool {
        // Not a plain store: where two ring, the core must see what was put down before either, and only a
        // read-modify-write goes on with what the other has released.
        self.pending.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed)
    }

    /// The sender's side: as [`ring`](Signal::ring), with a task to wake.
    #[must_use]
    pub(crate) fn push_woken(&self, task: u64) -> bool {
        let node = Box::into_raw(Box::new(Woken { task, next: ptr::null_mut() }));
        let mut head = self.woken.load(Ordering::Relaxed);
        loop {
            // SAFETY: the node is ours until the exchange succeeds.
            unsafe { (*node).next = head };
            match self.woken.compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        self.ring()
    }

    /// The core's side: whether something was put down since the last call.
    pub(crate) fn take_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed) && self.pending.swap(false, Ordering::Acquire)
    }

    /// Whether something was put down that the core hasn't looked at.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// The core's side, before it sleeps. False: don't, something is pending.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.pending.load(Ordering::Relaxed) {
            self.awake();
            return false;
        }
        true
    }

    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// The core's side: hands every task woken by another thread to `wake`.
    pub(crate) fn take_woken(&self, mut wake: impl FnMut(u64)) {
        let mut node = self.woken.swap(ptr::null_mut(), Ordering::Acquire);
        while !node.is_null() {
            // SAFETY: the swap made the whole stack ours; each node was a leaked box.
            let woken = unsafe { Box::from_raw(node) };
            wake(woken.task);
            node = woken.next;
        }
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        self.take_woken(|_| {});
    }
}
