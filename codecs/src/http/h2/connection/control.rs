//! Frames about the connection and about streams: SETTINGS, PING, GOAWAY, WINDOW_UPDATE, RST_STREAM, PRIORITY.

use super::receive::Event;
use super::{Connection, Ended, Phase, StreamRef};
use crate::http::h2::budget::Budget;
use crate::http::h2::error::{ErrorCode, ErrorKind};
use crate::http::h2::frame::{self, FrameHeader, MAX_31_BITS, flags, number};
use crate::http::h2::settings::WINDOW_BYTES_DEFAULT;

impl Connection {
    /// SETTINGS (RFC 9113 6.5): taken over and acknowledged at once.
    pub(super) fn settings_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, ErrorKind> {
        self.budgets.spend(Budget::Settings)?;
        if header.has(flags::ACK) {
            if !payload.is_empty() {
                return Err(ErrorKind::InvalidFrameSize);
            }
            self.settings_acknowledged();
            return Ok(None);
        }
        let before = self.peer.initial_window_bytes;
        let encoder = &mut self.encoder;
        self.peer.apply(payload, self.role, |size| encoder.resize(size))?;
        let change = i64::from(self.peer.initial_window_bytes) - i64::from(before);
        if change != 0 {
            for stream in self.streams.iter_mut() {
                if !stream.send_window.adjust(change) {
                    return Err(ErrorKind::WindowOverflow);
                }
                stream.blocked = false;
            }
        }
        self.count_reply()?;
        frame::settings_ack(out);
        self.phase = Phase::Open;
        Ok(Some(Event::SettingsChanged))
    }

    /// The first acknowledgement is of the only SETTINGS that we send.
    fn settings_acknowledged(&mut self) {
        if core::mem::replace(&mut self.settings_acked, true) {
            return;
        }
        self.decoder.acknowledged(self.limits.header_table_bytes);
        let size = self.limits.stream_window_bytes;
        if size < WINDOW_BYTES_DEFAULT {
            for stream in self.streams.iter_mut() {
                stream.receive_window.adjust(i64::from(size) - i64::from(WINDOW_BYTES_DEFAULT));
            }
        }
    }

    /// PING (RFC 9113 6.7).
    pub(super) fn ping_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, ErrorKind> {
        let Ok(payload) = <[u8; 8]>::try_from(payload) else { return Err(ErrorKind::InvalidFrameSize) };
        self.budgets.spend(Budget::Pings)?;
        if header.has(flags::ACK) {
            return Ok(Some(Event::PingAck { payload }));
        }
        self.count_reply()?;
        frame::ping(out, payload, true);
        Ok(None)
    }

    /// GOAWAY (RFC 9113 6.8). `at` is where the payload lies in the input.
    pub(super) fn go_away_frame(
        &mut self,
        _header: FrameHeader,
        payload: &[u8],
        at: usize,
    ) -> Result<Option<Event>, ErrorKind> {
        if payload.len() < 8 {
            return Err(ErrorKind::InvalidFrameSize);
        }
        self.budgets.spend(Budget::Ignored)?;
        let last_stream = number(payload, 0) & MAX_31_BITS;
        if self.go_away_received.is_some_and(|before| last_stream > before) {
            return Err(ErrorKind::GoAwayIncreased);
        }
        self.go_away_received = Some(last_stream);
        if !self.is_server() {
            self.streams.remove_above(last_stream);
        }
        let code = ErrorCode::of(number(payload, 4));
        Ok(Some(Event::GoAway { last_stream, code, debug: at + 8..at + payload.len() }))
    }

    /// WINDOW_UPDATE (RFC 9113 6.9).
    pub(super) fn window_update_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, ErrorKind> {
        if payload.len() != 4 {
            return Err(ErrorKind::InvalidFrameSize);
        }
        self.budgets.spend(Budget::WindowUpdates)?;
        let increment = number(payload, 0) & MAX_31_BITS;
        if header.stream == 0 {
            if increment == 0 {
                return Err(ErrorKind::ZeroWindowUpdate);
            }
            if !self.send_window.adjust(i64::from(increment)) {
                return Err(ErrorKind::WindowOverflow);
            }
            let was_blocked = core::mem::take(&mut self.send_blocked);
            return Ok(was_blocked.then_some(Event::Window { stream: None }));
        }
        if self.is_idle(header.stream) {
            return Err(ErrorKind::IdleStream);
        }
        // On a closed stream it crossed the end of ours, or comes for DATA that was consumed late.
        let Some(stream) = self.streams.find(header.stream) else { return Ok(None) };
        let Some(state) = self.streams.get_mut(stream) else { return Ok(None) };
        if increment == 0 {
            return self.stream_error(stream, ErrorKind::ZeroWindowUpdate, out).map(Some);
        }
        if !state.send_window.adjust(i64::from(increment)) {
            return self.stream_error(stream, ErrorKind::WindowOverflow, out).map(Some);
        }
        if !state.blocked || state.send_window.available() == 0 {
            return Ok(None);
        }
        state.blocked = false;
        Ok(Some(Event::Window { stream: Some(stream) }))
    }

    /// RST_STREAM (RFC 9113 6.4).
    pub(super) fn rst_stream_frame(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Event>, ErrorKind> {
        if payload.len() != 4 {
            return Err(ErrorKind::InvalidFrameSize);
        }
        if self.is_idle(header.stream) {
            return Err(ErrorKind::IdleStream);
        }
        let Some(stream) = self.streams.find(header.stream) else {
            return self.budgets.spend(Budget::Ignored).map(|()| None);
        };
        // A client that opens and resets makes work at no cost of its own; a server that resets only refuses work.
        if self.is_server() {
            self.budgets.spend(Budget::Resets)?;
        }
        self.streams.remove(stream, Ended::ResetByPeer);
        Ok(Some(Event::Reset { stream, code: ErrorCode::of(number(payload, 0)) }))
    }

    /// PRIORITY (RFC 9113 6.3): checked and ignored.
    pub(super) fn priority_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, ErrorKind> {
        self.budgets.spend(Budget::Priorities)?;
        let kind = if payload.len() != 5 {
            ErrorKind::InvalidFrameSize
        } else if number(payload, 0) & MAX_31_BITS == header.stream {
            ErrorKind::SelfDependency
        } else {
            return Ok(None);
        };
        match self.streams.find(header.stream) {
            Some(stream) => self.stream_error(stream, kind, out).map(Some),
            // An idle stream can't be reset (RFC 9113 6.4), so it is the connection's error.
            None if self.is_idle(header.stream) => Err(kind),
            None => self.stream_error(StreamRef::without_slot(header.stream), kind, out).map(Some),
        }
    }
}
