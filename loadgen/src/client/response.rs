//! Reading responses: bytes of a connection in, answers out. The common response, whole in one piece, is parsed where it
//! was received.

use codecs::Status;
use codecs::http::h1::{BodyDecoder, BodyPart, HeadScanner, parse_response_resumed};
use codecs::http::{BodyLength, Error, HeadLimits, Method, ResponseHead};

/// A response that is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The connection can carry another request.
    pub(crate) keep_alive: bool,
    /// Received for it, head and framing included.
    pub(crate) bytes: u64,
    pub(crate) body_bytes: u64,
    /// `grpc-status` of a call; [`GRPC_STATUS_NONE`] if the server sent none that is valid.
    pub(crate) grpc_status: Option<u8>,
}

/// In place of a `grpc-status` that is missing or no number of the specification.
pub(crate) const GRPC_STATUS_NONE: u8 = 17;

/// What a server may send around its bodies: more than a proxy should allow, as it is the server that is tested.
fn limits() -> HeadLimits {
    HeadLimits { head_bytes_max: 256 * 1024, fields_max: HeadLimits::FIELDS_MAX, ..HeadLimits::default() }
}

pub(crate) struct Reader {
    limits: HeadLimits,
    method: Method,
    head: ResponseHead,
    scanner: HeadScanner,
    decoder: BodyDecoder,
    in_body: bool,
    bytes: u64,
    body_bytes: u64,
    /// Received and not consumed: a head that isn't complete, or responses behind the one that was read last.
    carry: Vec<u8>,
}

impl Reader {
    pub(crate) fn new(method: Method) -> Reader {
        let limits = limits();
        Reader {
            limits,
            method,
            head: ResponseHead::default(),
            scanner: HeadScanner::default(),
            decoder: BodyDecoder::for_response(BodyLength::None, &limits),
            in_body: false,
            bytes: 0,
            body_bytes: 0,
            carry: Vec::new(),
        }
    }

    /// For a new connection.
    pub(crate) fn reset(&mut self) {
        self.begin();
        self.carry.clear();
    }

    fn begin(&mut self) {
        self.scanner = HeadScanner::default();
        self.in_body = false;
        self.bytes = 0;
        self.body_bytes = 0;
    }

    /// Bytes are left over that belong to no response read so far.
    pub(crate) fn has_leftover(&self) -> bool {
        !self.carry.is_empty()
    }

    /// Takes what was received. `None`: the response isn't complete.
    ///
    /// # Errors
    /// It is no valid response.
    #[inline]
    pub(crate) fn feed(&mut self, input: &[u8]) -> Result<Option<Answer>, Error> {
        if !self.carry.is_empty() {
            self.carry.extend_from_slice(input);
            return self.resume();
        }
        let (consumed, answer) = self.consume(input)?;
        self.carry.extend_from_slice(&input[consumed..]);
        Ok(answer)
    }

    /// Looks at what is left over from the last response, when several requests were sent at once.
    pub(crate) fn resume(&mut self) -> Result<Option<Answer>, Error> {
        let mut carry = std::mem::take(&mut self.carry);
        let result = self.consume(&carry);
        carry.drain(..result.as_ref().map_or(0, |(consumed, _)| *consumed));
        self.carry = carry;
        result.map(|(_, answer)| answer)
    }

    /// The server has ended its direction: the end of a body that lasts until then.
    pub(crate) fn end(&mut self) -> Option<Answer> {
        (self.in_body && self.decoder.on_eof().is_ok()).then(|| self.finish())
    }

    fn consume(&mut self, input: &[u8]) -> Result<(usize, Option<Answer>), Error> {
        let mut at = 0;
        while !self.in_body {
            let rest = &input[at..];
            let parsed = parse_response_resumed(rest, &self.limits, self.method, &mut self.scanner, &mut self.head)?;
            let Status::Complete(n) = parsed else { return Ok((at, None)) };
            at += n;
            self.bytes += n as u64;
            if self.head.is_interim() {
                self.scanner = HeadScanner::default();
                continue;
            }
            self.decoder.reset(self.head.body);
            self.in_body = true;
        }
        while !self.decoder.is_done() {
            let event = self.decoder.decode(&input[at..])?;
            at += event.consumed;
            self.bytes += event.consumed as u64;
            match event.part {
                BodyPart::Data(range) => self.body_bytes += range.len() as u64,
                BodyPart::NeedMore => return Ok((at, None)),
                BodyPart::End => break,
            }
        }
        Ok((at, Some(self.finish())))
    }

    fn finish(&mut self) -> Answer {
        let keep_alive = self.head.keep_alive && !self.head.tunnel;
        let answer = Answer {
            status: self.head.status,
            keep_alive,
            bytes: self.bytes,
            body_bytes: self.body_bytes,
            grpc_status: None,
        };
        self.begin();
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, keep_alive: bool, bytes: usize, body_bytes: u64) -> Answer {
        Answer { status, keep_alive, bytes: bytes as u64, body_bytes, grpc_status: None }
    }

    #[test]
    fn any_cut_gives_the_same_answer() {
        let counted: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        let chunked: &[u8] = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        for (input, status) in [(counted, 200), (chunked, 500)] {
            for cut in 0..input.len() {
                let mut reader = Reader::new(Method::Get);
                let (front, back) = input.split_at(cut);
                assert_eq!(reader.feed(front), Ok(None), "{cut}");
                assert_eq!(reader.feed(back), Ok(Some(answer(status, true, input.len(), 5))), "{cut}");
                assert!(!reader.has_leftover());
            }
        }
    }

    #[test]
    fn a_body_until_close_ends_with_the_connection_and_a_counted_one_does_not() {
        let mut reader = Reader::new(Method::Get);
        let input = b"HTTP/1.1 200 OK\r\n\r\nbody";
        assert_eq!(reader.feed(input), Ok(None));
        assert_eq!(reader.end(), Some(answer(200, false, input.len(), 4)));
        assert_eq!(reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell"), Ok(None));
        assert_eq!(reader.end(), None);
    }

    #[test]
    fn responses_that_arrive_together_are_told_apart() {
        let mut reader = Reader::new(Method::Get);
        let one = b"HTTP/1.1 204 No Content\r\n\r\n";
        let expected = Ok(Some(answer(204, true, one.len(), 0)));
        assert_eq!(reader.feed(&[&one[..], &one[..], &one[..5]].concat()), expected);
        assert!(reader.has_leftover());
        assert_eq!(reader.resume(), expected);
        assert_eq!(reader.resume(), Ok(None));
        assert_eq!(reader.feed(&one[5..]), expected);
        assert!(!reader.has_leftover());
    }

    #[test]
    fn the_answer_to_head_has_no_body() {
        let mut reader = Reader::new(Method::Head);
        let input = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(reader.feed(input), Ok(Some(answer(200, true, input.len(), 0))));
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        assert!(Reader::new(Method::Get).feed(b"SSH-2.0-OpenSSH\r\n").is_err());
        assert!(Reader::new(Method::Get).feed(b"HTTP/1.1 200 OK\ncontent-length: 0\n\n").is_err());
    }
}
