//! WebSocket frames (RFC 6455), as much as an echo and its client need.

use aws_lc_rs::digest;

/// What a server appends to the client's key to show that it speaks WebSocket (RFC 6455, section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest head of a frame: two bytes, eight of length, four of mask.
const HEAD_BYTES_MAX: usize = 14;
/// The longest payload of a control frame.
const CONTROL_BYTES_MAX: u64 = 125;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// The value of `sec-websocket-accept` for a client's key.
pub(crate) fn accept(key: &[u8]) -> [u8; 28] {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(ACCEPT_SUFFIX);
    base64(context.finish().as_ref())
}

/// Base64 of the 20 bytes of a SHA-1.
fn base64(bytes: &[u8]) -> [u8; 28] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = [b'='; 28];
    for (three, four) in bytes.chunks(3).zip(out.chunks_mut(4)) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, place) in four.iter_mut().enumerate().take(three.len() + 1) {
            *place = ALPHABET[(bits >> (18 - 6 * at)) as usize & 63];
        }
    }
    out
}

/// A frame's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Head {
    pub(crate) last: bool,
    pub(crate) opcode: u8,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) bytes: u64,
}

impl Head {
    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        out.push(if self.last { 0x80 } else { 0 } | self.opcode);
        let mask_bit = if self.mask.is_some() { 0x80 } else { 0 };
        match self.bytes {
            bytes @ 0..=125 => out.push(mask_bit | bytes as u8),
            bytes @ 126..=0xffff => {
                out.push(mask_bit | 126);
                out.extend_from_slice(&(bytes as u16).to_be_bytes());
            }
            bytes => {
                out.push(mask_bit | 127);
                out.extend_from_slice(&bytes.to_be_bytes());
            }
        }
        out.extend_from_slice(self.mask.as_ref().map_or(&[], |mask| &mask[..]));
    }

    /// The head at the start of `input` and its length; `None` if it isn't all there.
    fn parse(input: &[u8]) -> Option<(Head, usize)> {
        let [first, second, rest @ ..] = input else { return None };
        let (bytes, at) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
            bytes => (u64::from(bytes), 2),
        };
        let masked = second & 0x80 != 0;
        let mask = if masked { Some(*input.get(at..)?.first_chunk()?) } else { None };
        let head = Head { last: first & 0x80 != 0, opcode: first & 0x7f, mask, bytes };
        Some((head, at + if masked { 4 } else { 0 }))
    }

    fn is_control(&self) -> bool {
        self.opcode & 0x8 != 0
    }

    fn check(&self) -> Result<(), &'static str> {
        match self.opcode {
            CONTINUATION | TEXT | BINARY => Ok(()),
            CLOSE | PING | PONG if self.last && self.bytes <= CONTROL_BYTES_MAX => Ok(()),
            CLOSE | PING | PONG => Err("a control frame that is long or in fragments"),
            _ => Err("a frame of unknown kind"),
        }
    }
}

/// A client's message as a frame, ready to send; the mask is the same for all.
pub(crate) fn message(payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = Vec::with_capacity(payload.len() + HEAD_BYTES_MAX);
    Head { last: true, opcode: BINARY, mask: Some(MASK), bytes: payload.len() as u64 }.emit(&mut out);
    let at = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[at..], MASK, 0);
    out
}

/// Takes the mask off (or puts it on) a part of a payload that begins `offset` bytes into it.
fn unmask(bytes: &mut [u8], mask: [u8; 4], offset: u64) {
    let turned: [u8; 4] = std::array::from_fn(|at| mask[(offset as usize + at) % 4]);
    let word = u32::from_ne_bytes(turned);
    let mut words = bytes.chunks_exact_mut(4);
    for four in &mut words {
        if let Ok(array) = <[u8; 4]>::try_from(&*four) {
            four.copy_from_slice(&(u32::from_ne_bytes(array) ^ word).to_ne_bytes());
        }
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(turned) {
        *byte ^= mask;
    }
}

/// Part of a frame.
pub(crate) enum Part<'a> {
    Head(Head),
    /// Bytes of the payload, and how many came before them.
    Payload(&'a [u8], u64),
    /// The input is used up.
    NeedMore,
}

/// Takes frames apart, however they are cut.
#[derive(Default)]
pub(crate) struct Frames {
    carry: [u8; HEAD_BYTES_MAX],
    carried: usize,
    head: Head,
    /// Bytes of the payload that are still to come.
    left: u64,
}

impl Frames {
    /// The frame that the last part belonged to.
    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// The payload of the frame has come to its end.
    pub(crate) fn at_end(&self) -> bool {
        self.left == 0
    }

    /// The next part; `input` moves behind it.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Part<'a>, &'static str> {
        if self.left > 0 {
            let n = self.left.min(input.len() as u64) as usize;
            if n == 0 {
                return Ok(Part::NeedMore);
            }
            let (payload, rest) = input.split_at(n);
            *input = rest;
            let offset = self.head.bytes - self.left;
            self.left -= n as u64;
            return Ok(Part::Payload(payload, offset));
        }
        let (head, used) = if self.carried == 0 {
            match Head::parse(input) {
                Some(parsed) => parsed,
                None => return Ok(self.keep(input)),
            }
        } else {
            let mut joined = self.carry;
            let n = input.len().min(HEAD_BYTES_MAX - self.carried);
            joined[self.carried..self.carried + n].copy_from_slice(&input[..n]);
            match Head::parse(&joined[..self.carried + n]) {
                Some((head, used)) => (head, used - self.carried),
                None => return Ok(self.keep(input)),
            }
        };
        head.check()?;
        *input = &input[used..];
        (self.head, self.left, self.carried) = (head, head.bytes, 0);
        Ok(Part::Head(head))
    }

    /// Keeps the beginning of a head. It is shorter than the longest, or it would have been whole.
    fn keep<'a>(&mut self, input: &mut &'a [u8]) -> Part<'a> {
        let n = input.len().min(HEAD_BYTES_MAX - self.carried);
        self.carry[self.carried..self.carried + n].copy_from_slice(&input[..n]);
        self.carried += n;
        *input = &input[n..];
        Part::NeedMore
    }
}

