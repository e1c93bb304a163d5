//! The connection: what both sides have agreed on, the streams, and the calls that don't depend on what arrives.

mod control;
mod data;
mod headers;
mod receive;
mod send;

pub use receive::{Event, Step};
pub use send::Granted;

use super::budget::{Budget, Budgets, WINDOW_UPDATES_PER_FRAME};
use super::error::{Error, ErrorCode, ErrorKind, OpenError};
use super::flow::{ReceiveWindow, SendWindow};
use super::frame::{self, MAX_31_BITS, PREFACE};
use super::head::Repeated;
use super::hpack::{Decoder, Encoder};
use super::settings::{self, PeerSettings, TABLE_BYTES_DEFAULT, WINDOW_BYTES_DEFAULT};
use super::streams::{Asked, Ended, Stream, StreamRef, Streams};
use super::{Limits, streams};

/// Which side of the connection this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Receives requests.
    Server,
    /// Sends them.
    Client,
}

/// How far the connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The client's preface is still to come.
    Preface,
    /// The peer's first SETTINGS are.
    Settings,
    Open,
    Failed(Error),
}

/// One HTTP/2 connection; see the [module](super) for its life cycle.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    phase: Phase,
    limits: Limits,
    peer: PeerSettings,
    /// The peer has acknowledged our SETTINGS.
    settings_acked: bool,
    decoder: Decoder,
    repeated: Repeated,
    encoder: Encoder,
    streams: Streams,
    send_window: SendWindow,
    receive_window: ReceiveWindow,
    /// We wanted to send more than the connection's window allowed.
    send_blocked: bool,
    /// The latest stream that the peer has opened.
    last_peer_stream: u32,
    /// The latest identifiers that the peer passed over, first and last.
    skipped: (u32, u32),
    /// The identifier that we use next.
    next_stream: u32,
    /// What is left of a DATA frame.
    incoming: data::Incoming,
    /// A header block that waits for CONTINUATION.
    block: headers::Pending,
    budgets: Budgets,
    pending_replies: u32,
    /// The last stream of the GOAWAY that we sent, when it was the final one.
    go_away_sent: Option<u32>,
    /// The last stream of the GOAWAY that we received.
    go_away_received: Option<u32>,
}

impl Connection {
    /// A connection with nothing received. Appends to `out` what this side sends first (RFC 9113 3.4): the preface if it is
    /// a client, SETTINGS, and what enlarges the connection's window.
    #[must_use]
    pub fn new(role: Role, limits: &Limits, out: &mut Vec<u8>) -> Connection {
        let limits = limits.within_protocol();
        if role == Role::Client {
            out.extend_from_slice(PREFACE);
        }
        settings::emit(out, &limits, role);
        if limits.connection_window_bytes > WINDOW_BYTES_DEFAULT {
            frame::window_update(out, 0, limits.connection_window_bytes - WINDOW_BYTES_DEFAULT);
        }
        Connection {
            role,
            phase: if role == Role::Server { Phase::Preface } else { Phase::Settings },
            peer: PeerSettings::default(),
            settings_acked: false,
            decoder: Decoder::new(TABLE_BYTES_DEFAULT, limits.header_table_bytes),
            repeated: Repeated::default(),
            encoder: Encoder::new(TABLE_BYTES_DEFAULT, limits.encoder_table_bytes_max),
            streams: Streams::default(),
            send_window: SendWindow::new(WINDOW_BYTES_DEFAULT),
            receive_window: ReceiveWindow::new(limits.connection_window_bytes, limits.connection_window_bytes),
            send_blocked: false,
            last_peer_stream: 0,
            skipped: (0, 0),
            next_stream: 1,
            incoming: data::Incoming::default(),
            block: headers::Pending::default(),
            budgets: Budgets::new(&limits.budgets),
            pending_replies: 0,
            go_away_sent: None,
            go_away_received: None,
            limits,
        }
    }

    /// What the peer has asked for; the defaults until its SETTINGS arrive.
    #[must_use]
    pub fn peer(&self) -> &PeerSettings {
        &self.peer
    }

