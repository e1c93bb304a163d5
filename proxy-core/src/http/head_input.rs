//! The bytes of a head: in the slice that they arrived in, or gathered from several.

use runtime::Slice;

use crate::transport::Transport;

#[derive(Default)]
pub(crate) struct HeadInput {
    slice: Option<Slice>,
    /// Used as soon as a head doesn't arrive in one piece.
    gathered: Vec<u8>,
    gathering: bool,
}

/// A gathering buffer larger than this isn't kept for the next request.
const KEPT_BYTES_MAX: usize = 16 * 1024;

impl HeadInput {
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.gathering { &self.gathered } else { self.slice.as_deref().unwrap_or_default() }
    }

    pub(crate) fn add(&mut self, slice: Slice) {
        if self.gathering {
            self.gathered.extend_from_slice(&slice);
        }
        self.slice = Some(slice);
    }

    /// More is needed: copies what is there, so that waiting holds no receive buffer.
    pub(crate) fn settle(&mut self) {
        if let (Some(slice), false) = (&self.slice, self.gathering) {
            self.gathered.clear();
            self.gathered.extend_from_slice(slice);
            self.gathering = true;
        }
        self.slice = None;
    }

    /// The head takes `consumed` bytes; what follows goes back to the socket.
    pub(crate) fn finish(&mut self, consumed: usize, socket: &Transport) {
        let rest = self.bytes().len() - consumed;
        let Some(slice) = &mut self.slice else { return };
        if rest > 0 {
            socket.unrecv(slice.slice(slice.len() - rest..slice.len()));
        }
        if self.gathering {
            self.gathered.truncate(consumed);
            self.slice = None;
        } else {
            slice.truncate(consumed);
        }
    }

    /// Puts more behind the head, once it is whole; says where it begins.
    pub(crate) fn append(&mut self, parts: &[&[u8]]) -> usize {
        self.settle();
        let start = self.gathered.len();
        for part in parts {
            self.gathered.extend_from_slice(part);
        }
        start
    }

    /// Takes over the text of a head that was decoded elsewhere, in exchange for the memory of this one.
    pub(crate) fn exchange(&mut self, text: &mut Vec<u8>) {
        self.slice = None;
        self.gathering = true;
        std::mem::swap(&mut self.gathered, text);
    }

    pub(crate) fn clear(&mut self) {
        self.slice = None;
        self.gathering = false;
        if self.gathered.capacity() > KEPT_BYTES_MAX {
            self.gathered = Vec::new();
        }
        self.gathered.clear();
    }
}
