//! DATA as it arrives: a frame is judged by its header, its payload passes in pieces.

use super::receive::Event;
use super::{Asked, Connection, StreamRef};
use crate::http::h2::budget::{Budget, SMALL_DATA_BYTES};
use crate::http::h2::error::ErrorKind;
use crate::http::h2::frame::{FrameHeader, flags};

/// What is left of a DATA frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Incoming {
    /// `None`: nobody wants it.
    stream: Option<StreamRef>,
    /// Bytes of payload.
    left: u32,
    /// Bytes of padding after it.
    padding: u32,
    end_stream: bool,
}

impl Incoming {
    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.left == 0 && self.padding == 0
    }
}

impl Connection {
    /// Judges a DATA frame (RFC 9113 6.1). All of it counts for flow control, padding included. `at` is where its payload
    /// begins.
    pub(super) fn data_frame_began(
        &mut self,
        header: FrameHeader,
        padding: u8,
        at: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, ErrorKind> {
        let end_stream = header.has(flags::END_STREAM);
        let (around, padding) = match header.has(flags::PADDED) {
            true => (u32::from(padding) + 1, u32::from(padding)),
            false => (0, 0),
        };
        let Some(payload) = header.length.checked_sub(around) else {
            let kind = if header.length == 0 { ErrorKind::InvalidFrameSize } else { ErrorKind::InvalidPadding };
            return Err(kind);
        };
        if !self.receive_window.debit(header.length) {
            return Err(ErrorKind::WindowExceeded);
        }
        let Some(stream) = self.streams.find(header.stream) else {
            if self.is_idle(header.stream) {
                return Err(ErrorKind::IdleStream);
            }
            self.frame_on_closed(header.stream, out)?;
            self.skip(header.length, payload, padding, out);
            return Ok(None);
        };
        if let Some(kind) = self.data_error(stream, header.length, payload, end_stream) {
            let event = self.stream_error(stream, kind, out)?;
            self.skip(header.length, payload, padding, out);
            return Ok(Some(event));
        }
        if payload == 0 && !end_stream {
            self.budgets.spend(Budget::EmptyData)?;
        } else if payload > 0 {
            self.budgets.earn(Budget::EmptyData, 1, &self.limits.budgets);
            self.budgets.earn(Budget::SmallData, payload / SMALL_DATA_BYTES, &self.limits.budgets);
            if payload < SMALL_DATA_BYTES && !end_stream && self.is_server() && !self.is_window_filled(stream) {
                self.budgets.spend(Budget::SmallData)?;
            }
        }
        if around > 0 {
            self.release_connection(around, out);
            self.release_stream(stream, around, out);
        }
        self.incoming = Incoming { stream: Some(stream), left: payload, padding, end_stream };
        if payload == 0 && end_stream {
            self.close_remote(stream);
            return Ok(Some(Event::Data { stream, range: at..at, end_stream }));
        }
        Ok(None)
    }

    /// The peer has used up a window: it could send no more than it did.
    fn is_window_filled(&self, stream: StreamRef) -> bool {
        self.receive_window.is_filled()
            || self.streams.get(stream).is_some_and(|state| state.receive_window.is_filled())
    }

    /// What is wrong with a DATA frame for its stream; takes it into account if nothing is.
    #[inline]
    fn data_error(&mut self, stream: StreamRef, length: u32, payload: u32, end_stream: bool) -> Option<ErrorKind> {
        let state = self.streams.get_mut(stream)?;
        if !state.remote_open {
            return Some(ErrorKind::StreamClosed);
        }
        if !state.head_received {
            return Some(ErrorKind::DataBeforeHead);
        }
        if !state.receive_window.debit(length) {
            return Some(ErrorKind::WindowExceeded);
        }
        if let Some(expected) = &mut state.expected {
            match expected.checked_sub(u64::from(payload)) {
                Some(left) if left == 0 || !end_stream => *expected = left,
                _ if state.asked == Asked::Head => return Some(ErrorKind::BodyNotAllowed),
                _ => return Some(ErrorKind::ContentLengthMismatch),
            }
        }
        None
    }

    /// Passes over a frame that nobody wants; the connection's window opens again at once.
    fn skip(&mut self, length: u32, payload: u32, padding: u32, out: &mut Vec<u8>) {
        self.release_connection(length, out);
        self.incoming = Incoming { stream: None, left: payload, padding, end_stream: false };
    }

    /// Takes what there is of the payload, or of the padding behind it.
    #[inline]
    pub(super) fn next_data(&mut self, input: &[u8], at: &mut usize, out: &mut Vec<u8>) -> Option<Event> {
        let there = u32::try_from(input.len() - *at).unwrap_or(u32::MAX);
        if self.incoming.left == 0 {
            let padding = self.incoming.padding.min(there);
            self.incoming.padding -= padding;
            *at += padding as usize;
            return None;
        }
        let bytes = self.incoming.left.min(there);
        if bytes == 0 {
            return None;
        }
        let range = *at..*at + bytes as usize;
        *at = range.end;
        self.incoming.left -= bytes;
        let stream = self.incoming.stream?;
        if self.streams.get(stream).is_none() {
            // Reset while the frame was on its way.
            self.release_connection(bytes, out);
            return None;
        }
        let end_stream = self.incoming.end_stream && self.incoming.left == 0;
        if end_stream {
            self.close_remote(stream);
        }
        Some(Event::Data { stream, range, end_stream })
    }
}