    /// The peer's SETTINGS have arrived.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Streams that are open in at least one direction.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.open()
    }

    /// The latest stream that the peer has opened; 0 before the first.
    #[must_use]
    pub fn last_peer_stream(&self) -> u32 {
        self.last_peer_stream
    }

    /// No new streams: either side has sent GOAWAY, or the connection failed.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.go_away_sent.is_some() || self.go_away_received.is_some() || matches!(self.phase, Phase::Failed(_))
    }

    /// Whether a client can open a stream now.
    ///
    /// # Errors
    /// Why it can't.
    pub fn can_open(&self) -> Result<(), OpenError> {
        if self.is_draining() {
            Err(OpenError::Draining)
        } else if self.next_stream > MAX_31_BITS {
            Err(OpenError::Exhausted)
        } else if self.streams.open() >= self.peer.concurrent_streams_max as usize {
            Err(OpenError::TooManyStreams)
        } else {
            Ok(())
        }
    }

    /// To be called with the seconds that have passed, as often as suits, to refill the budgets against abuse.
    pub fn tick(&mut self, secs: u32) {
        self.budgets.tick(secs, &self.limits.budgets);
    }

    /// To be called whenever everything that was appended to `out` has been handed to the kernel: the peer reads, so the
    /// replies that it asks for pile up no further. See [`Limits::pending_replies_max`].
    pub fn output_sent(&mut self) {
        self.pending_replies = 0;
    }

    /// Appends a PING; [`Event::PingAck`] brings the payload back.
    pub fn ping(&mut self, payload: [u8; 8], out: &mut Vec<u8>) {
        frame::ping(out, payload, false);
    }

    /// First step of a graceful end (RFC 9113 6.8): appends a GOAWAY that names no last stream yet, so that requests that are
    /// under way are still served. Follow with [`Connection::go_away`] after at least a round trip.
    pub fn go_away_notice(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.phase, Phase::Failed(_)) && self.go_away_sent.is_none() {
            frame::go_away(out, MAX_31_BITS, ErrorCode::NoError, b"");
        }
    }

    /// Second step, or an end at once: appends a GOAWAY with the last stream that was or is being processed; later ones are
    /// ignored from now on. Close when [`Connection::open_streams`] is 0.
    pub fn go_away(&mut self, code: ErrorCode, out: &mut Vec<u8>) {
        if !matches!(self.phase, Phase::Failed(_)) {
            let last = *self.go_away_sent.get_or_insert(self.last_peer_stream);
            frame::go_away(out, last, code, b"");
        }
    }

    /// The stream of a header block that has begun and whose end hasn't come.
    #[must_use]
    #[inline]
    pub fn unfinished_block(&self) -> Option<u32> {
        self.block.stream()
    }

    /// The peer has acknowledged our SETTINGS (RFC 9113 6.5.3).
    #[must_use]
    #[inline]
    pub fn is_acknowledged(&self) -> bool {
        self.settings_acked
    }

    /// Ends the connection for something that takes a clock to know: appends a GOAWAY that says so. Send it and close.
    pub fn give_up(&mut self, kind: ErrorKind, out: &mut Vec<u8>) -> Error {
        match self.phase {
            Phase::Failed(error) => error,
            _ => self.fail(kind, out),
        }
    }

    /// Says that `bytes` of the DATA of a stream have been consumed: whoever got it in [`Event::Data`] must release all of it
    /// sooner or later, also after the stream has ended or was reset, or the connection's window stays smaller. Appends
    /// WINDOW_UPDATE whenever half a window has come together; of the connection's, half of what isn't held.
    pub fn release(&mut self, stream: StreamRef, bytes: usize, out: &mut Vec<u8>) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.release_connection(bytes, out);
        self.release_stream(stream, bytes, out);
    }

    fn release_connection(&mut self, bytes: u32, out: &mut Vec<u8>) {
        if let Some(increment) = self.receive_window.release_shared(bytes) {
            frame::window_update(out, 0, increment);
        }
    }

    fn release_stream(&mut self, stream: StreamRef, bytes: u32, out: &mut Vec<u8>) {
        // A peer that has ended the stream needs no window for it.
        if let Some(state) = self.streams.get_mut(stream).filter(|state| state.remote_open)
            && let Some(increment) = state.receive_window.release(bytes)
        {
            frame::window_update(out, stream.id, increment);
        }
    }

    /// Ends a stream at once in both directions, if it is still open: appends RST_STREAM. What the peer sends before it
    /// learns of it is ignored and released. On a connection that failed nothing is appended: GOAWAY was the last word, and
    /// peers may take what follows it for an error.
    pub fn reset(&mut self, stream: StreamRef, code: ErrorCode, out: &mut Vec<u8>) {
        if self.streams.get(stream).is_some() {
            if !matches!(self.phase, Phase::Failed(_)) {
                frame::rst_stream(out, stream.id, code);
            }
            self.streams.remove(stream, Ended::ResetByUs);
        }
    }

    /// Where a stream's state is kept, for whoever wants it brought near; nothing is read.
    #[must_use]
    pub fn place_of(&self, stream: StreamRef) -> Option<&impl Sized> {
        self.streams.place(stream)
    }

    /// Whether the stream is open in at least one direction.
    #[must_use]
    pub fn is_open(&self, stream: StreamRef) -> bool {
        self.streams.get(stream).is_some()
    }

    /// State for a stream that begins now.
    #[inline]
    fn new_stream(&self, id: u32, asked: Asked) -> Stream {
        // The peer may go by the default until it has seen our SETTINGS.
        let size = self.limits.stream_window_bytes;
        let available = if self.settings_acked { size } else { size.max(WINDOW_BYTES_DEFAULT) };
        Stream {
            id,
            send_window: SendWindow::new(self.peer.initial_window_bytes),
            receive_window: ReceiveWindow::new(available, size),
            expected: None,
            asked,
            remote_open: true,
            local_open: true,
            head_received: false,
            interims: 0,
            head_sent: false,
            blocked: false,
        }
    }

    /// Notes that the peer has ended the stream.
    fn close_remote(&mut self, stream: StreamRef) {
        if let Some(state) = self.streams.get_mut(stream) {
            state.remote_open = false;
            if !state.local_open {
                self.complete(stream);
            }
        }
    }

    /// Notes that we have ended the stream.
    fn close_local(&mut self, stream: StreamRef) {
        if let Some(state) = self.streams.get_mut(stream) {
            state.local_open = false;
            if !state.remote_open {
                self.complete(stream);
            }
        }
    }

    fn complete(&mut self, stream: StreamRef) {
        self.streams.remove(stream, Ended::InOrder);
        let limits = &self.limits.budgets;
        self.budgets.earn(Budget::Resets, 1, limits);
        self.budgets.earn(Budget::StreamErrors, 1, limits);
        // A server that answers before it has read a request sends RST_STREAM behind the answer (RFC 9113 8.1), which
        // finds the stream done.
        self.budgets.earn(Budget::Ignored, 1, limits);
        self.budgets.earn(Budget::WindowUpdates, WINDOW_UPDATES_PER_FRAME, limits);
        self.budgets.earn(Budget::SmallData, 1, limits);
    }

    /// With nothing under way, what the peer thinks that it may send is what this side thinks, and what this side has
    /// neither allowed anew nor hears of again is none; `held` bytes haven't been released.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn accounts_for(&self, peer: &Connection, held: usize) {
        self.receive_window.accounts_for(peer.send_window, Some(held));
        for stream in self.streams.iter().filter(|stream| stream.remote_open) {
            let sender = peer.streams.find(stream.id).and_then(|found| peer.streams.get(found));
            let sender = sender.expect("a stream that its peer hasn't ended");
            stream.receive_window.accounts_for(sender.send_window, None);
        }
    }

    /// Nobody has opened this stream yet.
    fn is_idle(&self, id: u32) -> bool {
        let opened_by_client = id % 2 == 1;
        match self.role {
            Role::Server => !opened_by_client || id > self.last_peer_stream,
            Role::Client => !opened_by_client || id >= self.next_stream,
        }
    }

    /// Counts a frame that is written because the peer asked for it.
    fn count_reply(&mut self) -> Result<(), ErrorKind> {
        self.pending_replies += 1;
        if self.pending_replies > self.limits.pending_replies_max { Err(ErrorKind::TooManyReplies) } else { Ok(()) }
    }

    /// Resets a stream for an error of the peer's.
    fn stream_error(&mut self, stream: StreamRef, kind: ErrorKind, out: &mut Vec<u8>) -> Result<Event, ErrorKind> {
        // A stream that is refused for its number does no work and can be part of a first burst before our SETTINGS.
        let budget = if kind == ErrorKind::TooManyStreams { Budget::Ignored } else { Budget::StreamErrors };
        self.budgets.spend(budget)?;
        self.count_reply()?;
        frame::rst_stream(out, stream.id, kind.code());
        match self.streams.get(stream) {
            Some(_) => self.streams.remove(stream, Ended::ResetByUs),
            None => self.streams.remember(stream.id, Ended::ResetByUs),
        }
        Ok(Event::StreamError { stream, kind })
    }

    /// Judges a frame on a stream that was closed before: one that crossed our reset is ignored.
    fn frame_on_closed(&mut self, id: u32, out: &mut Vec<u8>) -> Result<(), ErrorKind> {
        match self.streams.ended(id) {
            streams::Ended::ResetByUs => self.budgets.spend(Budget::Ignored),
            streams::Ended::ResetByPeer => {
                self.stream_error(StreamRef::without_slot(id), ErrorKind::StreamClosed, out).map(drop)
            }
            streams::Ended::InOrder if (self.skipped.0..=self.skipped.1).contains(&id) => {
                Err(ErrorKind::InvalidStreamId)
            }
            streams::Ended::InOrder => Err(ErrorKind::StreamClosed),
        }
    }

    /// The end of the connection.
    #[cold]
    fn fail(&mut self, kind: ErrorKind, out: &mut Vec<u8>) -> Error {
        let error = Error { kind };
        frame::go_away(out, self.last_peer_stream, kind.code(), kind.as_str().as_bytes());
        self.phase = Phase::Failed(error);
        error
    }
}
