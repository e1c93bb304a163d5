//! Blocks that come again and again on a connection: calls of one method, a page that is asked for anew.
//!
//! A block that doesn't change the dynamic table means what it meant the last time, as long as nothing else has changed the
//! table. When one comes the second time what it was decoded to is kept, and from then on copied: a sixth of the work.

use super::Message;
use crate::http::RequestHead;
use crate::http::h2::hpack::Decoder;

/// Longer blocks aren't compared with the one before.
const BLOCK_BYTES_MAX: usize = 256;
/// More text than this isn't kept for a connection.
const TEXT_BYTES_MAX: usize = 2048;

/// The request's block that a connection had last.
#[derive(Debug, Default)]
pub(in crate::http::h2) struct Repeated {
    block: Vec<u8>,
    end_stream: bool,
    /// Changes of the decoder until then.
    changes: u64,
    /// What it was decoded to, if it has come twice.
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    text: Vec<u8>,
    head: RequestHead,
    expected: Option<u64>,
}

impl Repeated {
    /// The head of a block that is known, in `message`; then the bytes of DATA that follow, where the head says so.
    #[inline]
    pub(super) fn recall(
        &self,
        block: &[u8],
        end_stream: bool,
        decoder: &Decoder,
        message: &mut Message,
    ) -> Option<Option<u64>> {
        let known = self.known.as_ref().filter(|_| self.is_same(block, end_stream, decoder.changes()))?;
        message.text.clear();
        message.text.extend_from_slice(&known.text);
        let mut fields = core::mem::take(&mut message.request.fields);
        fields.clear();
        fields.extend_from_slice(&known.head.fields);
        message.request = RequestHead { fields, ..known.head.without_fields() };
        Some(known.expected)
    }

    /// A block was decoded to a good head; `changes` is the decoder's figure before that.
    pub(super) fn note(
        &mut self,
        block: &[u8],
        end_stream: bool,
        (changes, decoder): (u64, &Decoder),
        message: &Message,
        expected: Option<u64>,
    ) {
        if changes != decoder.changes() || block.len() > BLOCK_BYTES_MAX || message.text.len() > TEXT_BYTES_MAX {
            return;
        }
        if self.known.is_none() && self.is_same(block, end_stream, changes) {
            self.known = Some(Known { text: message.text.clone(), head: message.request.clone(), expected });
            return;
        }
        self.known = None;
        self.block.clear();
        self.block.extend_from_slice(block);
        (self.end_stream, self.changes) = (end_stream, changes);
    }

    fn is_same(&self, block: &[u8], end_stream: bool, changes: u64) -> bool {
        self.changes == changes && self.end_stream == end_stream && self.block == block
    }
}
