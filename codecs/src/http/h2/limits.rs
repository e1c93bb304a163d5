//! What a connection grants its peer, in one place.

use super::budget::BudgetLimits;
use super::frame::MAX_31_BITS;
use super::settings::{FRAME_BYTES_DEFAULT, FRAME_BYTES_MAX, TABLE_BYTES_DEFAULT, WINDOW_BYTES_DEFAULT};

/// Bounds on what a peer may do. All are inclusive; values that the protocol doesn't allow are moved to the nearest that it
/// does when a connection is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// SETTINGS_HEADER_TABLE_SIZE: the table that we keep for the peer's encoder.
    pub header_table_bytes: u32,
    /// The most that our encoder uses of the table that the peer offers.
    pub encoder_table_bytes_max: u32,
    /// SETTINGS_MAX_CONCURRENT_STREAMS: streams that a client may have open.
    pub concurrent_streams_max: u32,
    /// SETTINGS_INITIAL_WINDOW_SIZE: DATA of a stream that is received and not yet released.
    pub stream_window_bytes: u32,
    /// The same for all streams of a connection together; at least 65,535, which can't be taken back. Below
    /// `concurrent_streams_max` times `stream_window_bytes`, streams whose data nobody takes can stop the others.
    pub connection_window_bytes: u32,
    /// SETTINGS_MAX_FRAME_SIZE. Frames other than DATA have to be there as a whole before they are read.
    pub frame_bytes_max: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE: names and values of a head, and 32 bytes for each, counted after decoding and before
    /// cookies are joined. A head beyond it is reported as too large; one beyond four times of it ends the connection.
    pub header_list_bytes_max: u32,
    /// Fields of a head, and fields of its trailers, after cookies are joined.
    pub fields_max: u32,
    /// `:path`.
    pub path_bytes_max: u32,
    /// A header block before it is decoded, over all its frames.
    pub header_block_bytes_max: u32,
    /// CONTINUATION frames of one header block.
    pub continuation_frames_max: u32,
    /// Frames written in reply to the peer's since [`Connection::output_sent`](super::Connection::output_sent).
    pub pending_replies_max: u32,
    /// Offer extended CONNECT (RFC 8441) to clients.
    pub connect_protocol: bool,
    pub budgets: BudgetLimits,
}

/// A head that decodes to so many times the limit isn't decoded to its end.
pub(super) const HEADER_LIST_FATAL_FACTOR: usize = 4;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            header_table_bytes: TABLE_BYTES_DEFAULT,
            encoder_table_bytes_max: TABLE_BYTES_DEFAULT,
            concurrent_streams_max: 128,
            stream_window_bytes: 256 * 1024,
            connection_window_bytes: 128 * 256 * 1024,
            frame_bytes_max: FRAME_BYTES_DEFAULT,
            header_list_bytes_max: 60 * 1024,
            fields_max: 100,
            path_bytes_max: 8 * 1024,
            header_block_bytes_max: 128 * 1024,
            continuation_frames_max: 32,
            pending_replies_max: 1000,
            connect_protocol: true,
            budgets: BudgetLimits::default(),
        }
    }
}

impl Limits {
    /// Within what the protocol allows.
    pub(super) fn within_protocol(mut self) -> Limits {
        self.stream_window_bytes = self.stream_window_bytes.min(MAX_31_BITS);
        self.connection_window_bytes = self.connection_window_bytes.clamp(WINDOW_BYTES_DEFAULT, MAX_31_BITS);
        self.frame_bytes_max = self.frame_bytes_max.clamp(FRAME_BYTES_DEFAULT, FRAME_BYTES_MAX);
        self
    }
}
