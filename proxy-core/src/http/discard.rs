//! The rest of a request that was answered without it: read and dropped, so that the connection can go on.

use std::future::poll_fn;
use std::task::Poll;

use codecs::http::h1::BodyPart;
use runtime::Received;

use super::exchange::Exchange;

/// Bytes that are worth reading to keep a connection.
const DISCARDED_BYTES_MAX: usize = 64 * 1024;
/// How long to wait for them.
const DISCARD_TIMEOUT_MS: u64 = 1_000;

impl Exchange<'_> {
    /// Sets `request_done` if the end of the body came within the bounds.
    pub(super) async fn discard_body(&mut self) {
        let core = &self.downstream.world.core;
        let socket = &self.downstream.socket;
        let until = core.now_ms() + DISCARD_TIMEOUT_MS;
        self.timer.set(until);
        let mut discarded = 0;
        while discarded < DISCARDED_BYTES_MAX {
            let received = poll_fn(|_| match socket.poll_recv() {
                Poll::Ready(received) => Poll::Ready(Some(received)),
                Poll::Pending if core.now_ms() >= until || self.downstream.world.cut_off() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            })
            .await;
            let Some(Received::Data(slice)) = received else { return };
            let mut at = 0;
            loop {
                let Ok(event) = self.scratch.request_body.decode(&slice[at..]) else { return };
                at += event.consumed;
                match event.part {
                    BodyPart::Data(_) => {}
                    BodyPart::NeedMore => break,
                    BodyPart::End => {
                        socket.unrecv(slice.slice(at..slice.len()));
                        self.seen.received_bytes += at as u64;
                        self.request_done = true;
                        return;
                    }
                }
            }
            self.seen.received_bytes += at as u64;
            discarded += slice.len();
        }
    }
}
