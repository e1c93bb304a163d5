//! Responses that are ready to send, and the bytes that bodies consist of.

use codecs::http::Version;
use codecs::http::h1::emit;
use runtime::{Core, Slice};

use super::answer::Answer;

/// Bytes of the one allocation that all bodies are cut from. It fits a processor's second-level cache; a multiple of the
/// pattern, so that a body continues over its pieces.
pub(super) const PIECE_BYTES: usize = 64 * 1024;
/// What bodies consist of: 63 characters and an end of line.
const PATTERN: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n";
/// Bodies up to this size are stored with their heads.
const WHOLE_BYTES_MAX: u64 = 2048;

/// What a core keeps ready.
pub(super) struct Stock {
    /// Body bytes, to be sent by reference.
    pub(super) piece: Slice,
    date: Vec<u8>,
    date_secs: u64,
    usual: Whole,
    error: Whole,
}

/// A response that fits one buffer, with its date.
struct Whole {
    /// What it is the answer for; `None` if it doesn't fit.
    answer: Option<Answer>,
    bytes: Vec<u8>,
    /// Where the 29 bytes of the date are.
    date_at: usize,
}

impl Stock {
    /// `usual`, `error`: the answers worth keeping.
    pub(super) fn new(core: &Core, usual: Answer, error: Answer) -> Stock {
        let mut date = Vec::with_capacity(32);
        let date_secs = core.unix_us() / 1_000_000;
        emit::date(&mut date, date_secs);
        let piece = core.own(PATTERN.repeat(PIECE_BYTES / PATTERN.len()).into_boxed_slice());
        Stock { usual: Whole::new(usual, &date), error: Whole::new(error, &date), piece, date, date_secs }
    }

    /// The whole response for `answer`, if it is one of those kept.
    #[inline]
    pub(super) fn whole(&mut self, answer: &Answer, unix_secs: u64) -> Option<&[u8]> {
        if unix_secs != self.date_secs {
            self.refresh(unix_secs);
        }
        let same = |whole: &&Whole| whole.answer.as_ref() == Some(answer);
        [&self.usual, &self.error].into_iter().find(same).map(|whole| &*whole.bytes)
    }

    /// The value of `date`.
    pub(super) fn date(&mut self, unix_secs: u64) -> &[u8] {
        if unix_secs != self.date_secs {
            self.refresh(unix_secs);
        }
        &self.date
    }

    /// Appends the head of any answer.
    pub(super) fn head(&mut self, out: &mut Vec<u8>, answer: &Answer, unix_secs: u64) {
        if unix_secs != self.date_secs {
            self.refresh(unix_secs);
        }
        head(out, answer, &self.date);
    }

    #[cold]
    fn refresh(&mut self, unix_secs: u64) {
        self.date.clear();
        emit::date(&mut self.date, unix_secs);
        self.date_secs = unix_secs;
        for whole in [&mut self.usual, &mut self.error] {
            if let Some(place) = whole.bytes.get_mut(whole.date_at..whole.date_at + self.date.len()) {
                place.copy_from_slice(&self.date);
            }
        }
    }
}

impl Whole {
    fn new(answer: Answer, date: &[u8]) -> Whole {
        let mut bytes = Vec::new();
        if answer.body_bytes > WHOLE_BYTES_MAX {
            return Whole { answer: None, bytes, date_at: 0 };
        }
        let date_at = head(&mut bytes, &answer, date);
        let body = answer.body_bytes as usize;
        let body = PATTERN.iter().copied().cycle().take(if answer.head_only { 0 } else { body });
        if !answer.chunked {
            bytes.extend(body);
        } else if !answer.head_only {
            if answer.body_bytes > 0 {
                emit::chunk_head(&mut bytes, answer.body_bytes);
                bytes.extend(body);
                emit::chunk_end(&mut bytes);
            }
            emit::last_chunk(&mut bytes, None);
        }
        // The delay passes before the response is looked up.
        Whole { answer: Some(Answer { delay_us: 0, ..answer }), bytes, date_at }
    }
}

/// Appends a response's head and returns where its date is.
fn head(out: &mut Vec<u8>, answer: &Answer, date: &[u8]) -> usize {
    emit::status_line(out, answer.status, b"");
    emit::field(out, b"server", b"loadgen");
    emit::field(out, b"date", date);
    let date_at = out.len() - 2 - date.len();
    emit::field(out, b"content-type", b"text/plain");
    if answer.chunked {
        emit::transfer_encoding_chunked(out);
    } else if !matches!(answer.status, 204 | 304) {
        emit::content_length(out, answer.body_bytes);
    }
    match (answer.keep_alive, answer.version) {
        (false, _) => emit::field(out, b"connection", b"close"),
        (true, Version::Http10) => emit::field(out, b"connection", b"keep-alive"),
        (true, Version::Http11 | Version::Http2) => {}
    }
    emit::end_of_head(out);
    date_at
}
