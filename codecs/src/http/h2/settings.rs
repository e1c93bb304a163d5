//! SETTINGS (RFC 9113 section 6.5, RFC 8441 section 3).

use super::Limits;
use super::connection::Role;
use super::error::ErrorKind;
use super::frame::{self, Kind, MAX_31_BITS, number};

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;

/// Size of one setting on the wire.
const SETTING_BYTES: usize = 6;
/// Initial window of streams and of the connection until something else is said.
pub(crate) const WINDOW_BYTES_DEFAULT: u32 = 65_535;
/// Largest frame until something else is said, and the least that may be said.
pub(crate) const FRAME_BYTES_DEFAULT: u32 = 16_384;
/// The most that SETTINGS_MAX_FRAME_SIZE can be.
pub(crate) const FRAME_BYTES_MAX: u32 = (1 << 24) - 1;
/// Size of the dynamic tables until something else is said.
pub(crate) const TABLE_BYTES_DEFAULT: u32 = 4096;

/// What the peer has asked for. The defaults hold until its first SETTINGS arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerSettings {
    /// Bytes of the dynamic table that it keeps for us.
    pub header_table_bytes: u32,
    /// Streams that we may have open; no limit until it sets one.
    pub concurrent_streams_max: u32,
    /// Window of new streams, for what we send.
    pub initial_window_bytes: u32,
    /// Payload of the largest frame that it takes.
    pub frame_bytes_max: u32,
    /// Size of a head, decoded, that it takes; advice, no rule.
    pub header_list_bytes_max: u32,
    /// It takes extended CONNECT (RFC 8441).
    pub connect_protocol: bool,
}

impl Default for PeerSettings {
    fn default() -> PeerSettings {
        PeerSettings {
            header_table_bytes: TABLE_BYTES_DEFAULT,
            concurrent_streams_max: u32::MAX,
            initial_window_bytes: WINDOW_BYTES_DEFAULT,
            frame_bytes_max: FRAME_BYTES_DEFAULT,
            header_list_bytes_max: u32::MAX,
            connect_protocol: false,
        }
    }
}

impl PeerSettings {
    /// Takes over the payload of a SETTINGS frame, in order. Unknown settings are ignored (section 6.5.2). `role` is ours.
    /// `table` hears of each table size in turn, as the lowest one matters besides the last (RFC 7541 4.2).
    pub(super) fn apply(&mut self, payload: &[u8], role: Role, mut table: impl FnMut(u32)) -> Result<(), ErrorKind> {
        if !payload.len().is_multiple_of(SETTING_BYTES) {
            return Err(ErrorKind::InvalidFrameSize);
        }
        for setting in payload.chunks_exact(SETTING_BYTES) {
            let (id, value) = ((number(setting, 0) >> 16) as u16, number(setting, 2));
            match id {
                HEADER_TABLE_SIZE => {
                    self.header_table_bytes = value;
                    table(value);
                }
                // Push is for clients to allow: a server that says so is confused (section 6.5.2).
                ENABLE_PUSH if value > 1 || (value == 1 && role == Role::Client) => {
                    return Err(ErrorKind::InvalidSetting);
                }
                MAX_CONCURRENT_STREAMS => self.concurrent_streams_max = value,
                INITIAL_WINDOW_SIZE if value > MAX_31_BITS => return Err(ErrorKind::InvalidInitialWindow),
                INITIAL_WINDOW_SIZE => self.initial_window_bytes = value,
                MAX_FRAME_SIZE => match value {
                    FRAME_BYTES_DEFAULT..=FRAME_BYTES_MAX => self.frame_bytes_max = value,
                    _ => return Err(ErrorKind::InvalidSetting),
                },
                MAX_HEADER_LIST_SIZE => self.header_list_bytes_max = value,
                // Once offered it can't be withdrawn (RFC 8441 section 3).
                ENABLE_CONNECT_PROTOCOL if value > 1 || (value == 0 && self.connect_protocol) => {
                    return Err(ErrorKind::InvalidSetting);
                }
                ENABLE_CONNECT_PROTOCOL => self.connect_protocol = value == 1,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Our SETTINGS: those of `limits` that differ from the defaults.
pub(super) fn emit(out: &mut Vec<u8>, limits: &Limits, role: Role) {
    let settings = [
        (HEADER_TABLE_SIZE, limits.header_table_bytes, TABLE_BYTES_DEFAULT),
        (ENABLE_PUSH, 0, u32::from(role == Role::Server) ^ 1),
        (MAX_CONCURRENT_STREAMS, limits.concurrent_streams_max, u32::MAX),
        (INITIAL_WINDOW_SIZE, limits.stream_window_bytes, WINDOW_BYTES_DEFAULT),
        (MAX_FRAME_SIZE, limits.frame_bytes_max, FRAME_BYTES_DEFAULT),
        (MAX_HEADER_LIST_SIZE, limits.header_list_bytes_max, u32::MAX),
        (ENABLE_CONNECT_PROTOCOL, u32::from(limits.connect_protocol && role == Role::Server), 0),
    ];
    // A server opens the streams that a client limits, and with push disabled there are none.
    let said = |&(id, value, default): &(u16, u32, u32)| {
        value != default && !(id == MAX_CONCURRENT_STREAMS && role == Role::Client)
    };
    let count = settings.iter().filter(|setting| said(setting)).count();
    frame::header(out, count * SETTING_BYTES, Kind::Settings, 0, 0);
    for (id, value, _) in settings.iter().filter(|setting| said(setting)) {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}
