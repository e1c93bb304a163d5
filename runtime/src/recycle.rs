//! Boxed futures whose memory is used again.
//!
//! A connection that only waits should be small, so what a request needs lives in a future of its own, boxed while the
//! request lasts. These boxes come from free lists by size, kept by the core: after warm-up a request allocates nothing.

use std::alloc::Layout;
use std::cell::RefCell;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use crate::{Core, sys};

const CLASS_BYTES: usize = 512;
const CLASSES: usize = 64;
const ALIGN: usize = 64;
/// Boxes kept for reuse in each class; more go back to the allocator.
const KEPT_MAX: usize = 4096;

pub(crate) struct Arena {
    free: [RefCell<Vec<NonNull<u8>>>; CLASSES],
}

impl Arena {
    pub(crate) fn new() -> Arena {
        Arena { free: std::array::from_fn(|_| RefCell::default()) }
    }

    fn layout(class: usize) -> Layout {
        match Layout::from_size_align((class + 1) * CLASS_BYTES, ALIGN) {
            Ok(layout) => layout,
            Err(_) => Layout::new::<[u8; CLASS_BYTES]>(),
        }
    }

    fn take(&self, class: usize) -> NonNull<u8> {
        if let Some(place) = self.free[class].borrow_mut().pop() {
            return place;
        }
        let layout = Self::layout(class);
        // SAFETY: the size isn't zero.
        let place = unsafe { std::alloc::alloc(layout) };
        NonNull::new(place).unwrap_or_else(|| std::alloc::handle_alloc_error(layout))
    }

    fn give_back(&self, class: usize, place: NonNull<u8>) {
        let mut free = self.free[class].borrow_mut();
        if free.len() < KEPT_MAX {
            free.push(place);
        } else {
            // SAFETY: came from `take` with the same class.
            unsafe { std::alloc::dealloc(place.as_ptr(), Self::layout(class)) };
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for class in 0..CLASSES {
            for place in self.free[class].borrow_mut().drain(..) {
                // SAFETY: came from `take` with the same class; whoever had it gave it back.
                unsafe { std::alloc::dealloc(place.as_ptr(), Self::layout(class)) };
            }
        }
    }
}

/// A future in recycled memory. Made by `Core::recycled`.
pub struct Recycled<F: Future + ?Sized> {
    place: NonNull<F>,
    class: usize,
    core: Core,
}

impl<F: Future> Recycled<F> {
    const CLASS: usize = {
        assert!(align_of::<F>() <= ALIGN, "a future with an unusual alignment");
        assert!(size_of::<F>() <= CLASSES * CLASS_BYTES, "a future of more than 32 KiB");
        size_of::<F>().saturating_sub(1) / CLASS_BYTES
    };

    pub(crate) fn new(core: Core, future: F) -> Recycled<F> {
        let place = core.arena().take(Self::CLASS).cast::<F>();
        // SAFETY: the class has room for an F, aligned (checked when compiled), and the place is ours.
        unsafe { place.write(future) };
        Recycled { place, class: Self::CLASS, core }
    }

    /// The same without its type.
    pub(crate) fn erase(self) -> Recycled<dyn Future<Output = F::Output>>
    where
        F: 'static,
    {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` isn't dropped: its core and its place have one owner as before, the new one.
        Recycled { place: this.place, class: this.class, core: unsafe { std::ptr::read(&raw const this.core) } }
    }
}

impl<F: Future + ?Sized> Recycled<F> {
    /// Asks the processor for the future's memory.
    pub(crate) fn prefetch(&self) {
        sys::prefetch(self.place.addr().get(), (self.class + 1) * CLASS_BYTES);
    }
}

impl<F: Future + ?Sized> Future for Recycled<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the future stays in its place until it is dropped there, so pinning it is sound; `&mut self` makes
        // the access exclusive.
        unsafe { Pin::new_unchecked(self.get_mut().place.as_mut()) }.poll(context)
    }
}

impl<F: Future + ?Sized> Drop for Recycled<F> {
    fn drop(&mut self) {
        // SAFETY: written in `new`, dropped only here.
        unsafe { self.place.drop_in_place() };
        self.core.arena().give_back(self.class, self.place.cast());
    }
}
