//! One connection of HTTP/1.1: requests in, answers out in the same order.

use std::cell::RefCell;
use std::io;

use codecs::Status;
use codecs::http::h1::{
    BodyDecoder, BodyPart, HeadScanner, RequestOptions, emit, parse_request, parse_request_resumed,
};
use codecs::http::h2::Message;
use codecs::http::{BodyLength, Error, FieldId, HeadLimits, RequestHead, Version};
use codecs::tls::ServerConfig;
use runtime::{Core, Slice};

use super::answer::{Answer, Settings};
use super::stock::{PIECE_BYTES, Stock};
use crate::transport::{Input, Transport};
use crate::ws;

/// Bytes queued for a client above which nothing is added: a client that doesn't read is waited for.
pub(super) const QUEUED_BYTES_MAX: usize = 256 * 1024;

/// What the connections of a core share.
pub(super) struct Origin {
    pub(super) core: Core,
    pub(super) settings: Settings,
    /// `None`: plain connections.
    pub(super) tls: Option<ServerConfig>,
    limits: HeadLimits,
    /// Filled and used up within a call.
    head: RefCell<RequestHead>,
    /// The same for HTTP/2.
    pub(super) message: RefCell<Message>,
    pub(super) stock: RefCell<Stock>,
}

/// What remains of a request once its bytes are gone.
struct Request {
    answer: Answer,
    body: BodyLength,
    expect_continue: bool,
    /// The client wants a WebSocket: the answer to its key.
    websocket: Option<[u8; 28]>,
}

impl Origin {
    pub(super) fn new(core: Core, settings: Settings, tls: Option<ServerConfig>) -> Origin {
        let usual = Answer {
            status: settings.status,
            body_bytes: if matches!(settings.status, 204 | 304) { 0 } else { settings.body_bytes },
            delay_us: 0,
            chunked: settings.chunked && !matches!(settings.status, 204 | 304),
            keep_alive: !settings.close,
            version: Version::Http11,
            head_only: false,
        };
        let error = Answer { status: settings.error_status, ..usual };
        let stock = RefCell::new(Stock::new(&core, usual, error));
        let (head, message) = (RefCell::default(), RefCell::default());
        Origin { core, settings, tls, limits: HeadLimits::default(), head, message, stock }
    }

    /// What to answer a request with.
    #[inline]
    pub(super) fn answer(&self, input: &[u8], head: &RequestHead) -> Answer {
        let random = if self.settings.has_errors() { self.core.random() } else { u64::MAX };
        self.settings.answer(head, input, random)
    }

    fn request(&self, input: &[u8], head: &RequestHead) -> Request {
        let websocket = head.upgrade.and_then(|upgrade| accept(upgrade.of(input), input, head));
        let answer = self.answer(input, head);
        Request { answer, body: head.body, expect_continue: head.expect_continue, websocket }
    }

    pub(super) fn unix_secs(&self) -> u64 {
        self.core.unix_us() / 1_000_000
    }
}

#[cold]
fn accept(upgrade: &[u8], input: &[u8], head: &RequestHead) -> Option<[u8; 28]> {
    let key = head.field(FieldId::SecWebsocketKey)?;
    upgrade.eq_ignore_ascii_case(b"websocket").then(|| ws::accept(key.value.of(input)))
}

/// How a connection ends before the client ends it.
enum Ending {
    /// Failed, or ended in the middle of a request.
    Lost,
    /// The client broke the protocol.
    Bad(Error),
}