/// A server that sends back what it is sent.
#[derive(Default)]
pub(crate) struct Echo {
    frames: Frames,
}

impl Echo {
    /// Appends the answer to `input`; true once the client has closed.
    ///
    /// # Errors
    /// The client broke the protocol.
    pub(crate) fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<bool, &'static str> {
        loop {
            match self.frames.next(&mut input)? {
                Part::NeedMore => return Ok(false),
                Part::Head(head) => {
                    if head.mask.is_none() {
                        return Err("a client's frame without a mask");
                    }
                    if head.opcode != PONG {
                        let opcode = if head.opcode == PING { PONG } else { head.opcode };
                        Head { opcode, mask: None, ..head }.emit(out);
                    }
                }
                Part::Payload(payload, offset) => {
                    let head = self.frames.head();
                    if head.opcode != PONG {
                        let at = out.len();
                        out.extend_from_slice(payload);
                        unmask(&mut out[at..], head.mask.unwrap_or_default(), offset);
                    }
                }
            }
            if self.frames.at_end() && self.frames.head().opcode == CLOSE {
                return Ok(true);
            }
        }
    }
}

/// A client that waits for its message to come back.
#[derive(Default)]
pub(crate) struct Reader {
    frames: Frames,
    /// Bytes of the message that have come.
    bytes: u64,
}

/// What a client's reader found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    NeedMore,
    Message,
    /// The server closes.
    Close,
}

impl Reader {
    /// Reads up to the end of a message, which must be `expected`; `input` moves behind it.
    ///
    /// # Errors
    /// The server broke the protocol or sent something else.
    pub(crate) fn feed(&mut self, input: &mut &[u8], expected: &[u8]) -> Result<Found, &'static str> {
        loop {
            match self.frames.next(input)? {
                Part::NeedMore => return Ok(Found::NeedMore),
                Part::Head(head) if head.mask.is_some() => return Err("a server's frame with a mask"),
                Part::Head(_) => {}
                Part::Payload(_, _) if self.frames.head().is_control() => {}
                Part::Payload(payload, _) => {
                    let at = self.bytes as usize;
                    self.bytes += payload.len() as u64;
                    if expected.get(at..at + payload.len()) != Some(payload) {
                        return Err("another message came back");
                    }
                }
            }
            let head = self.frames.head();
            if !self.frames.at_end() {
                continue;
            }
            if head.opcode == CLOSE {
                return Ok(Found::Close);
            }
            if head.last && !head.is_control() {
                let bytes = std::mem::take(&mut self.bytes);
                return if bytes == expected.len() as u64 {
                    Ok(Found::Message)
                } else {
                    Err("only part of it came back")
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_specification_gets_its_answer() {
        assert_eq!(&accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn any_cut_comes_back_as_it_went() {
        for bytes in [0, 1, 125, 126, 300, 70_000] {
            let payload: Vec<u8> = (0..bytes).map(|at: u32| at as u8).collect();
            let frame = message(&payload);
            for cut in (0..frame.len()).step_by(1 + frame.len() / 200) {
                let (mut echo, mut back) = (Echo::default(), Vec::new());
                for part in [&frame[..cut], &frame[cut..]] {
                    assert_eq!(echo.feed(part, &mut back), Ok(false));
                }
                let mut reader = Reader::default();
                let (mut front, mut rest) = back.split_at(cut.min(back.len()));
                let found = reader.feed(&mut front, &payload).expect("valid");
                if found == Found::NeedMore {
                    assert_eq!(reader.feed(&mut rest, &payload), Ok(Found::Message), "{bytes} {cut}");
                }
            }
        }
    }

    #[test]
    fn control_frames_are_answered_between_fragments() {
        let masked = |last, opcode, payload: &[u8]| {
            let mut out = Vec::new();
            Head { last, opcode, mask: Some([0; 4]), bytes: payload.len() as u64 }.emit(&mut out);
            [out, payload.to_vec()].concat()
        };
        let input = [masked(false, TEXT, b"ab"), masked(true, PING, b"p"), masked(true, CONTINUATION, b"c")].concat();
        let mut back = Vec::new();
        assert_eq!(Echo::default().feed(&input, &mut back), Ok(false));
        assert_eq!(back, b"\x01\x02ab\x8a\x01p\x80\x01c");
        assert_eq!(Reader::default().feed(&mut &back[..], b"abc"), Ok(Found::Message));
        assert_eq!(Echo::default().feed(&masked(true, CLOSE, b"\x03\xe8"), &mut back), Ok(true));
        assert!(Echo::default().feed(b"\x81\x01a", &mut back).is_err());
        assert!(Reader::default().feed(&mut &b"\x82\x01x"[..], b"y").is_err());
    }
}
