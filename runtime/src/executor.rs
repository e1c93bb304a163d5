//! Tasks of one core: a slab of futures, a ready queue, and wakers that are plain integers.
//!
//! Sockets, timers and mailboxes don't store wakers at all: they note the id of the task that is running
//! (`Executor::current`) and hand it to `wake`. `std`'s `Waker` exists for combinators and for other threads; it packs
//! (core, generation, index) into its data pointer, so that cloning copies and dropping does nothing.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use crate::doorbell;
use crate::recycle::Recycled;

/// A task's future, in memory from the allocator or in memory that the core uses again and again.
enum Place {
    Boxed(Pin<Box<dyn Future<Output = ()>>>),
    Recycled(Recycled<dyn Future<Output = ()>>),
}

impl Place {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Place::Boxed(future) => future.as_mut().poll(context),
            Place::Recycled(future) => Pin::new(future).poll(context),
        }
    }
}

/// Names a task: index and generation, so that a late wake can't hit a later task in the same place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskId {
    index: u32,
    generation: u16,
}

impl TaskId {
    pub(crate) const NONE: TaskId = TaskId { index: u32::MAX, generation: 0 };

    fn pack(self, core: u16) -> usize {
        (core as usize) << 48 | (self.generation as usize) << 32 | self.index as usize
    }

    pub(crate) fn unpack(packed: u64) -> TaskId {
        TaskId { index: packed as u32, generation: (packed >> 32) as u16 }
    }
}

struct Slot {
    /// Out of its place while it is being polled.
    future: Option<Place>,
    generation: u16,
    queued: bool,
    live: bool,
}

impl Slot {
    /// Asks the processor for the future's memory, as it is polled next. Only for those that come with requests: there can
    /// be hundreds under way for one connection, and then they are in none of a core's own caches any more.
    fn prefetch(&self) {
        if let Some(Place::Recycled(future)) = &self.future {
            future.prefetch();
        }
    }
}

pub(crate) struct Executor {
    core: u16,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
    ready: RefCell<VecDeque<u32>>,
    current: Cell<TaskId>,
    live: Cell<usize>,
}

impl Executor {
    pub(crate) fn new(core: u16) -> Executor {
        Executor {
            core,
            slots: RefCell::default(),
            free: RefCell::default(),
            ready: RefCell::default(),
            current: Cell::new(TaskId::NONE),
            live: Cell::new(0),
        }
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.add(Place::Boxed(Box::pin(future)));
    }

    pub(crate) fn spawn_recycled(&self, future: Recycled<dyn Future<Output = ()>>) {
        self.add(Place::Recycled(future));
    }

    fn add(&self, future: Place) {
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot { future: None, generation: 0, queued: false, live: false });
            (slots.len() - 1) as u32
        });
        let slot = &mut slots[index as usize];
        slot.future = Some(future);
        slot.live = true;
        self.live.set(self.live.get() + 1);
        // A predecessor that woke itself and ended has left the place in the queue.
        if !std::mem::replace(&mut slot.queued, true) {
            self.ready.borrow_mut().push_back(index);
        }
    }

    /// The task that is running now.
    #[inline]
    pub(crate) fn current(&self) -> TaskId {
        self.current.get()
    }

    /// Makes a task ready; a task that is gone or ready already is left alone.
    #[inline]
    pub(crate) fn wake(&self, task: TaskId) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(task.index as usize)
            && slot.live
            && slot.generation == task.generation
            && !slot.queued
        {
            slot.queued = true;
            self.ready.borrow_mut().push_back(task.index);
        }
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    /// Tasks that have not ended.
    pub(crate) fn live(&self) -> usize {
        self.live.get()
    }

    /// Polls at most `budget` ready tasks; those woken meanwhile wait for the next turn.
    pub(crate) fn run(&self, budget: usize) {
        let budget = budget.min(self.ready.borrow().len());
        for _ in 0..budget {
            let mut ready = self.ready.borrow_mut();
            let Some(index) = ready.pop_front() else { return };
            if let Some(next) = ready.front() {
                self.slots.borrow()[*next as usize].prefetch();
            }
            drop(ready);
            self.poll_one(index);
        }
    }

    fn poll_one(&self, index: u32) {
        let (mut future, id) = {
            let mut slots = self.slots.borrow_mut();
            let slot = &mut slots[index as usize];
            slot.queued = false;
            let Some(future) = slot.future.take() else { return };
            (future, TaskId { index, generation: slot.generation })
        };
        self.current.set(id);
        let waker = waker(id.pack(self.core));
        let poll = future.poll(&mut Context::from_waker(&waker));
        self.current.set(TaskId::NONE);
        if poll.is_pending() {
            self.slots.borrow_mut()[index as usize].future = Some(future);
            return;
        }
        // Dropped before its place is free, and outside of any borrow: destructors may spawn and wake.
        drop(future);
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.live = false;
        self.live.set(self.live.get() - 1);
        self.free.borrow_mut().push(index);
    }

    /// Drops every task. A destructor may spawn; what it spawns is dropped too.
    pub(crate) fn clear(&self) {
        while self.live.get() > 0 {
            let mut slots = self.slots.borrow_mut();
            let futures: Vec<_> = slots.iter_mut().filter_map(|slot| slot.future.take()).collect();
            for slot in slots.iter_mut() {
                slot.live = false;
            }
            drop(slots);
            self.live.set(0);
            drop(futures);
            let respawned = self.slots.borrow().iter().filter(|slot| slot.future.is_some()).count();
            self.live.set(respawned);
        }
    }
}

const VTABLE: RawWakerVTable = RawWakerVTable::new(
    |data| RawWaker::new(data, &VTABLE),
    |data| doorbell::wake_from_anywhere(data.addr() as u64),
    |data| doorbell::wake_from_anywhere(data.addr() as u64),
    |_| {},
);

fn waker(packed: usize) -> Waker {
    // SAFETY: the data pointer is an integer that is never dereferenced; every function of the table is callable from
    // any thread with any value of it.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::without_provenance(packed), &VTABLE)) }
}

/// Runs once more after everything that is ready now has run.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests;
