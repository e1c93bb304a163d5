//! Frames written and read by hand, for what no library would send.

use crate::harness::{Broken, Client, Wire};
use std::net::SocketAddr;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const ACK: u8 = 1;

pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// What a RST_STREAM or a GOAWAY says.
    pub(super) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

pub(super) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub(super) fn go_away(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

fn text(block: &mut Vec<u8>, text: &str) {
    let len = text.len();
    if len < 127 {
        block.push(len as u8);
    } else {
        block.push(127);
        let mut rest = len - 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text.as_bytes());
}

/// A header block of literals that nobody remembers.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

pub(super) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/small"), (":authority", "app.test")];

pub(super) fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET))
}

pub(super) struct Raw {
    pub(super) wire: Wire,
}

impl Raw {
    /// A client that has said the preface.
    pub(super) fn client(address: SocketAddr) -> Raw {
        Raw::client_with(address, &[])
    }

    pub(super) fn client_with(address: SocketAddr, settings: &[(u16, u32)]) -> Raw {
        let mut wire = Client::connect(address).wire;
        let settings: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        wire.send([PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat());
        Raw { wire }
    }

    /// An endpoint that has read the preface; it has sent its own SETTINGS.
    pub(super) fn endpoint(mut wire: Wire) -> Option<Raw> {
        let preface = wire.exactly(PREFACE.len()).ok()?;
        assert_eq!(preface, PREFACE);
        wire.send(frame(SETTINGS, 0, 0, &[]));
        Some(Raw { wire })
    }

    /// False when the peer has gone.
    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.send(bytes)
    }

    pub(super) fn read(&mut self) -> Result<Frame, Broken> {
        let head = self.wire.exactly(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes(head[5..9].try_into().expect("four bytes"));
        Ok(Frame { kind: head[3], flags: head[4], stream, payload: self.wire.exactly(length)? })
    }

    /// The next frame of a kind; SETTINGS on the way are acknowledged.
    pub(super) fn next(&mut self, kind: u8) -> Result<Frame, Broken> {
        loop {
            let frame = self.read()?;
            if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                self.send(super::raw::frame(SETTINGS, ACK, 0, &[]));
            }
            if frame.kind == kind {
                return Ok(frame);
            }
        }
    }

    #[track_caller]
    pub(super) fn expect(&mut self, kind: u8) -> Frame {
        self.next(kind).unwrap_or_else(|broken| panic!("no frame of kind {kind}: {broken:?}"))
    }

    /// For an endpoint: the stream of the next request.
    pub(super) fn request(&mut self) -> Option<u32> {
        self.next(HEADERS).ok().map(|frame| frame.stream)
    }

    /// For an endpoint: answers 200 without a body.
    pub(super) fn answer(&mut self, stream: u32) -> bool {
        self.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88]))
    }
}
