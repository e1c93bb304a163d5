//! Bodies: counted, chunked, or until the connection closes (RFC 9112 sections 6 and 7).

use super::trailers::{Section, Trailers};
use crate::http::{BodyLength, Error, ErrorKind, HeadLimits, Side};
use core::ops::Range;

/// One step of decoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BodyEvent {
    /// Bytes of the input that are done with, framing included; the next call gets what follows them.
    pub consumed: usize,
    pub part: BodyPart,
}

/// What a step found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BodyPart {
    /// Payload: this range of the input, within the bytes consumed; never empty.
    Data(Range<usize>),
    /// All of the input is consumed and the body isn't at its end.
    NeedMore,
    /// The body is complete; trailers, if any, are in [`BodyDecoder::trailers`].
    End,
}

/// Decodes one body. Keeps no payload; a chunk's framing that is split over inputs is remembered as a number, and only
/// trailers are collected, in a bounded buffer that exists once a body has had some.
///
/// Memory: 56 bytes. Reuse it with [`BodyDecoder::reset`].
#[derive(Debug)]
pub struct BodyDecoder {
    /// Payload bytes to come in this chunk or, without chunks, in the body; while a size is read, the digits so far.
    left: u64,
    /// What chunk lines have cost beyond their allowance.
    overhead: u64,
    line_bytes: u32,
    state: State,
    side: Side,
    digits: u8,
    limits: BodyLimits,
    section: Option<Box<Section>>,
}

#[derive(Clone, Copy, Debug)]
struct BodyLimits {
    chunk_line_bytes_max: u32,
    chunk_overhead_bytes_max: u32,
    trailer_bytes_max: u32,
    fields_max: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Counted payload.
    Length,
    UntilClose,
    /// Digits of a chunk's size.
    Size,
    /// Whitespace between a size and the `;` of an extension.
    SizeSpace,
    Extension,
    /// The LF of a chunk line.
    SizeLf,
    /// Payload of a chunk.
    Chunk,
    /// CR and LF behind a chunk's payload.
    ChunkCr,
    ChunkLf,
    /// First byte of a trailer line, or of the empty line that ends the body.
    TrailerStart,
    /// Inside a trailer line.
    Trailer,
    /// The LF of a trailer line.
    TrailerLf,
    /// The LF of the last, empty line.
    EndLf,
    Done,
}

impl BodyDecoder {
    /// A decoder for a request's body.
    #[must_use]
    pub fn new(length: BodyLength, limits: &HeadLimits) -> BodyDecoder {
        let limits = BodyLimits {
            chunk_line_bytes_max: limits.chunk_line_bytes_max,
            chunk_overhead_bytes_max: limits.chunk_overhead_bytes_max,
            trailer_bytes_max: limits.trailer_bytes_max,
            fields_max: limits.fields_max.min(HeadLimits::FIELDS_MAX),
        };
        let (left, state) = start(length);
        BodyDecoder { left, overhead: 0, line_bytes: 0, state, side: Side::Request, digits: 0, limits, section: None }
    }

    /// A decoder for a response's body: its errors are the origin's (502).
    #[must_use]
    pub fn for_response(length: BodyLength, limits: &HeadLimits) -> BodyDecoder {
        BodyDecoder { side: Side::Response, ..BodyDecoder::new(length, limits) }
    }

    /// Begins another body, keeping limits and memory.
    pub fn reset(&mut self, length: BodyLength) {
        (self.left, self.state) = start(length);
        self.overhead = 0;
        self.line_bytes = 0;
        self.digits = 0;
        if let Some(section) = &mut self.section {
            section.clear();
        }
    }

    /// The body is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Payload bytes that are certain to come before anything else: the rest of a counted body or of a chunk.
    #[must_use]
    pub fn remaining_hint(&self) -> u64 {
        match self.state {
            State::Length | State::Chunk => self.left,
            _ => 0,
        }
    }

