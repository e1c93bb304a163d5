//! The rest of a request that was answered without it: read and dropped, so that the connection can go on.

use std::future::poll_fn;
use std::task::Poll;

use codecs::http::BodyLength;

use super::body::Piece;
use super::exchange::Exchange;

/// Bytes that are worth reading to keep a connection.
const DISCARDED_BYTES_MAX: u64 = 64 * 1024;
/// How long to wait for them.
const DISCARD_TIMEOUT_MS: u64 = 1_000;

/// Whether a body is known to be short enough to be read for nothing.
pub(super) fn is_worth_reading(body: BodyLength) -> bool {
    matches!(body, BodyLength::None | BodyLength::Length(0..=DISCARDED_BYTES_MAX))
}

impl Exchange<'_> {
    /// Sets `request_done` if the end of the body came within the bounds.
    pub(super) async fn discard_body(&mut self) {
        let core = &self.downstream.world.core;
        let socket = &self.downstream.socket;
        let until = core.now_ms() + DISCARD_TIMEOUT_MS;
        self.timer.set(until);
        let mut discarded = 0;
        while self.discard_arrived(&mut discarded) {
            let ready = poll_fn(|_| match socket.poll_readable() {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending if core.now_ms() >= until || self.downstream.world.cut_off() => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            });
            if !ready.await {
                return;
            }
        }
    }

    /// Reads what has come of the body, and sets `request_done` at its end. Whether more is worth waiting for.
    pub(super) fn discard_arrived(&mut self, discarded: &mut u64) -> bool {
        while *discarded < DISCARDED_BYTES_MAX {
            match self.scratch.request_body.next(&self.downstream.socket) {
                Piece::Data(payload, wire) => {
                    self.seen.received_bytes += wire;
                    *discarded += payload.len() as u64;
                }
                Piece::End(wire) => {
                    self.seen.received_bytes += wire;
                    self.request_done = true;
                    return false;
                }
                Piece::Ended | Piece::Failed | Piece::Bad(_) => return false,
                Piece::Nothing => return true,
            }
        }
        false
    }
}
