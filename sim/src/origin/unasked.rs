//! What an origin says on an HTTP/1.1 connection on which nobody has asked it anything.

use codecs::http::h1::emit;
use runtime::sim::Random;

use crate::pattern;
use crate::rules::UNASKED;

/// Whose byte pattern it carries: nobody's.
const NOBODY: u64 = u64::MAX / 3;

/// A response, whole or cut anywhere, an interim one, or bytes that are none.
pub(super) fn draw(random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    let kind = random.below(4);
    match kind {
        0 | 1 => {
            let body = random.size(3_000);
            emit::status_line(&mut out, UNASKED, b"Unasked");
            emit::content_length(&mut out, body);
            emit::end_of_head(&mut out);
            pattern::fill(&mut out, NOBODY, 0, body);
        }
        2 => {
            emit::status_line(&mut out, 103, b"Early Hints");
            emit::end_of_head(&mut out);
        }
        // As behind a response whose body shouldn't have been sent.
        _ => pattern::fill(&mut out, NOBODY, 0, random.size(500)),
    }
    if kind == 1 {
        out.truncate(random.size(out.len() as u64) as usize);
    }
    out
}
