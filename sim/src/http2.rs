//! One end of an HTTP/2 connection, for clients and origins: what arrives as owned pieces, bodies that go out as windows
//! allow, windows that open late.

use std::collections::BTreeMap;
use std::task::Poll;

use codecs::http::h2::{BudgetLimits, Connection, ErrorCode, ErrorKind, Event, Limits, Message, Rate, Role, StreamRef};
use codecs::http::{Field, RequestHead, ResponseHead};
use runtime::sim::Random;
use runtime::{Core, Received, Socket};

use crate::chatter::{self, Chatter};
use crate::rules::UNASKED;
use crate::stage::{Pace, Stage};

/// Bytes queued above which an end waits before it sends more bodies.
const QUEUED_BYTES_MAX: usize = 32 * 1024;
/// No budget runs out: these ends are to be rough.
const UNLIMITED: Rate = Rate { burst: u32::MAX, per_sec: u32::MAX };

/// What arrived.
pub(crate) enum Got {
    Request {
        stream: StreamRef,
        end: bool,
        head: RequestHead,
        text: Vec<u8>,
    },
    Response {
        stream: StreamRef,
        end: bool,
        head: ResponseHead,
        text: Vec<u8>,
    },
    Data {
        stream: StreamRef,
        bytes: Vec<u8>,
        end: bool,
    },
    /// Trailers: nothing follows.
    Trailers {
        stream: StreamRef,
        fields: Vec<Field>,
        text: Vec<u8>,
    },
    Reset {
        stream: StreamRef,
        code: ErrorCode,
    },
    GoAway {
        last_stream: u32,
    },
    /// A stream that was one too many.
    Refused,
    /// The peer broke the protocol.
    Broken(String),
    /// The connection has ended; `orderly`: not with a reset.
    Over {
        orderly: bool,
    },
}

/// What comes behind a piece of a body.
pub(crate) enum Then {
    More,
    End,
    Trailers(Vec<(&'static str, String)>),
}

struct Outgoing {
    stream: StreamRef,
    bytes: Vec<u8>,
    sent: usize,
    then: Then,
}

/// See the module.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) socket: Socket,
    pub(crate) out: Vec<u8>,
    input: Vec<u8>,
    message: Message,
    sending: BTreeMap<u32, Outgoing>,
    /// Windows that are still to be opened.
    owed: Vec<(StreamRef, usize)>,
    releasing: Pace,
    reading: Pace,
    writing: Pace,
    chatter: Chatter,
    over: bool,
}

fn limits(random: &mut Random) -> Limits {
    let windows = [200, 5_000, 65_535, 1 << 20];
    Limits {
        concurrent_streams_max: random.pick(&[1, 3, 100]),
        stream_window_bytes: random.pick(&windows),
        connection_window_bytes: random.pick(&[65_535, 200_000, 1 << 20]),
        pending_replies_max: u32::MAX,
        header_table_bytes: random.pick(&[0, 100, 4096]),
        budgets: BudgetLimits {
            resets: UNLIMITED,
            stream_errors: UNLIMITED,
            settings: UNLIMITED,
            pings: UNLIMITED,
            empty_data: UNLIMITED,
            small_data: UNLIMITED,
            priorities: UNLIMITED,
            window_updates: UNLIMITED,
            ignored: UNLIMITED,
        },
        ..Limits::default()
    }
}

impl Link {
    pub(crate) fn new(role: Role, socket: Socket, random: &mut Random) -> Link {
        let mut out = Vec::new();
        let limits = limits(random);
        let granted = chatter::Granted {
            header_table_bytes: limits.header_table_bytes,
            concurrent_streams_max: limits.concurrent_streams_max,
            stream_window_bytes: limits.stream_window_bytes,
        };
        let connection = Connection::new(role, &limits, &mut out);
        Link {
            connection,
            socket,
            out,
            input: Vec::new(),
            message: Message::default(),
            sending: BTreeMap::new(),
            owed: Vec::new(),
            releasing: Pace::default(),
            reading: Pace::default(),
            writing: Pace::default(),
            chatter: Chatter::new(granted),
            over: false,
        }
    }

