//! One connection of HTTP/2: `session` takes the frames, `stream` is what is kept of a request, `send` answers it.

mod send;
mod session;
mod stream;

use std::future::poll_fn;
use std::task::Poll;

use super::serve::{Origin, QUEUED_BYTES_MAX};
use crate::transport::Transport;
use session::Session;

/// Streams that a client may have open.
const STREAMS_MAX: u32 = 65_536;

/// Serves a connection until it ends.
pub(super) async fn serve(origin: &Origin, transport: Transport) {
    let timer = origin.core.timer();
    let mut timer_us = u64::MAX;
    let mut session = Session::new(origin, &transport);
    let is_orderly = poll_fn(|_| {
        // A client that doesn't read is waited for, so that what it asks for doesn't pile up.
        let is_open = match transport.unsent_bytes() <= QUEUED_BYTES_MAX {
            true => session.receive(),
            false => Ok(true),
        };
        session.answer_due();
        session.pump();
        session.flush();
        match is_open {
            Ok(true) if !session.is_done() => {}
            Ok(is_open) => return Poll::Ready(is_open),
            Err(is_orderly) => return Poll::Ready(is_orderly),
        }
        let due_us = session.due_us().unwrap_or(u64::MAX);
        if due_us != timer_us {
            timer_us = due_us;
            if due_us == u64::MAX { timer.clear() } else { timer.set(due_us.div_ceil(1000)) }
        }
        if transport.unsent_bytes() > QUEUED_BYTES_MAX
            && let Poll::Ready(drained) = transport.poll_drained(QUEUED_BYTES_MAX / 2)
            && drained.is_err()
        {
            return Poll::Ready(false);
        }
        Poll::Pending
    })
    .await;
    drop(session);
    if is_orderly { transport.close_lingering() } else { transport.close() }
}
