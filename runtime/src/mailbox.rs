//! Bounded single-producer single-consumer mailboxes: between cores, and from the control thread to a core.
//!
//! A full mailbox gives the message back: nothing blocks, and the sender decides what a lost place means.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use crate::Core;
use crate::doorbell::{Bell, Doorbell};

pub struct Sender<T> {
    ring: rtrb::Producer<T>,
    bell: LastRing,
}

pub struct Receiver<T> {
    ring: rtrb::Consumer<T>,
}

/// Rings when it is dropped: after the field before it, the sender's end of the ring, so that the reader finds the
/// mailbox abandoned.
struct LastRing(Arc<Doorbell>);

impl Drop for LastRing {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// A mailbox of `capacity` messages to the core that runs (or will run) with `bell`.
pub fn channel<T: Send>(bell: &Bell, capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = rtrb::RingBuffer::new(capacity);
    (Sender { ring: producer, bell: LastRing(bell.doorbell.clone()) }, Receiver { ring: consumer })
}

impl<T> Sender<T> {
    /// Puts a message in and rings; gives it back if the mailbox is full or its reader gone.
    pub fn send(&mut self, message: T) -> Result<(), T> {
        if self.ring.is_abandoned() {
            return Err(message);
        }
        match self.ring.push(message) {
            Ok(()) => {
                self.bell.0.ring();
                Ok(())
            }
            Err(rtrb::PushError::Full(message)) => Err(message),
        }
    }
}

impl<T> Receiver<T> {
    pub fn try_recv(&mut self) -> Option<T> {
        self.ring.pop().ok()
    }

    /// The next message, on the mailbox's core; `None` once the sender is gone and the mailbox empty.
    pub async fn recv(&mut self, core: &Core) -> Option<T> {
        poll_fn(|_| {
            if let Ok(message) = self.ring.pop() {
                return Poll::Ready(Some(message));
            }
            if self.ring.is_abandoned() {
                return Poll::Ready(None);
            }
            core.wait_for_mail();
            Poll::Pending
        })
        .await
    }
}
