//! Frames: the header that all share (RFC 9113 4.1), and writing the frames that have no state behind them.

use super::error::ErrorCode;

/// Size of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 9;
/// What the client sends first (RFC 9113 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Largest stream identifier and largest flow-control window.
pub const MAX_31_BITS: u32 = 0x7fff_ffff;

/// The flags that the frames of RFC 9113 have; the same bit means different things in different frames.
pub(crate) mod flags {
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// Type of a frame (RFC 9113 section 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Data = 0,
    Headers = 1,
    Priority = 2,
    RstStream = 3,
    Settings = 4,
    PushPromise = 5,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
    /// A type that RFC 9113 doesn't define: ignored (section 5.5).
    Unknown = 0xff,
}

impl Kind {
    fn of(byte: u8) -> Kind {
        match byte {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::RstStream,
            4 => Kind::Settings,
            5 => Kind::PushPromise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            _ => Kind::Unknown,
        }
    }
}

/// Header of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrameHeader {
    /// Bytes of payload that follow; at most 2^24 - 1.
    pub(crate) length: u32,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    /// Without the reserved bit.
    pub(crate) stream: u32,
}

impl FrameHeader {
    /// The header at the start of `input`; `None` while it isn't all there.
    #[inline]
    pub(crate) fn parse(input: &[u8]) -> Option<FrameHeader> {
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = input.first_chunk::<FRAME_HEADER_BYTES>()?;
        Some(FrameHeader {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & MAX_31_BITS,
        })
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The bytes of a frame header. Lengths beyond 24 bits can't be written; no caller has them.
#[inline]
pub(crate) fn header_bytes(length: usize, kind: Kind, flags: u8, stream: u32) -> [u8; FRAME_HEADER_BYTES] {
    debug_assert!(length < 1 << 24 && stream <= MAX_31_BITS);
    let [_, _, _, _, _, l0, l1, l2] = (length as u64).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    [l0, l1, l2, kind as u8, flags, s0, s1, s2, s3]
}

#[inline]
pub(crate) fn header(out: &mut Vec<u8>, length: usize, kind: Kind, flags: u8, stream: u32) {
    out.extend_from_slice(&header_bytes(length, kind, flags, stream));
}

pub(crate) fn rst_stream(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    header(out, 4, Kind::RstStream, 0, stream);
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

pub(crate) fn settings_ack(out: &mut Vec<u8>) {
    header(out, 0, Kind::Settings, flags::ACK, 0);
}

pub(crate) fn ping(out: &mut Vec<u8>, payload: [u8; 8], ack: bool) {
    header(out, payload.len(), Kind::Ping, if ack { flags::ACK } else { 0 }, 0);
    out.extend_from_slice(&payload);
}

/// GOAWAY with `debug` as its additional data: readable text, for whoever looks at the peer's log.
pub(crate) fn go_away(out: &mut Vec<u8>, last_stream: u32, code: ErrorCode, debug: &[u8]) {
    header(out, 8 + debug.len(), Kind::GoAway, 0, 0);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
    out.extend_from_slice(debug);
}

/// WINDOW_UPDATE; stream 0 is the connection.
pub(crate) fn window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    header(out, 4, Kind::WindowUpdate, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// The big-endian number at `at`; 0 beyond the end, which callers have excluded by the frame's length.
pub(crate) fn number(payload: &[u8], at: usize) -> u32 {
    payload.get(at..).and_then(<[u8]>::first_chunk::<4>).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
