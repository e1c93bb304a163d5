//! The ring, made with the most helpful flags that this kernel takes, and a submission call that never loses an entry.

use std::io;

use io_uring::{Builder, IoUring, Submitter, squeue};

/// Entries of the submission queue: what one turn of the loop can ask for before it has to enter the kernel early.
const SUBMISSION_ENTRIES: u32 = 1024;
/// Entries of the completion queue; it must never overflow, or multishot requests end.
const COMPLETION_ENTRIES: u32 = 8 * SUBMISSION_ENTRIES;

pub(crate) struct Ring {
    /// Lives as long as the process.
    uring: &'static IoUring,
    /// Kept, because it is what remembers the registered descriptor.
    submitter: Submitter<'static>,
}

impl Ring {
    /// Tries flag sets from the newest kernel's to the oldest's.
    pub(crate) fn new() -> io::Result<Self> {
        let attempts: [fn(&mut Builder); 4] = [
            |builder| {
                builder.setup_submit_all().setup_single_issuer().setup_defer_taskrun().setup_no_sqarray();
            },
            |builder| {
                builder.setup_submit_all().setup_single_issuer().setup_defer_taskrun();
            },
            |builder| {
                builder.setup_submit_all().setup_coop_taskrun();
            },
            |_| {},
        ];
        let mut last_error = io::Error::from(io::ErrorKind::Unsupported);
        for flags in attempts {
            let mut builder = IoUring::builder();
            builder.setup_cqsize(COMPLETION_ENTRIES);
            flags(&mut builder);
            match builder.build(SUBMISSION_ENTRIES) {
                Ok(uring) => {
                    let uring: &'static IoUring = Box::leak(Box::new(uring));
                    let mut submitter = uring.submitter();
                    // Saves a look-up of the descriptor at each enter; kernels before 5.18 refuse, which is fine.
                    let _ = submitter.register_ring_fd();
                    return Ok(Self { uring, submitter });
                }
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// Registers a ring of provided buffers as `group`.
    ///
    /// # Safety
    /// `address` must point to a zeroed, page-aligned array of `entries` ring entries that outlives the ring.
    pub(crate) unsafe fn register_buffers(&self, address: u64, entries: u16, group: u16) -> io::Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.submitter.register_buf_ring_with_flags(address, entries, group, 0) }
    }

    /// Queues one entry; enters the kernel when the queue is full.
    ///
    /// # Safety
    /// Memory that the entry points to must stay in place until its last completion.
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: the caller's promise; `&mut self` makes this the only view of the submission queue.
            if unsafe { self.uring.submission_shared().push(entry) }.is_ok() {
                return Ok(());
            }
            match self.submitter.submit() {
                Ok(_) => {}
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Submits what is queued, waits for at least one completion and moves all that are there into `batch` as
    /// (user data, result, flags).
    pub(crate) fn turn(&mut self, batch: &mut Vec<(u64, i32, u32)>) -> io::Result<()> {
        match self.submitter.submit_and_wait(1) {
            Ok(_) => {}
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        // SAFETY: `&mut self` makes this the only view of the completion queue.
        let completions = unsafe { self.uring.completion_shared() };
        batch.extend(completions.map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        Ok(())
    }
}

/// EINTR: a signal. EAGAIN and EBUSY: the kernel wants completions to be reaped first; nothing queued was lost.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}
