//! What arrives on a connection, sorted into the inboxes of its streams.

use std::rc::Rc;
use std::task::Waker;

use codecs::http::ErrorKind;
use codecs::http::h2::{self, Event, FRAME_HEADER_BYTES, PREFACE, Role, StreamRef};
use runtime::{Received, Slice};

use super::{Failure, Inbound, Mux, Opened, State, Unfinished};

impl Mux {
    /// Reads what has arrived; false when the transport has nothing more for now. New requests are put into `opened`.
    ///
    /// # Errors
    /// The connection is over: the peer broke the protocol (`Some`; GOAWAY is queued) or has gone.
    pub(super) fn receive(self: &Rc<Mux>, opened: &mut Vec<Opened>) -> Result<bool, Option<h2::Error>> {
        let slice = match self.transport().try_recv() {
            None => return Ok(false),
            Some(Received::Data(slice)) => slice,
            Some(Received::End | Received::Failed(_)) => return Err(None),
        };
        let mut state = self.state.borrow_mut();
        state.counts.received_bytes += slice.len() as u64;
        let secs = self.core.now_ms().saturating_sub(state.ticked_ms) / 1_000;
        if secs > 0 {
            state.ticked_ms += secs * 1_000;
            state.connection.tick(secs as u32);
        }
        let result = self.take(&mut state, slice, opened);
        self.flush(&mut state);
        result.map(|()| true).map_err(Some)
    }

    fn take(self: &Rc<Mux>, state: &mut State, mut slice: Slice, opened: &mut Vec<Opened>) -> Result<(), h2::Error> {
        while !slice.is_empty() {
            if state.partial.is_empty() {
                let consumed = self.read(state, &slice, Some(&slice), opened)?;
                state.partial.extend_from_slice(&slice[consumed..]);
                self.note_unfinished(state, |before, stream| stream != 0 && before == stream);
                return Ok(());
            }
            // A frame that was cut: completed on the side, and not a byte more, so that what follows isn't copied.
            let wanted = missing(&state.partial).min(slice.len());
            let mut partial = std::mem::take(&mut state.partial);
            partial.extend_from_slice(&slice[..wanted]);
            slice.advance(wanted);
            let consumed = self.read(state, &partial, None, opened)?;
            partial.drain(..consumed);
            state.partial = partial;
            // That frame was the block's, or isn't there yet.
            self.note_unfinished(state, |_, stream| stream != 0 || consumed == 0);
        }
        Ok(())
    }

    /// Notes since when the peer owes the rest of a head or of a frame. `same` says of the block that was unfinished before
    /// and of the one that is now (their streams, or 0) whether the peer is still about the same.
    fn note_unfinished(&self, state: &mut State, same: impl FnOnce(u32, u32) -> bool) {
        let stream = state.connection.unfinished_block().unwrap_or(0);
        state.unfinished = match state.unfinished {
            _ if stream == 0 && state.partial.is_empty() => None,
            Some(before) if same(before.stream, stream) => Some(Unfinished { stream, ..before }),
            _ => Some(Unfinished { since_ms: self.core.now_ms(), stream }),
        };
    }

    /// Passes bytes through the codec and its events to the streams. `whole` is the slice that `bytes` are, if they are
    /// one.
    fn read(
        self: &Rc<Mux>,
        state: &mut State,
        bytes: &[u8],
        whole: Option<&Slice>,
        opened: &mut Vec<Opened>,
    ) -> Result<usize, h2::Error> {
        let mut at = 0;
        loop {
            let step = state.connection.receive(&bytes[at..], &mut state.message, &mut state.out)?;
            let from = at;
            at += step.consumed;
            match step.event {
                Event::NeedMore => return Ok(at),
                Event::Request { stream, end_stream } => self.open(state, stream, end_stream, None, opened),
                Event::HeadTooLarge { stream, kind, end_stream } => match state.connection.is_open(stream) {
                    true if state.find(stream).is_none() => {
                        self.open(state, stream, end_stream, Some(too_large(kind)), opened);
                    }
                    _ => state.deliver(stream, |shared, _| shared.failed(Failure::Malformed)),
                },
                Event::Response { stream, end_stream } => state.deliver(stream, |shared, message| {
                    shared.put(Inbound::Head(message));
                    if end_stream {
                        shared.end();
                    }
                }),
                Event::Interim { stream } => {
                    state.deliver(stream, |shared, message| shared.put(Inbound::Interim(message)));
                }
                Event::Trailers { stream } => state.deliver(stream, |shared, message| {
                    shared.put(Inbound::Trailers(message));
                    shared.end();
                }),
                Event::Data { stream, range, end_stream } => {
                    let range = from + range.start..from + range.end;
                    let Some(shared) = state.find(stream).cloned() else {
                        state.connection.release(stream, range.len(), &mut state.out);
                        continue;
                    };
                    if !range.is_empty() {
                        let data = match whole {
                            Some(slice) => slice.slice(range),
                            None => self.core.own(Box::from(&bytes[range])),
                        };
                        shared.put_data(&self.core, data);
                    }
                    if end_stream {
                        shared.end();
                    }
                    shared.wake();
                }
                Event::Reset { stream, code } => {
                    state.counts.resets_received += 1;
                    if let Some(shared) = state.find(stream) {
                        shared.reset_by_peer(code, self.role == Role::Client);
                    }
                }
                Event::StreamError { stream, .. } => {
                    state.counts.stream_errors += 1;
                    if let Some(shared) = state.find(stream) {
                        shared.failed(Failure::Malformed);
                    }
                }
                Event::Window { .. } => self.wake_task(),
                Event::SettingsChanged => {
                    self.waiters.take().into_iter().for_each(Waker::wake);
                    self.wake_task();
                }
                // A client's speaks of streams that we would push, of which there are none (RFC 9113 6.8).
                Event::GoAway { .. } if self.role == Role::Server => {}
                Event::GoAway { last_stream, .. } => {
                    for shared in state.streams.iter().flatten() {
                        if shared.id().id > last_stream {
                            shared.failed(Failure::Refused);
                        }
                    }
                    self.wake_task();
                }
                Event::PingAck { .. } => {}
            }
        }
    }

    fn open(
        self: &Rc<Mux>,
        state: &mut State,
        id: StreamRef,
        end_stream: bool,
        too_large: Option<ErrorKind>,
        opened: &mut Vec<Opened>,
    ) {
        let stream = self.adopt(state, id);
        let message = state.take_message();
        stream.shared().put(Inbound::Head(message));
        if end_stream {
            stream.shared().end();
        }
        opened.push(Opened { stream, too_large });
    }
}

/// Which limit a head is over, in the words of all versions.
fn too_large(kind: h2::ErrorKind) -> ErrorKind {
    match kind {
        h2::ErrorKind::PathTooLong => ErrorKind::RequestLineTooLong,
        h2::ErrorKind::TooManyFields => ErrorKind::TooManyFields,
        _ => ErrorKind::HeadTooLarge,
    }
}

/// Bytes that complete the frame (or the preface) that `partial` begins, at least 1.
fn missing(partial: &[u8]) -> usize {
    if PREFACE.starts_with(&partial[..partial.len().min(PREFACE.len())]) {
        return PREFACE.len().saturating_sub(partial.len()).max(1);
    }
    match partial {
        // DATA is read as it comes, once its header is there.
        [_, _, _, 0, _, _, _, _, _, ..] => 1,
        [a, b, c, _, _, _, _, _, _, ..] => {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            (FRAME_HEADER_BYTES + length).saturating_sub(partial.len()).max(1)
        }
        short => FRAME_HEADER_BYTES - short.len(),
    }
}