impl From<io::Error> for Ending {
    fn from(_: io::Error) -> Ending {
        Ending::Lost
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve(origin: std::rc::Rc<Origin>, transport: Transport) {
    let mut connection = Connection { origin: &origin, transport: &transport, carry: Vec::new() };
    match connection.serve().await {
        Ok(()) => transport.close_lingering(),
        Err(Ending::Lost) => transport.close(),
        Err(Ending::Bad(error)) => {
            let answer = Answer {
                status: error.status(),
                body_bytes: 0,
                delay_us: 0,
                chunked: false,
                keep_alive: false,
                version: Version::Http11,
                head_only: false,
            };
            let mut head = Vec::new();
            origin.stock.borrow_mut().head(&mut head, &answer, origin.unix_secs());
            transport.send(&head);
            transport.close_lingering();
        }
    }
}

struct Connection<'a> {
    origin: &'a Origin,
    transport: &'a Transport,
    /// The beginning of a head that isn't complete.
    carry: Vec<u8>,
}

impl Connection<'_> {
    async fn serve(&mut self) -> Result<(), Ending> {
        while let Some(request) = self.request().await? {
            if let Some(accept) = request.websocket {
                return self.echo(&accept).await;
            }
            if !request.body.is_empty() {
                self.discard_body(&request).await?;
            }
            if request.answer.delay_us > 0 {
                self.delay(request.answer.delay_us).await;
            }
            self.respond(&request.answer).await?;
            if !request.answer.keep_alive {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next request; `None` when the client has ended the connection between requests.
    async fn request(&mut self) -> Result<Option<Request>, Ending> {
        let mut scanner = HeadScanner::default();
        loop {
            let mut slice = match self.transport.recv().await {
                Input::Data(slice) => slice,
                Input::End if self.carry.is_empty() => return Ok(None),
                Input::End | Input::Failed(_) => return Err(Ending::Lost),
            };
            let mut head = self.origin.head.borrow_mut();
            let (limits, options) = (&self.origin.limits, RequestOptions::default());
            if self.carry.is_empty() {
                match parse_request(&slice, limits, &options, &mut head).map_err(Ending::Bad)? {
                    Status::Complete(n) => {
                        let request = self.origin.request(&slice, &head);
                        slice.advance(n);
                        self.put_back(slice);
                        return Ok(Some(request));
                    }
                    Status::Partial => self.carry.extend_from_slice(&slice),
                }
                continue;
            }
            self.carry.extend_from_slice(&slice);
            let parsed = parse_request_resumed(&self.carry, limits, &options, &mut scanner, &mut head);
            if let Status::Complete(n) = parsed.map_err(Ending::Bad)? {
                let request = self.origin.request(&self.carry, &head);
                // What follows the head came with the last piece.
                slice.advance(slice.len() - (self.carry.len() - n));
                self.put_back(slice);
                self.carry = Vec::new();
                return Ok(Some(request));
            }
        }
    }

    #[inline]
    fn put_back(&self, slice: Slice) {
        if !slice.is_empty() {
            self.transport.unrecv(slice);
        }
    }

    async fn discard_body(&self, request: &Request) -> Result<(), Ending> {
        if request.expect_continue && !self.transport.has_input() {
            self.transport.send(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let mut decoder = BodyDecoder::new(request.body, &self.origin.limits);
        loop {
            let mut slice = match self.transport.recv().await {
                Input::Data(slice) => slice,
                Input::End | Input::Failed(_) => return Err(Ending::Lost),
            };
            loop {
                let event = decoder.decode(&slice).map_err(Ending::Bad)?;
                slice.advance(event.consumed);
                if decoder.is_done() {
                    self.put_back(slice);
                    return Ok(());
                }
                if event.part == BodyPart::NeedMore {
                    break;
                }
            }
        }
    }

    /// Waits at least `delay_us`; timers have a grid of 1 ms.
    async fn delay(&self, delay_us: u64) {
        self.transport.flush();
        let core = &self.origin.core;
        let until_ms = (core.now_us() + delay_us).div_ceil(1000);
        core.sleep_ms(until_ms - core.now_ms()).await;
    }

    /// Sends back the messages of a WebSocket.
    async fn echo(&self, accept: &[u8]) -> Result<(), Ending> {
        let mut out = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n".to_vec();
        emit::field(&mut out, b"sec-websocket-accept", accept);
        emit::end_of_head(&mut out);
        let mut echo = ws::Echo::default();
        loop {
            self.transport.send(&out);
            out.clear();
            self.transport.drained(QUEUED_BYTES_MAX).await?;
            let Input::Data(slice) = self.transport.recv().await else { return Ok(()) };
            if echo.feed(&slice, &mut out).unwrap_or(true) {
                self.transport.send(&out);
                return Ok(());
            }
        }
    }

    async fn respond(&self, answer: &Answer) -> Result<(), Ending> {
        if self.transport.unsent_bytes() > QUEUED_BYTES_MAX {
            self.transport.drained(QUEUED_BYTES_MAX).await?;
        }
        let answer = Answer { delay_us: 0, ..*answer };
        let unix_secs = self.origin.unix_secs();
        {
            let mut stock = self.origin.stock.borrow_mut();
            if let Some(whole) = stock.whole(&answer, unix_secs) {
                self.transport.send(whole);
                return Ok(());
            }
            let mut head = Vec::with_capacity(256);
            stock.head(&mut head, &answer, unix_secs);
            self.transport.send(&head);
        }
        if !answer.head_only {
            self.send_body(&answer).await?;
        }
        Ok(())
    }

    /// Sends a body in pieces of the shared allocation, no faster than the client takes them.
    async fn send_body(&self, answer: &Answer) -> Result<(), Ending> {
        let piece = self.origin.stock.borrow().piece.clone();
        let mut framing = Vec::new();
        let mut left = answer.body_bytes;
        while left > 0 {
            self.transport.drained(QUEUED_BYTES_MAX).await?;
            let n = left.min(PIECE_BYTES as u64) as usize;
            if answer.chunked {
                framing.clear();
                emit::chunk_head(&mut framing, n as u64);
                self.transport.send(&framing);
            }
            self.transport.send_slice(piece.slice(0..n));
            if answer.chunked {
                self.transport.send(b"\r\n");
            }
            left -= n as u64;
        }
        if answer.chunked {
            framing.clear();
            emit::last_chunk(&mut framing, None);
            self.transport.send(&framing);
        }
        Ok(())
    }
}
