//! Header blocks: collected over their frames, then a request, a response or trailers.

use super::receive::Event;
use super::{Asked, Connection, Ended, StreamRef};
use crate::http::Method;
use crate::http::h2::budget::Budget;
use crate::http::h2::error::ErrorKind;
use crate::http::h2::frame::{FrameHeader, MAX_31_BITS, flags, number};
use crate::http::h2::head::{self, Message, Problem};

/// A header block whose end hasn't come.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// What there is; keeps its memory between blocks up to [`KEPT_BYTES_MAX`].
    bytes: Vec<u8>,
    began: Began,
    /// CONTINUATION frames so far.
    frames: u32,
}

/// What the HEADERS frame of a block said; stream 0 when there is no block.
#[derive(Clone, Copy, Debug, Default)]
struct Began {
    stream: u32,
    end_stream: bool,
    depends_on_itself: bool,
}

/// Interim responses of one stream; nobody sends more than a few.
const INTERIM_HEADS_MAX: u8 = 100;
/// More than this isn't kept for the next block.
const KEPT_BYTES_MAX: usize = 16 * 1024;

impl Pending {
    /// The stream whose CONTINUATION has to come next.
    #[inline]
    pub(super) fn stream(&self) -> Option<u32> {
        (self.began.stream != 0).then_some(self.began.stream)
    }
}

impl Connection {
    /// HEADERS (RFC 9113 6.2).
    pub(super) fn headers_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        message: &mut Message,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, ErrorKind> {
        if header.stream.is_multiple_of(2) {
            return Err(ErrorKind::InvalidStreamId);
        }
        if !self.is_server() && self.is_idle(header.stream) {
            return Err(ErrorKind::IdleStream);
        }
        let (block, dependency) = fragment(header, payload)?;
        let began = Began {
            stream: header.stream,
            end_stream: header.has(flags::END_STREAM),
            depends_on_itself: dependency == Some(header.stream),
        };
        if header.has(flags::END_HEADERS) {
            return self.block_complete(began, block, message, out);
        }
        self.block.began = began;
        self.block.frames = 0;
        self.block.bytes.clear();
        self.collect(block)?;
        Ok(None)
    }

    /// CONTINUATION (RFC 9113 6.10).
    pub(super) fn continuation_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        message: &mut Message,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, ErrorKind> {
        if self.block.stream().is_none() {
            return Err(ErrorKind::UnexpectedContinuation);
        }
        self.block.frames += 1;
        if self.block.frames > self.limits.continuation_frames_max {
            return Err(ErrorKind::ContinuationFlood);
        }
        self.collect(payload)?;
        if !header.has(flags::END_HEADERS) {
            return Ok(None);
        }
        let began = core::mem::take(&mut self.block.began);
        let mut bytes = core::mem::take(&mut self.block.bytes);
        let event = self.block_complete(began, &bytes, message, out);
        if bytes.capacity() <= KEPT_BYTES_MAX {
            bytes.clear();
            self.block.bytes = bytes;
        }
        event
    }

    fn collect(&mut self, part: &[u8]) -> Result<(), ErrorKind> {
        if self.block.bytes.len() + part.len() > self.limits.header_block_bytes_max as usize {
            return Err(ErrorKind::HeaderBlockTooLarge);
        }
        self.block.bytes.extend_from_slice(part);
        Ok(())
    }

