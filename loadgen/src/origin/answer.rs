//! What to answer a request with.

use codecs::http::{Method, RequestHead, Version};

use crate::cli;

/// Longest delay that a request may ask for in its query, ms.
const DELAY_MS_MAX: u64 = 3_600_000;
/// Largest body that a request may ask for in its query.
const BODY_BYTES_MAX: u64 = 1 << 40;

/// How the origin behaves when a request doesn't ask for anything else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) status: u16,
    pub(crate) error_status: u16,
    pub(crate) body_bytes: u64,
    pub(crate) delay_us: u64,
    pub(crate) chunked: bool,
    pub(crate) close: bool,
    /// A random number below this one makes an error; compared as `u128`, so that 1.0 means every one.
    error_below: u128,
}

/// A response's shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
    pub(crate) delay_us: u64,
    pub(crate) chunked: bool,
    pub(crate) keep_alive: bool,
    pub(crate) version: Version,
    /// The answer to HEAD: the head alone.
    pub(crate) head_only: bool,
}

impl Settings {
    pub(crate) fn new(arguments: &cli::Origin) -> Settings {
        Settings {
            status: arguments.status,
            error_status: arguments.error_status,
            body_bytes: arguments.body_bytes,
            delay_us: u64::try_from(arguments.delay.as_micros()).unwrap_or(u64::MAX).min(DELAY_MS_MAX * 1000),
            chunked: arguments.chunked,
            close: arguments.close,
            error_below: (arguments.error_rate * 2f64.powi(64)) as u128,
        }
    }

    /// Some requests are answered with the error status.
    pub(crate) fn has_errors(&self) -> bool {
        self.error_below > 0
    }

    /// The answer to `head`, parsed from `input`; `random` decides whether it is an error.
    #[inline]
    pub(crate) fn answer(&self, head: &RequestHead, input: &[u8], random: u64) -> Answer {
        let mut answer = Answer {
            status: if u128::from(random) < self.error_below { self.error_status } else { self.status },
            body_bytes: self.body_bytes,
            delay_us: self.delay_us,
            chunked: self.chunked && head.version != Version::Http10,
            keep_alive: head.keep_alive && !self.close,
            version: head.version,
            head_only: head.method == Method::Head,
        };
        if let Some(query) = head.query() {
            answer.override_by(query.of(input));
        }
        if matches!(answer.status, 204 | 304) {
            answer.body_bytes = 0;
            answer.chunked = false;
        }
        answer
    }
}

impl Answer {
    /// Takes what the query asks for; anything that isn't understood is left alone.
    fn override_by(&mut self, query: &[u8]) {
        for pair in query.split(|byte| *byte == b'&') {
            let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
            let Some(value) = number(&pair[equals + 1..]) else { continue };
            match &pair[..equals] {
                b"bytes" => self.body_bytes = value.min(BODY_BYTES_MAX),
                b"delay_ms" => self.delay_us = value.min(DELAY_MS_MAX) * 1000,
                b"status" if (200..=599).contains(&value) => self.status = value as u16,
                _ => {}
            }
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::http::HeadLimits;
    use codecs::http::h1::{RequestOptions, parse_request};

    fn settings(error_rate: f64) -> Settings {
        Settings {
            status: 200,
            error_status: 503,
            body_bytes: 100,
            delay_us: 0,
            chunked: true,
            close: false,
            error_below: (error_rate * 2f64.powi(64)) as u128,
        }
    }

    fn answer(settings: &Settings, request: &str, random: u64) -> Answer {
        let mut head = RequestHead::default();
        let parsed = parse_request(request.as_bytes(), &HeadLimits::default(), &RequestOptions::default(), &mut head);
        parsed.expect("a request");
        settings.answer(&head, request.as_bytes(), random)
    }

    #[test]
    fn the_query_overrides_the_settings_and_nonsense_in_it_is_ignored() {
        let request = "GET /x?bytes=7&delay_ms=3&status=404&other=1&bytes=x&status=99 HTTP/1.1\r\nhost: h\r\n\r\n";
        let got = answer(&settings(0.0), request, 0);
        assert_eq!((got.body_bytes, got.delay_us, got.status, got.chunked), (7, 3000, 404, true));
    }

    #[test]
    fn old_clients_get_no_chunks_and_head_no_body() {
        let got = answer(&settings(0.0), "HEAD / HTTP/1.0\r\n\r\n", 0);
        assert!(!got.chunked && got.head_only && !got.keep_alive);
        assert_eq!(answer(&settings(0.0), "GET /?status=204 HTTP/1.1\r\nhost: h\r\n\r\n", 0).body_bytes, 0);
    }

    #[test]
    fn the_error_rate_is_a_share_of_random_numbers_from_none_to_all() {
        let status = |rate, random| answer(&settings(rate), "GET / HTTP/1.1\r\nhost: h\r\n\r\n", random).status;
        assert_eq!((status(0.0, 0), status(1.0, u64::MAX)), (200, 503));
        assert_eq!((status(0.25, u64::MAX / 4 - 9), status(0.25, u64::MAX / 4 + 9999)), (503, 200));
    }
}
