//! Frames that an HTTP/2 peer may send at any time and that no exchange needs: the other side must take them without any
//! effect on what is under way.

use std::collections::VecDeque;

use runtime::sim::Random;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_HEADERS: u8 = 4;

const HEADER_TABLE_SIZE: u16 = 1;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// Of no meaning to anybody (RFC 8701 style).
const UNKNOWN_SETTING: u16 = 0x1a1a;

/// Frames of a kind that one connection sends at most: well within every budget.
const FRAMES_MAX: u32 = 40;
const SETTINGS_MAX: u32 = 5;
/// How long a change of settings lasts at most, ms: while a window is too small, nothing may open it.
const CHANGE_MS_MAX: u64 = 300;
/// Streams of the past that are remembered.
const GONE_MAX: usize = 20;

/// What an end grants by its SETTINGS, to come back to after a change.
pub(crate) struct Granted {
    pub(crate) header_table_bytes: u32,
    pub(crate) concurrent_streams_max: u32,
    pub(crate) stream_window_bytes: u32,
}

/// What one end has said and may say.
pub(crate) struct Chatter {
    granted: Granted,
    frames: u32,
    changes: u32,
    /// When what was granted at first is granted again, ms.
    restore_ms: u64,
    /// Streams on which the other end sends nothing any more, so that their windows mean nothing.
    gone: VecDeque<u32>,
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

fn settings(out: &mut Vec<u8>, values: &[(u16, u32)]) {
    let mut payload = Vec::new();
    for (name, value) in values {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(out, SETTINGS, 0, 0, &payload);
}

impl Chatter {
    pub(crate) fn new(granted: Granted) -> Chatter {
        Chatter { granted, frames: 0, changes: 0, restore_ms: u64::MAX, gone: VecDeque::new() }
    }

    /// The other end's half of the stream has ended.
    pub(crate) fn ended(&mut self, stream: u32) {
        if self.gone.len() == GONE_MAX {
            self.gone.pop_front();
        }
        self.gone.push_back(stream);
    }

    /// Says something; `sending`: streams whose bodies are under way from here.
    pub(crate) fn say(&mut self, sending: &[u32], now_ms: u64, random: &mut Random, out: &mut Vec<u8>) {
        if self.frames == FRAMES_MAX {
            return;
        }
        self.frames += 1;
        // Of any state: idle, open or closed.
        let any_stream = random.between(0, 20) as u32 * 2 + 1;
        match random.below(6) {
            0 => frame(out, PING, 0, 0, &random.next().to_be_bytes()),
            1 => self.change_settings(now_ms, random, out),
            2 => frame(out, PRIORITY, 0, any_stream, &[0, 0, 0, 0, random.below(256) as u8]),
            3 => {
                let payload = vec![0xaa; random.size(200) as usize - 1];
                let stream = random.pick(&[0, any_stream]);
                frame(out, random.between(0x20, 0xff) as u8, random.below(256) as u8, stream, &payload);
            }
            4 if !sending.is_empty() => frame(out, DATA, 0, random.pick(sending), b""),
            _ => {
                if let Some(stream) = self.gone.get(random.below(self.gone.len() as u64) as usize) {
                    frame(out, WINDOW_UPDATE, 0, *stream, &1u32.to_be_bytes());
                }
            }
        }
    }

    /// Grants less, for a while.
    fn change_settings(&mut self, now_ms: u64, random: &mut Random, out: &mut Vec<u8>) {
        if self.restore_ms < u64::MAX || self.changes == SETTINGS_MAX {
            return;
        }
        self.changes += 1;
        self.restore_ms = now_ms + random.size(CHANGE_MS_MAX);
        let Granted { header_table_bytes, concurrent_streams_max, stream_window_bytes } = self.granted;
        let less = |random: &mut Random, value: u32| random.below(u64::from(value) + 1) as u32;
        let all = [
            (HEADER_TABLE_SIZE, less(random, header_table_bytes)),
            (MAX_CONCURRENT_STREAMS, less(random, concurrent_streams_max)),
            (INITIAL_WINDOW_SIZE, less(random, stream_window_bytes)),
            (UNKNOWN_SETTING, random.next() as u32),
        ];
        let some: Vec<(u16, u32)> = all.into_iter().filter(|_| random.chance(500)).collect();
        settings(out, &some);
    }

    /// When there is something to be said in any case, ms.
    pub(crate) fn due_ms(&self) -> u64 {
        self.restore_ms
    }

    /// Grants again what was granted at first, if it is time.
    pub(crate) fn restore(&mut self, now_ms: u64, out: &mut Vec<u8>) {
        if now_ms < self.restore_ms {
            return;
        }
        self.restore_ms = u64::MAX;
        let Granted { header_table_bytes, concurrent_streams_max, stream_window_bytes } = self.granted;
        let all = [
            (HEADER_TABLE_SIZE, header_table_bytes),
            (MAX_CONCURRENT_STREAMS, concurrent_streams_max),
            (INITIAL_WINDOW_SIZE, stream_window_bytes),
        ];
        settings(out, &all);
    }
}

/// A response on a stream that the peer has reset before there was any: as if the two had crossed. It leaves no trace in the
/// table of header compression, of which the codec here knows nothing.
pub(crate) fn late_response(stream: u32, status: u16, random: &mut Random, out: &mut Vec<u8>) {
    // Index 8 of the static table is `:status`; a literal that isn't added, of three bytes.
    let mut block = vec![0x08, 3];
    block.extend_from_slice(status.to_string().as_bytes());
    frame(out, HEADERS, END_HEADERS, stream, &block);
    for _ in 0..random.below(3) {
        frame(out, DATA, 0, stream, &vec![0x55; random.size(300) as usize]);
    }
}
