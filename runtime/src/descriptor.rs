//! A socket's descriptor: the kernel's, or one of a simulated network.

use std::os::fd::RawFd;

use crate::{sim, sys};

/// Owns a socket and closes it when it is dropped. Numbers from 0 are the kernel's; those below -1 belong to the
/// simulated network of this thread. What carries a socket around needn't know which it is.
pub(crate) struct Descriptor(RawFd);

impl Descriptor {
    /// # Safety
    /// `fd` is open and nobody else owns it.
    pub(crate) unsafe fn from_kernel(fd: RawFd) -> Descriptor {
        Descriptor(fd)
    }

    /// The `n`th socket of the simulated network.
    pub(crate) fn simulated(n: u32) -> Descriptor {
        Descriptor(-2 - n as RawFd)
    }

    pub(crate) fn number(&self) -> RawFd {
        self.0
    }

    /// Gives up the ownership: whoever gets the number closes it.
    pub(crate) fn into_number(self) -> RawFd {
        let number = self.0;
        std::mem::forget(self);
        number
    }
}

/// Which socket of the simulated network a descriptor's number stands for.
pub(crate) fn simulated_socket(number: RawFd) -> u32 {
    debug_assert!(number < -1);
    (-2 - number) as u32
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.0 >= 0 {
            sys::close(self.0);
        } else {
            sim::dropped(simulated_socket(self.0));
        }
    }
}