    /// Trailers that this body ended with; `None` before its end and when there were none.
    #[must_use]
    pub fn trailers(&self) -> Option<Trailers<'_>> {
        self.section.as_deref().filter(|_| self.is_done()).and_then(Section::trailers)
    }

    /// The peer has closed its side: the end of a body that lasts until then, an error in any other that isn't complete.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn on_eof(&mut self) -> Result<(), Error> {
        match self.state {
            State::Done | State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::Truncated, self.side)),
        }
    }

    /// Decodes the next part of the body from the start of `input`. Call again with what follows `consumed` until it says
    /// `NeedMore` or `End`.
    ///
    /// # Errors
    /// A violation of the chunked coding or of the limits; the body and its connection are lost then.
    #[inline]
    pub fn decode(&mut self, input: &[u8]) -> Result<BodyEvent, Error> {
        match self.state {
            State::Length => Ok(self.data(input, 0, State::Done)),
            State::UntilClose if input.is_empty() => Ok(BodyEvent { consumed: 0, part: BodyPart::NeedMore }),
            State::UntilClose => Ok(BodyEvent { consumed: input.len(), part: BodyPart::Data(0..input.len()) }),
            State::Done => Ok(BodyEvent { consumed: 0, part: BodyPart::End }),
            _ => self.chunked(input).map_err(|kind| Error::new(kind, self.side)),
        }
    }

    /// Takes payload from `input[from..]`; `then` is the state once nothing of it is left to come.
    #[inline]
    fn data(&mut self, input: &[u8], from: usize, then: State) -> BodyEvent {
        let available = input.len() - from;
        let take = usize::try_from(self.left).map_or(available, |left| left.min(available));
        if take == 0 {
            return BodyEvent { consumed: from, part: BodyPart::NeedMore };
        }
        self.left -= take as u64;
        if self.left == 0 {
            self.state = then;
        }
        BodyEvent { consumed: from + take, part: BodyPart::Data(from..from + take) }
    }

    fn chunked(&mut self, input: &[u8]) -> Result<BodyEvent, ErrorKind> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            if self.state == State::Chunk {
                return Ok(self.data(input, at, State::ChunkCr));
            }
            at += 1;
            match self.state {
                State::Size | State::SizeSpace | State::Extension | State::SizeLf => self.chunk_line(byte)?,
                State::ChunkCr if byte == b'\r' => self.state = State::ChunkLf,
                State::ChunkLf if byte == b'\n' => self.begin_line(),
                State::ChunkCr | State::ChunkLf => return Err(ErrorKind::InvalidChunkEnd),
                _ => self.trailer(byte)?,
            }
            if self.state == State::Done {
                return Ok(BodyEvent { consumed: at, part: BodyPart::End });
            }
        }
        Ok(BodyEvent { consumed: at, part: BodyPart::NeedMore })
    }

    fn begin_line(&mut self) {
        self.state = State::Size;
        self.left = 0;
        self.digits = 0;
        self.line_bytes = 0;
    }

    /// One byte of `size [BWS ; extensions] CRLF`. Extensions are checked for control characters and thrown away.
    #[inline]
    fn chunk_line(&mut self, byte: u8) -> Result<(), ErrorKind> {
        if self.state == State::SizeLf {
            return match byte {
                b'\n' => self.end_chunk_line(),
                _ => Err(ErrorKind::BareCr),
            };
        }
        match byte {
            b'\r' if self.state == State::SizeSpace => return Err(ErrorKind::InvalidChunkSize),
            b'\r' if self.digits > 0 => {
                self.state = State::SizeLf;
                return Ok(());
            }
            b'\n' => return Err(ErrorKind::BareLf),
            _ => {}
        }
        self.line_bytes += 1;
        if self.line_bytes > self.limits.chunk_line_bytes_max {
            return Err(ErrorKind::ChunkLineTooLong);
        }
        match (self.state, byte) {
            (State::Size, _) if hex(byte).is_some() => {
                // 16 digits fill 64 bits. Leading zeros count: a size that needs more of them is no honest one.
                if self.digits == 16 {
                    return Err(ErrorKind::ChunkSizeOverflow);
                }
                self.digits += 1;
                self.left = self.left << 4 | u64::from(hex(byte).unwrap_or_default());
            }
            (State::Size, b' ' | b'\t') if self.digits > 0 => self.state = State::SizeSpace,
            (State::SizeSpace, b' ' | b'\t') => {}
            (State::Size | State::SizeSpace, b';') if self.digits > 0 => self.state = State::Extension,
            (State::Extension, byte) if !byte.is_ascii_control() || byte == b'\t' => {}
            (State::Extension, _) => return Err(ErrorKind::InvalidChunkExtension),
            _ => return Err(ErrorKind::InvalidChunkSize),
        }
        Ok(())
    }

    fn end_chunk_line(&mut self) -> Result<(), ErrorKind> {
        /// What the framing of a chunk may cost in bytes, whatever its size.
        const FREE: u64 = 16;
        self.overhead = (self.overhead + u64::from(self.line_bytes)).saturating_sub(FREE.saturating_add(self.left));
        if self.overhead > u64::from(self.limits.chunk_overhead_bytes_max) {
            return Err(ErrorKind::ChunkOverheadTooLarge);
        }
        self.state = if self.left == 0 { State::TrailerStart } else { State::Chunk };
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<(), ErrorKind> {
        match (self.state, byte) {
            (State::TrailerStart, b'\r') => self.state = State::EndLf,
            (State::EndLf, b'\n') => {
                if let Some(section) = &mut self.section {
                    section.parse()?;
                }
                self.state = State::Done;
            }
            (State::EndLf, _) => return Err(ErrorKind::BareCr),
            (State::TrailerStart | State::Trailer, b'\n') => return Err(ErrorKind::BareLf),
            (State::Trailer, b'\r') => self.state = State::TrailerLf,
            (State::TrailerLf, b'\n') => {
                let max = self.limits.fields_max;
                self.collect(b"\r\n")?.end_line(max)?;
                self.state = State::TrailerStart;
            }
            (State::TrailerLf, _) => return Err(ErrorKind::BareCr),
            _ => {
                self.collect(&[byte])?;
                self.state = State::Trailer;
            }
        }
        Ok(())
    }

    fn collect(&mut self, bytes: &[u8]) -> Result<&mut Section, ErrorKind> {
        let section = self.section.get_or_insert_default();
        section.push(bytes, self.limits.trailer_bytes_max as usize)?;
        Ok(section)
    }
}

fn start(length: BodyLength) -> (u64, State) {
    match length {
        BodyLength::None | BodyLength::Length(0) => (0, State::Done),
        BodyLength::Length(length) => (length, State::Length),
        BodyLength::Chunked => (0, State::Size),
        BodyLength::UntilClose => (0, State::UntilClose),
    }
}

#[inline]
fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