    /// Sends a piece of a body, by and by, behind what is to be sent of it yet.
    pub(crate) fn send_body(&mut self, stream: StreamRef, bytes: Vec<u8>, then: Then) {
        let outgoing = Outgoing { stream, bytes: Vec::new(), sent: 0, then: Then::More };
        let outgoing = self.sending.entry(stream.id).or_insert(outgoing);
        outgoing.bytes.extend(bytes);
        outgoing.then = then;
    }

    /// Bytes of a body that are to be sent yet.
    pub(crate) fn is_sending(&self, stream: StreamRef) -> bool {
        self.sending.contains_key(&stream.id)
    }

    pub(crate) fn reset(&mut self, stream: StreamRef, code: ErrorCode) {
        self.sending.remove(&stream.id);
        self.connection.reset(stream, code, &mut self.out);
    }

    /// Answers a stream that the peer has reset, and on which nothing has been sent: as if the two had crossed.
    pub(crate) fn answer_late(&mut self, stream: StreamRef, random: &mut Random) {
        chatter::late_response(stream.id, UNASKED, random, &mut self.out);
    }

    /// What has arrived, one after the other; `None` when there is no more now.
    pub(crate) fn next(&mut self, stage: &mut Stage) -> Option<Got> {
        loop {
            if self.over {
                return None;
            }
            match self.connection.receive(&self.input, &mut self.message, &mut self.out) {
                Err(error) => {
                    self.over = true;
                    return Some(Got::Broken(error.to_string()));
                }
                Ok(step) => {
                    let got = self.take(step.event);
                    self.input.drain(..step.consumed);
                    match got {
                        Some(Some(got)) => return Some(got),
                        Some(None) => continue,
                        None => {}
                    }
                }
            }
            if !self.reading.may(&stage.core) {
                return None;
            }
            match self.socket.poll_recv() {
                Poll::Pending => return None,
                Poll::Ready(Received::Data(slice)) => self.input.extend_from_slice(&slice),
                Poll::Ready(Received::End) => {
                    self.over = true;
                    return Some(Got::Over { orderly: true });
                }
                Poll::Ready(Received::Failed(_)) => {
                    self.over = true;
                    return Some(Got::Over { orderly: false });
                }
            }
            self.reading.step(stage);
        }
    }

    /// `None`: more input is needed; `Some(None)`: nothing that anybody wants to know.
    fn take(&mut self, event: Event) -> Option<Option<Got>> {
        let message = &mut self.message;
        let got = match event {
            Event::NeedMore => return None,
            Event::Request { stream, end_stream } => {
                let (head, text) = (message.request.clone(), message.text.clone());
                Got::Request { stream, end: end_stream, head, text }
            }
            Event::Response { stream, end_stream } => {
                let (head, text) = (message.response.clone(), message.text.clone());
                Got::Response { stream, end: end_stream, head, text }
            }
            Event::Data { stream, range, end_stream } => {
                self.owed.push((stream, range.len()));
                if end_stream {
                    self.chatter.ended(stream.id);
                }
                Got::Data { stream, bytes: self.input[range].to_vec(), end: end_stream }
            }
            Event::Trailers { stream } => {
                self.chatter.ended(stream.id);
                Got::Trailers { stream, fields: message.trailers.clone(), text: message.text.clone() }
            }
            Event::Reset { stream, code } => {
                self.sending.remove(&stream.id);
                self.chatter.ended(stream.id);
                Got::Reset { stream, code }
            }
            Event::GoAway { last_stream, .. } => Got::GoAway { last_stream },
            // Until our SETTINGS arrive the peer may open as many streams as it likes; they are refused, and no harm done.
            Event::StreamError { kind: ErrorKind::TooManyStreams, .. } => Got::Refused,
            Event::StreamError { kind, .. } | Event::HeadTooLarge { kind, .. } => Got::Broken(kind.as_str().into()),
            Event::Interim { .. } | Event::Window { .. } | Event::SettingsChanged | Event::PingAck { .. } => {
                return Some(None);
            }
        };
        Some(Some(got))
    }

