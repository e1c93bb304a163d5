//! What we send on streams: heads, DATA, trailers.

use super::{Asked, Connection, StreamRef};
use crate::http::Method;
use crate::http::h2::budget::{Budget, WINDOW_UPDATES_PER_FRAME};
use crate::http::h2::emit::{self, FieldRef, RequestLine};
use crate::http::h2::error::{OpenError, SendError};
use crate::http::h2::frame::{self, Kind, flags};

/// What a DATA frame may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Granted {
    /// Bytes of payload to append after the frame's header. 0: no header was written, unless `ended`.
    pub bytes: usize,
    /// The frame ends the stream.
    pub ended: bool,
}

impl Connection {
    /// Opens a stream (client): appends a request's head. `fields` should be without what ends at this hop; in particular
    /// `host` belongs into the request line as its authority. Connection-specific fields are left out, `te` too unless it
    /// is `trailers`.
    ///
    /// # Errors
    /// No stream can be opened; nothing is appended.
    pub fn send_request<'a>(
        &mut self,
        line: &RequestLine<'_>,
        fields: impl IntoIterator<Item: Into<FieldRef<'a>>>,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<StreamRef, OpenError> {
        self.can_open()?;
        if line.protocol.is_some() && !self.peer.connect_protocol {
            return Err(OpenError::NoConnectProtocol);
        }
        let id = self.next_stream;
        self.next_stream += 2;
        let asked = match Method::of(line.method) {
            Method::Connect => Asked::Connect,
            Method::Head => Asked::Head,
            _ => Asked::Plain,
        };
        let mut state = self.new_stream(id, asked);
        state.head_sent = true;
        state.local_open = !end_stream;
        let stream = self.streams.insert(state);
        let encoder = &mut self.encoder;
        emit::headers(out, id, end_stream, self.peer.frame_bytes_max as usize, |out| {
            encoder.begin(out);
            emit::request_line(encoder, out, line);
            for field in fields {
                encoder.field(out, &field.into());
            }
        });
        Ok(stream)
    }

    /// Appends the head of a response (server), final or interim.
    ///
    /// # Errors
    /// The stream is closed, or its final head has been sent.
    pub fn send_response<'a>(
        &mut self,
        stream: StreamRef,
        status: u16,
        fields: impl IntoIterator<Item: Into<FieldRef<'a>>>,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        let state = self.streams.get_mut(stream).filter(|state| state.local_open).ok_or(SendError::Closed)?;
        let is_interim = (100..200).contains(&status);
        if state.head_sent || (is_interim && end_stream) {
            return Err(SendError::OutOfOrder);
        }
        state.head_sent = !is_interim;
        let encoder = &mut self.encoder;
        emit::headers(out, stream.id, end_stream, self.peer.frame_bytes_max as usize, |out| {
            encoder.begin(out);
            emit::status_line(encoder, out, status);
            for field in fields {
                encoder.field(out, &field.into());
            }
        });
        if end_stream {
            self.close_local(stream);
        }
        Ok(())
    }

    /// Appends trailers, which end the stream. Without any field it is an empty DATA frame that ends it.
    ///
    /// # Errors
    /// The stream is closed, or no final head has been sent.
    pub fn send_trailers<'a>(
        &mut self,
        stream: StreamRef,
        fields: impl IntoIterator<Item: Into<FieldRef<'a>>>,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        self.sendable(stream)?;
        let mut fields = fields.into_iter().peekable();
        if fields.peek().is_none() {
            return self.data_frame(stream, 0, true, out).map(drop);
        }
        let encoder = &mut self.encoder;
        emit::headers(out, stream.id, true, self.peer.frame_bytes_max as usize, |out| {
            encoder.begin(out);
            for field in fields {
                encoder.field(out, &field.into());
            }
        });
        self.close_local(stream);
        Ok(())
    }

    /// Bytes of DATA that the windows of the stream and of the connection allow now; more than one frame may hold.
    #[must_use]
    pub fn send_capacity(&self, stream: StreamRef) -> usize {
        let Some(state) = self.streams.get(stream).filter(|state| state.local_open) else { return 0 };
        state.send_window.available().min(self.send_window.available())
    }

    /// Appends the header of a DATA frame for up to `wanted` bytes, as many as the windows and the peer's frame size allow,
    /// and says how many: append exactly so many bytes of payload before anything else. `end_stream` ends the stream if all
    /// that is wanted fits. Call again for the rest. If nothing is granted for lack of window, [`Event::Window`] or
    /// [`Event::SettingsChanged`] says when to ask again.
    ///
    /// [`Event::Window`]: super::Event::Window
    /// [`Event::SettingsChanged`]: super::Event::SettingsChanged
    ///
    /// # Errors
    /// The stream is closed, or no final head has been sent.
    #[inline]
    pub fn data_frame(
        &mut self,
        stream: StreamRef,
        wanted: usize,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<Granted, SendError> {
        self.sendable(stream)?;
        let Some(state) = self.streams.get_mut(stream) else { return Err(SendError::Closed) };
        let window = state.send_window.available().min(self.send_window.available());
        let bytes = wanted.min(window).min(self.peer.frame_bytes_max as usize);
        let ended = end_stream && bytes == wanted;
        if bytes < wanted && bytes == window {
            state.blocked |= state.send_window.available() == bytes;
            self.send_blocked |= self.send_window.available() == bytes;
        }
        if bytes == 0 && !ended {
            return Ok(Granted { bytes, ended });
        }
        state.send_window.debit(bytes);
        self.send_window.debit(bytes);
        frame::header(out, bytes, Kind::Data, if ended { flags::END_STREAM } else { 0 }, stream.id);
        self.budgets.earn(Budget::WindowUpdates, WINDOW_UPDATES_PER_FRAME, &self.limits.budgets);
        self.budgets.earn(Budget::SmallData, 1, &self.limits.budgets);
        if ended {
            self.close_local(stream);
        }
        Ok(Granted { bytes, ended })
    }

    /// Whether DATA or trailers can be sent on the stream.
    fn sendable(&self, stream: StreamRef) -> Result<(), SendError> {
        let state = self.streams.get(stream).filter(|state| state.local_open).ok_or(SendError::Closed)?;
        if state.head_sent { Ok(()) } else { Err(SendError::OutOfOrder) }
    }
}
