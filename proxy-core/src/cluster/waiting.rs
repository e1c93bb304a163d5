//! Tasks that wait for room in a cluster, first come first served.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[derive(Default)]
pub(super) struct Waiting {
    queue: RefCell<VecDeque<(u64, Waker)>>,
    next: Cell<u64>,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Room may have come free: the first in line looks.
    pub(super) fn wake_one(&self) {
        let first = self.queue.borrow_mut().pop_front();
        if let Some((_, waker)) = first {
            waker.wake();
        }
    }

    pub(super) fn wake_all(&self) {
        for (_, waker) in self.queue.take() {
            waker.wake();
        }
    }

    /// Waits until `room` says yes, asked whenever it is this task's turn.
    pub(super) async fn until(&self, mut room: impl FnMut() -> bool) {
        let mut place = Place { waiting: self, number: None };
        poll_fn(|context| {
            let turn = place.number.is_none_or(|number| !place.queued(number));
            if !turn {
                return Poll::Pending;
            }
            if room() {
                place.number = None;
                return Poll::Ready(());
            }
            let number = self.next.get();
            self.next.set(number + 1);
            self.queue.borrow_mut().push_back((number, context.waker().clone()));
            place.number = Some(number);
            Poll::Pending
        })
        .await;
    }
}

/// A place in the queue. Given up (dropped) after its turn came, it passes the turn on; before, it just leaves.
struct Place<'a> {
    waiting: &'a Waiting,
    number: Option<u64>,
}

impl Place<'_> {
    fn queued(&self, number: u64) -> bool {
        self.waiting.queue.borrow().iter().any(|(queued, _)| *queued == number)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        if self.queued(number) {
            self.waiting.queue.borrow_mut().retain(|(queued, _)| *queued != number);
        } else {
            self.waiting.wake_one();
        }
    }
}
