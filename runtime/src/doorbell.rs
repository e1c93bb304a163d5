//! How a sleeping core is woken by another thread.
//!
//! A sender puts its message where the core will look (a mailbox, the list of woken tasks), then rings. Ringing costs
//! a system call only if the core sleeps or is about to; the order of the two flags, both sequentially consistent,
//! rules out that the sender sees an awake core while the core misses the message:
//!
//! | sender | core |
//! |---|---|
//! | message; `pending = true`; read `asleep` | `asleep = true`; read `pending`; sleep if false |

use std::cell::Cell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The bells of the running cores, by the number that wakers carry. Locked when a core starts or ends and when a waker
/// is used on a thread that isn't its core's; never on a core's own path.
static BELLS: RwLock<Vec<Option<Arc<Doorbell>>>> = RwLock::new(Vec::new());

thread_local! {
    /// The core that this thread runs, and the function that wakes its tasks.
    static HERE: Cell<Option<(u16, *const crate::executor::Executor)>> = const { Cell::new(None) };
}

struct Woken {
    task: u64,
    next: *mut Woken,
}

pub(crate) struct Doorbell {
    event: OwnedFd,
    pending: AtomicBool,
    asleep: AtomicBool,
    /// Tasks woken by other threads: a stack that the core takes whole.
    woken: AtomicPtr<Woken>,
}

impl Doorbell {
    pub(crate) fn new() -> std::io::Result<Arc<Doorbell>> {
        // SAFETY: eventfd takes no pointers.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if event < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(Arc::new(Doorbell {
            // SAFETY: a fresh descriptor that nobody else owns.
            event: unsafe { OwnedFd::from_raw_fd(event) },
            pending: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            woken: AtomicPtr::new(ptr::null_mut()),
        }))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Tells the core to look at its mailboxes and woken tasks.
    pub(crate) fn ring(&self) {
        self.pending.store(true, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            let one = 1u64;
            // SAFETY: writes eight bytes from a local. A full counter (EAGAIN) means that a wake-up is due anyway.
            unsafe { libc::write(self.fd(), ptr::from_ref(&one).cast(), 8) };
        }
    }

    /// The core's side: whether something was put down since the last call.
    pub(crate) fn take_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed) && self.pending.swap(false, Ordering::SeqCst)
    }

    /// Whether something was put down that the core hasn't looked at.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
    }

    /// The core's side, before it sleeps. False: don't, something is pending.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if self.pending.load(Ordering::SeqCst) {
            self.asleep.store(false, Ordering::Relaxed);
            return false;
        }
        true
    }

    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Empties the event counter after a wake-up.
    pub(crate) fn drain(&self) {
        let mut count = 0u64;
        // SAFETY: reads eight bytes into a local; EAGAIN leaves it alone.
        unsafe { libc::read(self.fd(), ptr::from_mut(&mut count).cast(), 8) };
    }

    fn push_woken(&self, task: u64) {
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
        self.ring();
    }

    /// Hands every task woken by another thread to `wake`.
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

impl Drop for Doorbell {
    fn drop(&mut self) {
        self.take_woken(|_| {});
    }
}

/// What wakes a core: made before the core runs, so that its mailboxes can be made first.
pub struct Bell {
    number: u16,
    pub(crate) doorbell: Arc<Doorbell>,
}

impl Bell {
    /// Fails when descriptors run out (or at 65,536 cores).
    pub fn new() -> std::io::Result<Bell> {
        let doorbell = Doorbell::new()?;
        let mut bells = BELLS.write().unwrap_or_else(PoisonError::into_inner);
        let number = bells.iter().position(Option::is_none).unwrap_or(bells.len());
        let packed = u16::try_from(number).map_err(|_| std::io::Error::other("too many cores"))?;
        if number == bells.len() {
            bells.push(None);
        }
        bells[number] = Some(doorbell.clone());
        Ok(Bell { number: packed, doorbell })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        BELLS.write().unwrap_or_else(PoisonError::into_inner)[self.number as usize] = None;
    }
}

/// Marks this thread as the one that runs `core`, until the guard is dropped.
pub(crate) fn enter(core: u16, executor: &crate::executor::Executor) -> Entered {
    HERE.set(Some((core, ptr::from_ref(executor))));
    Entered
}

pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

/// Wakes a task named by a waker's integer (`TaskId::pack`), from whichever thread.
pub(crate) fn wake_from_anywhere(packed: u64) {
    let core = (packed >> 48) as u16;
    match HERE.get() {
        Some((here, executor)) if here == core => {
            // SAFETY: `enter` got a reference that outlives its guard, and the guard clears this pointer.
            unsafe { &*executor }.wake(crate::executor::TaskId::unpack(packed));
        }
        _ => {
            let bells = BELLS.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(Some(bell)) = bells.get(core as usize) {
                bell.push_woken(packed);
            }
        }
    }
}
