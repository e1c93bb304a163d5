//! From what the socket received to plaintext.

use std::io;

use codecs::tls::{Phase, TlsError, missing_bytes};
use runtime::{Received, Slice};

use super::{Input, Scratch, State, TlsTransport, with_scratch};

/// Plaintext in pieces that are shorter on average is gathered: many small pieces cost more than copying them.
const PIECE_BYTES_MIN: usize = 2 * 1024;
/// A queue that has grown beyond so many pieces gives its memory back when it is empty.
const PIECES_KEPT_MAX: usize = 16;

impl TlsTransport {
    /// What can be handed out without a look at the socket.
    pub(super) fn ready(&self, state: &mut State) -> Option<Received> {
        if let Some(slice) = state.plain.pop_front() {
            if state.plain.is_empty() && state.plain.capacity() > PIECES_KEPT_MAX {
                state.plain = Default::default();
            }
            return Some(Received::Data(slice));
        }
        match state.input {
            Input::Open => None,
            Input::Ended => Some(Received::End),
            Input::Truncated => Some(Received::Failed(io::ErrorKind::UnexpectedEof.into())),
            Input::Broken => {
                let error = self.socket.error().unwrap_or_else(|| io::ErrorKind::InvalidData.into());
                Some(Received::Failed(error))
            }
        }
    }

    /// Takes in what the socket has given.
    pub(super) fn take(&self, state: &mut State, received: Received) {
        match received {
            Received::Data(slice) => {
                let taken = with_scratch(|scratch| {
                    let taken = self.decrypt(state, slice, scratch);
                    self.socket.send(&scratch.records);
                    taken
                });
                if let Err(error) = taken {
                    self.give_up(state, &error);
                }
            }
            Received::End => match state.session.end_of_input() {
                Ok(()) => state.input = Input::Ended,
                Err(error) => {
                    state.input = Input::Truncated;
                    (self.failures)(&error);
                }
            },
            Received::Failed(_) => state.input = Input::Broken,
        }
    }

    fn decrypt(&self, state: &mut State, mut slice: Slice, scratch: &mut Scratch) -> Result<(), TlsError> {
        while !slice.is_empty() {
            if state.partial.is_empty() && slice.unique().is_some() {
                return self.decrypt_in_place(state, slice, scratch);
            }
            let missing = missing_bytes(&state.partial);
            let added = if missing == 0 { slice.len() } else { missing.min(slice.len()) };
            gather(&mut state.partial, &slice[..added]);
            slice.advance(added);
            self.decrypt_gathered(state, scratch)?;
        }
        Ok(())
    }

    /// Whole records become plaintext where they are; what is left of the last is copied, so that it holds no receive
    /// buffer.
    fn decrypt_in_place(&self, state: &mut State, mut slice: Slice, scratch: &mut Scratch) -> Result<(), TlsError> {
        scratch.spans.clear();
        let Some(bytes) = slice.unique() else { return Ok(()) };
        let result = state.session.receive(bytes, &mut scratch.spans, &mut scratch.records);
        self.hand_out(state, &slice, scratch);
        let received = result?;
        gather(&mut state.partial, &slice[received.consumed..]);
        state.see(received.phase);
        Ok(())
    }

    fn decrypt_gathered(&self, state: &mut State, scratch: &mut Scratch) -> Result<(), TlsError> {
        if missing_bytes(&state.partial) > 0 && state.partial.len() <= codecs::tls::RECORD_BYTES_MAX {
            return Ok(());
        }
        scratch.spans.clear();
        let mut partial = std::mem::take(&mut state.partial);
        let result = state.session.receive(&mut partial, &mut scratch.spans, &mut scratch.records);
        if let Ok(received) = &result {
            gather(&mut state.partial, &partial[received.consumed..]);
            state.see(received.phase);
        }
        if !scratch.spans.is_empty() {
            let slice = self.core.own(partial.into_boxed_slice());
            self.hand_out(state, &slice, scratch);
        }
        result.map(drop)
    }

    fn hand_out(&self, state: &mut State, slice: &Slice, scratch: &Scratch) {
        let bytes: usize = scratch.spans.iter().map(ExactSizeIterator::len).sum();
        match scratch.spans.as_slice() {
            [] => {}
            [_, _, ..] if bytes / scratch.spans.len() < PIECE_BYTES_MIN => {
                let mut joined = Vec::with_capacity(bytes);
                scratch.spans.iter().for_each(|span| joined.extend_from_slice(&slice[span.clone()]));
                state.plain.push_back(self.core.own(joined.into_boxed_slice()));
            }
            spans => state.plain.extend(spans.iter().map(|span| slice.slice(span.clone()))),
        }
    }
}

impl State {
    fn see(&mut self, phase: Phase) {
        if phase == Phase::PeerClosed {
            self.input = Input::Ended;
        }
    }
}

/// Appends to a partial record, with room for exactly the rest of it: then it is handed out without another copy.
fn gather(partial: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let behind = if partial.is_empty() { missing_bytes(bytes) } else { 0 };
    partial.reserve_exact(bytes.len() + behind);
    partial.extend_from_slice(bytes);
    partial.reserve_exact(missing_bytes(partial));
}