    fn block_complete(
        &mut self,
        began: Began,
        block: &[u8],
        message: &mut Message,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, ErrorKind> {
        match self.streams.find(began.stream) {
            Some(stream) => match self.streams.get(stream) {
                Some(state) if !state.head_received => self.response(stream, began, block, message, out).map(Some),
                _ => self.trailers(stream, began, block, message, out).map(Some),
            },
            None if self.is_server() && began.stream > self.last_peer_stream => {
                self.request(began, block, message, out)
            }
            None => {
                head::discard(block, &mut self.decoder, &self.limits, &mut message.text)?;
                self.frame_on_closed(began.stream, out).map(|()| None)
            }
        }
    }

    fn request(
        &mut self,
        began: Began,
        block: &[u8],
        message: &mut Message,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, ErrorKind> {
        let id = began.stream;
        if id > self.last_peer_stream + 2 {
            self.skipped = (self.last_peer_stream + 1, id - 1);
        }
        self.last_peer_stream = id;
        if self.go_away_sent.is_some() {
            // Later than the GOAWAY that the client is about to see: it will send the request elsewhere.
            head::discard(block, &mut self.decoder, &self.limits, &mut message.text)?;
            self.streams.remember(id, Ended::ResetByUs);
            return self.budgets.spend(Budget::Ignored).map(|()| None);
        }
        let refused = StreamRef::without_slot(id);
        if self.streams.open() >= self.limits.concurrent_streams_max as usize {
            head::discard(block, &mut self.decoder, &self.limits, &mut message.text)?;
            return self.stream_error(refused, ErrorKind::TooManyStreams, out).map(Some);
        }
        let end_stream = began.end_stream;
        let result = head::request(block, &mut self.decoder, &self.limits, end_stream, &mut self.repeated, message)?;
        let result = if began.depends_on_itself { Err(ErrorKind::SelfDependency.into()) } else { result };
        let too_large = match result {
            Ok(_) => None,
            Err(Problem::TooLarge(kind)) => Some(kind),
            Err(Problem::Malformed(kind)) => return self.stream_error(refused, kind, out).map(Some),
        };
        let asked = if message.request.method == Method::Connect { Asked::Connect } else { Asked::Plain };
        let mut state = self.new_stream(id, asked);
        state.head_received = true;
        state.remote_open = !end_stream;
        state.expected = result.unwrap_or(None);
        let stream = self.streams.insert(state);
        self.budgets.earn(Budget::WindowUpdates, 1, &self.limits.budgets);
        Ok(Some(match too_large {
            None => Event::Request { stream, end_stream },
            Some(kind) => Event::HeadTooLarge { stream, kind, end_stream },
        }))
    }

    fn response(
        &mut self,
        stream: StreamRef,
        began: Began,
        block: &[u8],
        message: &mut Message,
        out: &mut Vec<u8>,
    ) -> Result<Event, ErrorKind> {
        let asked = self.streams.get(stream).map_or(Asked::Plain, |state| state.asked);
        let end_stream = began.end_stream;
        let result = head::response(block, &mut self.decoder, &self.limits, asked, end_stream, message)?;
        if began.depends_on_itself {
            return self.stream_error(stream, ErrorKind::SelfDependency, out);
        }
        let too_large = match result {
            Ok(_) if message.response.is_interim() => return self.interim(stream, out),
            Ok(_) => None,
            Err(Problem::TooLarge(kind)) => Some(kind),
            Err(Problem::Malformed(kind)) => return self.stream_error(stream, kind, out),
        };
        if let Some(state) = self.streams.get_mut(stream) {
            state.head_received = true;
            state.expected = result.unwrap_or(None);
        }
        if end_stream {
            self.close_remote(stream);
        }
        Ok(match too_large {
            None => Event::Response { stream, end_stream },
            Some(kind) => Event::HeadTooLarge { stream, kind, end_stream },
        })
    }

    /// Interim heads cost no window: their number is bounded instead.
    fn interim(&mut self, stream: StreamRef, out: &mut Vec<u8>) -> Result<Event, ErrorKind> {
        let Some(state) = self.streams.get_mut(stream) else { return Err(ErrorKind::StreamClosed) };
        state.interims += 1;
        if state.interims > INTERIM_HEADS_MAX {
            return self.stream_error(stream, ErrorKind::TooManyInterims, out);
        }
        Ok(Event::Interim { stream })
    }

    fn trailers(
        &mut self,
        stream: StreamRef,
        began: Began,
        block: &[u8],
        message: &mut Message,
        out: &mut Vec<u8>,
    ) -> Result<Event, ErrorKind> {
        let problem = head::trailers(block, &mut self.decoder, &self.limits, message)?.err();
        let Some(state) = self.streams.get(stream) else { return Err(ErrorKind::StreamClosed) };
        let wrong = if !state.remote_open {
            Some(ErrorKind::StreamClosed)
        } else if began.depends_on_itself {
            Some(ErrorKind::SelfDependency)
        } else if !began.end_stream {
            Some(ErrorKind::TrailersWithoutEnd)
        } else if let Some(Problem::Malformed(kind) | Problem::TooLarge(kind)) = problem {
            Some(kind)
        } else if state.asked == Asked::Connect {
            // A tunnel carries DATA only (RFC 9113 8.5).
            Some(ErrorKind::ForbiddenTrailer)
        } else if state.expected.is_some_and(|left| left > 0) {
            Some(ErrorKind::ContentLengthMismatch)
        } else {
            None
        };
        if let Some(kind) = wrong {
            return self.stream_error(stream, kind, out);
        }
        self.close_remote(stream);
        Ok(Event::Trailers { stream })
    }
}

/// The part of a header block in a HEADERS frame, without padding and priority; and the stream that the priority depends
/// on.
fn fragment(header: FrameHeader, payload: &[u8]) -> Result<(&[u8], Option<u32>), ErrorKind> {
    let mut rest = payload;
    let mut padding = 0;
    if header.has(flags::PADDED) {
        let (length, tail) = rest.split_first().ok_or(ErrorKind::InvalidFrameSize)?;
        padding = usize::from(*length);
        rest = tail;
    }
    let mut dependency = None;
    if header.has(flags::PRIORITY) {
        let (priority, tail) = rest.split_at_checked(5).ok_or(ErrorKind::InvalidFrameSize)?;
        dependency = Some(number(priority, 0) & MAX_31_BITS);
        rest = tail;
    }
    let len = rest.len().checked_sub(padding).ok_or(ErrorKind::InvalidPadding)?;
    Ok((&rest[..len], dependency))
}
