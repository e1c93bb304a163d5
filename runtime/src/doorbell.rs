//! How a sleeping core is woken by another thread: its flags ([`Signal`]) and the event that it sleeps on.

use std::cell::Cell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::{Arc, PoisonError, RwLock};

use crate::signal::Signal;

/// The bells of the running cores, by the number that wakers carry. Locked when a core starts or ends and when a waker
/// is used on a thread that isn't its core's; never on a core's own path.
static BELLS: RwLock<Vec<Option<Arc<Doorbell>>>> = RwLock::new(Vec::new());

thread_local! {
    /// The core that this thread runs, and the function that wakes its tasks.
    static HERE: Cell<Option<(u16, *const crate::executor::Executor)>> = const { Cell::new(None) };
}

pub(crate) struct Doorbell {
    event: OwnedFd,
    pub(crate) signal: Signal,
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
            signal: Signal::new(),
        }))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Tells the core to look at its mailboxes and woken tasks.
    pub(crate) fn ring(&self) {
        if self.signal.ring() {
            self.wake();
        }
    }

    fn wake(&self) {
        let one = 1u64;
        // SAFETY: writes eight bytes from a local. A full counter (EAGAIN) means that a wake-up is due anyway.
        unsafe { libc::write(self.fd(), ptr::from_ref(&one).cast(), 8) };
    }

    /// Empties the event counter after a wake-up.
    pub(crate) fn drain(&self) {
        let mut count = 0u64;
        // SAFETY: reads eight bytes into a local; EAGAIN leaves it alone.
        unsafe { libc::read(self.fd(), ptr::from_mut(&mut count).cast(), 8) };
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
            if let Some(Some(bell)) = bells.get(core as usize)
                && bell.signal.push_woken(packed)
            {
                bell.wake();
            }
        }
    }
}