    /// Sends what can be sent, and opens windows. To be called whenever something has happened; returns when to call it
    /// again, ms.
    pub(crate) fn pump(&mut self, stage: &mut Stage) -> u64 {
        if self.releasing.may(&stage.core) {
            for (stream, bytes) in std::mem::take(&mut self.owed) {
                self.connection.release(stream, bytes, &mut self.out);
            }
            self.releasing.step(stage);
        }
        self.chat(stage);
        loop {
            let more = self.writing.may(&stage.core) && self.send_bodies(stage);
            if !self.out.is_empty() {
                self.socket.send(&self.out);
                self.out.clear();
            }
            // Woken when there is room.
            if !more || self.socket.poll_drained(QUEUED_BYTES_MAX / 2).is_pending() || self.socket.error().is_some() {
                break;
            }
        }
        self.due_ms(&stage.core)
    }

    fn chat(&mut self, stage: &mut Stage) {
        let now_ms = stage.core.now_ms();
        self.chatter.restore(now_ms, &mut self.out);
        // The first acknowledgement is that of the first SETTINGS.
        if self.connection.is_acknowledged() && stage.random.chance(stage.profile.chatter) {
            let sending: Vec<u32> = self.sending.keys().copied().collect();
            self.chatter.say(&sending, now_ms, &mut stage.random, &mut self.out);
        }
    }

    /// Appends DATA to what goes out; true: there is more that windows allow.
    fn send_bodies(&mut self, stage: &mut Stage) -> bool {
        let mut ids: Vec<u32> = self.sending.keys().copied().collect();
        let mut queued = self.socket.unsent_bytes();
        while !ids.is_empty() && queued + self.out.len() < QUEUED_BYTES_MAX {
            let at = stage.random.below(ids.len() as u64) as usize;
            let id = ids[at];
            let Some(outgoing) = self.sending.get_mut(&id) else { return false };
            let left = outgoing.bytes.len() - outgoing.sent;
            let wanted =
                if stage.random.chance(300) && left > 0 { stage.random.size(left as u64) as usize } else { left };
            let ends = wanted == left && matches!(outgoing.then, Then::End);
            let granted = self.connection.data_frame(outgoing.stream, wanted, ends, &mut self.out);
            let Ok(granted) = granted else {
                // The stream is gone; its event has come or will.
                self.sending.remove(&id);
                ids.swap_remove(at);
                continue;
            };
            self.out.extend_from_slice(&outgoing.bytes[outgoing.sent..][..granted.bytes]);
            outgoing.sent += granted.bytes;
            let done = granted.ended || outgoing.sent == outgoing.bytes.len();
            if done && let Some(Outgoing { stream, then: Then::Trailers(fields), .. }) = self.sending.remove(&id) {
                let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes(), false));
                let _ = self.connection.send_trailers(stream, fields, &mut self.out);
            }
            if done || granted.bytes == 0 {
                ids.swap_remove(at);
            }
            queued = self.socket.unsent_bytes();
            self.writing.step(stage);
            if !self.writing.may(&stage.core) {
                return false;
            }
        }
        !ids.is_empty()
    }

    fn due_ms(&self, core: &Core) -> u64 {
        let writing = if self.sending.is_empty() { u64::MAX } else { self.writing.due_ms(core) };
        let releasing = if self.owed.is_empty() { u64::MAX } else { self.releasing.due_ms(core) };
        self.reading.due_ms(core).min(writing).min(releasing).min(self.chatter.due_ms())
    }

    /// Says goodbye.
    pub(crate) fn go_away(&mut self) {
        self.connection.go_away(ErrorCode::NoError, &mut self.out);
    }
}
