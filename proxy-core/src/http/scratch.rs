//! Memory of one exchange, used again by the next.

use codecs::http::h1::HeadScanner;
use codecs::http::h2::Message;
use codecs::http::{RequestHead, ResponseHead};

use super::body::Http1Body;
use super::head_input::HeadInput;
use super::headers::UpstreamHead;

/// An output buffer larger than this isn't kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct Scratch {
    pub(super) request: RequestHead,
    pub(super) response: ResponseHead,
    pub(super) request_input: HeadInput,
    pub(super) response_input: HeadInput,
    pub(super) scanner: HeadScanner,
    pub(super) request_body: Http1Body,
    pub(super) response_body: Http1Body,
    /// Trailers that came by HTTP/2.
    pub(super) request_trailers: Option<Box<Message>>,
    pub(super) response_trailers: Option<Box<Message>>,
    /// Kept for a second try.
    pub(super) upstream_head: UpstreamHead,
    /// Whatever else is being put together.
    pub(super) out: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            request: RequestHead::default(),
            response: ResponseHead::default(),
            request_input: HeadInput::default(),
            response_input: HeadInput::default(),
            scanner: HeadScanner::default(),
            request_body: Http1Body::none(),
            response_body: Http1Body::none(),
            request_trailers: None,
            response_trailers: None,
            upstream_head: UpstreamHead::default(),
            out: Vec::new(),
        }
    }
}

impl Scratch {
    pub(crate) fn clear(&mut self) {
        self.request.clear();
        self.response.clear();
        self.request_input.clear();
        self.response_input.clear();
        self.request_body.clear();
        self.response_body.clear();
        self.request_trailers = None;
        self.response_trailers = None;
        self.scanner = HeadScanner::default();
        self.upstream_head.clear(KEPT_BYTES_MAX);
        if self.out.capacity() > KEPT_BYTES_MAX {
            self.out = Vec::new();
        }
        self.out.clear();
    }
}
