//! A property of two HTTP/2 connections of ours that talk to each other.

use crate::http::h2::{BudgetLimits, Rate, Role, StreamRef, field_lines};
use crate::http::h2::{Connection, ErrorCode, ErrorKind, Event, FieldLine, Limits, Message, NO_FIELDS, RequestLine};
use crate::http::{Field, FieldId};
use std::collections::BTreeMap;

/// What one side sends may be on its way, whole or in part, when anything else happens. Nothing is refused that our own side
/// sends, each message arrives as it was sent, nothing but a reset keeps its end back, windows open again as far as
/// everything is released, and nobody is left with a stream in the end.
///
/// The first byte chooses limits, the others what happens, one thing after the other.
pub fn http2_talk(data: &[u8]) {
    let Some((&seed, steps)) = data.split_first() else { return };
    let mut talk = Talk::new(seed);
    let mut steps = Steps(steps);
    while let Some(step) = steps.next() {
        talk.step(step, &mut steps);
    }
    talk.end();
}

struct Steps<'a>(&'a [u8]);

impl Steps<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// One of `count`, 0 when the data is over.
    fn below(&mut self, count: usize) -> usize {
        usize::from(self.next().unwrap_or(0)) % count.max(1)
    }
}

/// A field: the name; the one byte that its value is made of, and how many; whether it must never be indexed.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Line {
    name: String,
    value: (char, usize),
    never_indexed: bool,
}

/// A part of a message as it was sent or arrived.
#[derive(PartialEq, Eq, Debug)]
enum Part {
    /// Pseudo-header fields, then fields.
    Head(String, Vec<Line>),
    Body(Vec<u8>),
    Trailers(Vec<Line>),
    End,
}

/// One direction of a stream.
#[derive(Default)]
struct Way {
    sent: Vec<Part>,
    /// How many parts have arrived, and how much of a body after them.
    arrived: (usize, usize),
    /// Bytes of the body that a declared length leaves.
    left: Option<usize>,
    /// Bytes of the body that were sent.
    body_bytes: usize,
    interims: usize,
    final_head: bool,
}

impl Way {
    fn send(&mut self, part: Part) {
        match (self.sent.last_mut(), part) {
            (Some(Part::Body(body)), Part::Body(more)) => body.extend_from_slice(&more),
            (_, part) => self.sent.push(part),
        }
    }

    fn is_ended(&self) -> bool {
        self.sent.last() == Some(&Part::End)
    }

    /// What arrives is what was sent next.
    fn arrive(&mut self, part: &Part) {
        let (at, offset) = &mut self.arrived;
        match (part, self.sent.get(*at)) {
            (Part::Body(some), Some(Part::Body(all))) => {
                assert!(all[*offset..].starts_with(some), "{some:?} at {offset} of {all:?}");
                *offset += some.len();
            }
            (_, Some(Part::Body(all))) => {
                assert_eq!(*offset, all.len(), "{part:?} comes before the end of the body");
                assert_eq!(Some(part), self.sent.get(*at + 1));
                self.arrived = (*at + 2, 0);
            }
            (_, sent) => {
                assert_eq!(Some(part), sent);
                *at += 1;
            }
        }
    }

    /// Everything has arrived.
    fn is_over(&self) -> bool {
        self.is_ended() && self.arrived == (self.sent.len(), 0)
    }
}

/// A stream as both sides know it.
#[derive(Default)]
struct Stream {
    /// By side, as who sends.
    ways: [Way; 2],
    refs: [Option<StreamRef>; 2],
    /// One side reset or refused it, or has gone away.
    is_cut: bool,
}

struct Side {
    connection: Connection,
    message: Message,
    /// Sent and not yet under way to the other's input.
    out: Vec<u8>,
    input: Vec<u8>,
    held: Vec<(StreamRef, usize)>,
}

struct Talk {
    /// The client, the server.
    sides: [Side; 2],
    streams: BTreeMap<u32, Stream>,
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

const NAMES: [&str; 8] = ["accept", "x-a", "x-b", "authorization", "content-type", "set-cookie", "etag", "x-long-name"];
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "BREW"];
const PATHS: [&str; 4] = ["/", "/index.html", "/a?b=c", "/some/longer/path/that/is/indexed/or/not"];
const STATUSES: [u16; 4] = [200, 404, 418, 500];
/// Fewer than the bound on interim heads.
const INTERIMS_MAX: usize = 90;

/// The smaller of the tables that sides have.
const SMALL_TABLE_BYTES: u32 = 100;

fn limits(choice: u8) -> Limits {
    let free = Rate { burst: u32::MAX, per_sec: 0 };
    let pick = |bit: u8, small: u32, large: u32| if choice & bit > 0 { small } else { large };
    Limits {
        header_table_bytes: pick(1, SMALL_TABLE_BYTES, 4096),
        encoder_table_bytes_max: pick(2, 64, 4096),
        concurrent_streams_max: pick(4, 3, 100),
        stream_window_bytes: pick(8, 11, 70_000),
        connection_window_bytes: pick(1, 65_535, 1 << 20),
        header_list_bytes_max: u32::MAX / 8,
        pending_replies_max: u32::MAX,
        // What is a flood elsewhere is only a talk here.
        budgets: BudgetLimits {
            resets: free,
            stream_errors: free,
            settings: free,
            pings: free,
            empty_data: free,
            small_data: free,
            priorities: free,
            window_updates: free,
            ignored: free,
        },
        ..Limits::default()
    }
}

fn fields_of(text: &[u8], fields: &[Field]) -> Vec<Line> {
    let kept = field_lines(text, fields).filter(|field| field.id != FieldId::ContentLength);
    let lines = kept.map(|field| {
        let byte = field.value.first().copied().unwrap_or(b' ');
        assert!(field.value.iter().all(|other| *other == byte), "a value of several");
        let name = String::from_utf8_lossy(field.name).into_owned();
        Line { name, value: (char::from(byte), field.value.len()), never_indexed: field.never_indexed }
    });
    lines.collect()
}

/// Calls `send` with the fields, and with a length where one is declared.
fn with_lines<R>(fields: &[Line], length: Option<usize>, send: impl FnOnce(&[FieldLine<'_>]) -> R) -> R {
    let values: Vec<String> = fields.iter().map(|line| line.value.0.to_string().repeat(line.value.1)).collect();
    let length = length.map(|length| length.to_string());
    let lines = fields.iter().zip(&values).map(|(line, value)| {
        let field: FieldLine<'_> = (line.name.as_bytes(), value.as_bytes(), line.never_indexed);
        field
    });
    let length = length.iter().map(|length| (b"content-length".as_slice(), length.as_bytes(), false));
    send(&lines.chain(length).collect::<Vec<_>>())
}

/// Bytes of a body that are no other stream's, nor others of this one.
fn payload(stream: u32, from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| (at as u32).wrapping_mul(167).wrapping_add(stream * 29) as u8).collect()
}

impl Talk {
    fn new(seed: u8) -> Talk {
        let side = |role, choice| {
            let mut out = Vec::new();
            let connection = Connection::new(role, &limits(choice), &mut out);
            Side { connection, message: Message::default(), out, input: Vec::new(), held: Vec::new() }
        };
        Talk { sides: [side(Role::Client, seed), side(Role::Server, seed >> 4)], streams: BTreeMap::new() }
    }

    fn step(&mut self, step: u8, steps: &mut Steps<'_>) {
        let side = usize::from(step >> 7);
        match step % 16 {
            0 | 1 => self.open(steps),
            2 => self.respond(steps),
            3 | 4 => self.send_data(side, steps),
            5 => self.send_trailers(side, steps),
            6 => self.reset(side, steps),
            7 | 8 => {
                let bytes = steps.below(256) * if step & 0x40 > 0 { 256 } else { 1 };
                self.deliver(side, bytes);
            }
            9 => self.deliver(side, usize::MAX),
            10 | 11 => {
                let at = steps.below(self.sides[side].held.len());
                self.release(side, at, usize::MAX);
            }
            12 => {
                let at = steps.below(self.sides[side].held.len());
                self.release(side, at, 1 + steps.below(256));
            }
            13 => {
                let Side { connection, out, .. } = &mut self.sides[side];
                connection.ping([step; 8], out);
            }
            14 if step & 0x40 > 0 => self.go_away(step),
            14 => self.resize_table(side, steps.below(256) as u8),
            _ => self.settle(),
        }
    }

    /// Makes up fields: few names, few values, some as long as a frame.
    fn fields(steps: &mut Steps<'_>) -> Vec<Line> {
        let mut fields = Vec::new();
        for _ in 0..steps.below(4) {
            let choice = steps.below(NAMES.len() * 2);
            let (byte, size) = (b'!' + steps.below(94) as u8, steps.below(256));
            let size = if choice & 8 > 0 && size > 250 { size * 66 } else { size / 4 };
            let name = NAMES[choice % 8].to_owned();
            // Some names are never indexed, whoever sends them.
            let never_indexed = matches!(name.as_str(), "authorization" | "set-cookie") || size % 5 == 1;
            let byte = if size == 0 { ' ' } else { char::from(byte) };
            fields.push(Line { name, value: (byte, size), never_indexed });
        }
        fields
    }

    /// A declared length, now and then.
    fn length(steps: &mut Steps<'_>) -> Option<usize> {
        let choice = steps.below(256);
        (choice & 1 > 0).then_some(choice)
    }

    fn open(&mut self, steps: &mut Steps<'_>) {
        let (method, path) = (METHODS[steps.below(4)], PATHS[steps.below(4)]);
        let end_stream = steps.below(2) == 0;
        let fields = Talk::fields(steps);
        let left = Talk::length(steps).filter(|_| !end_stream);
        let line = RequestLine {
            method: method.as_bytes(),
            scheme: b"http",
            authority: b"a.example",
            path: path.as_bytes(),
            protocol: None,
        };
        let Side { connection, out, .. } = &mut self.sides[CLIENT];
        let sent = with_lines(&fields, left, |lines| connection.send_request(&line, lines.to_vec(), end_stream, out));
        let Ok(stream) = sent else { return };
        let mut way = Way { left, final_head: true, ..Way::default() };
        way.sent.push(Part::Head(format!("{method} a.example {path}"), fields));
        if end_stream {
            way.sent.push(Part::End);
        }
        let ways = [way, Way::default()];
        self.streams.insert(stream.id, Stream { ways, refs: [Some(stream), None], is_cut: false });
    }

    /// One of the streams that a side can send on.
    fn pick(&self, side: usize, steps: &mut Steps<'_>) -> Option<StreamRef> {
        let connection = &self.sides[side].connection;
        let can_send = |stream: &&Stream| {
            !stream.ways[side].is_ended() && stream.refs[side].is_some_and(|stream| connection.is_open(stream))
        };
        let count = self.streams.values().filter(can_send).count();
        self.streams.values().filter(can_send).nth(steps.below(count))?.refs[side]
    }

    fn respond(&mut self, steps: &mut Steps<'_>) {
        let Some(stream) = self.pick(SERVER, steps) else { return };
        let choice = steps.below(256);
        let fields = Talk::fields(steps);
        let (interim, end_stream) = (choice < 64, choice >= 192);
        let left = Talk::length(steps).filter(|_| !end_stream && !interim);
        let way = &mut self.streams.get_mut(&stream.id).expect("a stream").ways[SERVER];
        if interim && way.interims == INTERIMS_MAX {
            return;
        }
        let status = if interim { 103 } else { STATUSES[choice % 4] };
        let Side { connection, out, .. } = &mut self.sides[SERVER];
        let done = with_lines(&fields, left, |lines| {
            connection.send_response(stream, status, lines.to_vec(), end_stream, out)
        });
        assert_eq!(done.is_ok(), !way.final_head);
        if done.is_err() {
            return;
        }
        way.interims += usize::from(interim);
        way.final_head = !interim;
        way.left = left;
        way.sent.push(Part::Head(status.to_string(), fields));
        if end_stream {
            way.sent.push(Part::End);
        }
    }

    fn send_data(&mut self, side: usize, steps: &mut Steps<'_>) {
        let Some(stream) = self.pick(side, steps) else { return };
        let (choice, size) = (steps.below(256), steps.below(256));
        let wanted = if choice & 2 > 0 { size * 131 } else { size };
        self.send(side, stream, wanted, choice & 1 > 0);
    }

    /// Sends up to `wanted` bytes, in a frame; ends the stream only with as much as was declared.
    fn send(&mut self, side: usize, stream: StreamRef, wanted: usize, end: bool) {
        let way = &mut self.streams.get_mut(&stream.id).expect("a stream").ways[side];
        let wanted = way.left.map_or(wanted, |left| left.min(wanted));
        let end = end && way.left.is_none_or(|left| left == wanted);
        let Side { connection, out, .. } = &mut self.sides[side];
        let window = connection.send_capacity(stream);
        let Ok(granted) = connection.data_frame(stream, wanted, end, out) else {
            return assert!(!way.final_head, "DATA is refused behind a head");
        };
        assert!(granted.bytes <= window.min(wanted) && granted.ended == (end && granted.bytes == wanted));
        assert!(granted.bytes > 0 || window == 0 || wanted == 0, "no byte goes through an open window");
        let body = payload(stream.id, way.body_bytes, granted.bytes);
        out.extend_from_slice(&body);
        way.body_bytes += granted.bytes;
        way.left = way.left.map(|left| left - granted.bytes);
        if granted.bytes > 0 {
            way.send(Part::Body(body));
        }
        if granted.ended {
            way.sent.push(Part::End);
        }
    }

    fn send_trailers(&mut self, side: usize, steps: &mut Steps<'_>) {
        let Some(stream) = self.pick(side, steps) else { return };
        let mut fields = Talk::fields(steps);
        // What says how to handle a message isn't forwarded where it comes after it.
        fields.retain(|line| line.name.starts_with("x-"));
        let way = &mut self.streams.get_mut(&stream.id).expect("a stream").ways[side];
        if way.left.is_some_and(|left| left > 0) {
            return;
        }
        let Side { connection, out, .. } = &mut self.sides[side];
        let done = with_lines(&fields, None, |lines| connection.send_trailers(stream, lines.to_vec(), out));
        assert_eq!(done.is_ok(), way.final_head);
        if done.is_ok() {
            if !fields.is_empty() {
                way.sent.push(Part::Trailers(fields));
            }
            way.sent.push(Part::End);
        }
    }

    fn reset(&mut self, side: usize, steps: &mut Steps<'_>) {
        let Some(stream) = self.pick(side, steps) else { return };
        let Side { connection, out, .. } = &mut self.sides[side];
        connection.reset(stream, ErrorCode::Cancel, out);
        assert!(!connection.is_open(stream));
        self.streams.get_mut(&stream.id).expect("a stream").is_cut = true;
    }

    fn go_away(&mut self, step: u8) {
        let Side { connection, out, .. } = &mut self.sides[SERVER];
        match step & 0x20 {
            0 => connection.go_away_notice(out),
            _ => connection.go_away(ErrorCode::NoError, out),
        }
    }

    /// Has a side that is through with its first SETTINGS say that its table is smaller now, or as large as it was.
    fn resize_table(&mut self, side: usize, bytes: u8) {
        let Side { connection, out, .. } = &mut self.sides[side];
        if connection.is_acknowledged() {
            let bytes = u32::from(bytes).min(SMALL_TABLE_BYTES);
            out.extend_from_slice(b"\0\0\x06\x04\0\0\0\0\0\0\x01");
            out.extend_from_slice(&bytes.to_be_bytes());
        }
    }

    /// Brings up to `bytes` of what a side has sent to the other.
    fn deliver(&mut self, from: usize, bytes: usize) {
        let bytes = bytes.min(self.sides[from].out.len());
        let arriving: Vec<u8> = self.sides[from].out.drain(..bytes).collect();
        let to = 1 - from;
        let mut input = core::mem::take(&mut self.sides[to].input);
        input.extend_from_slice(&arriving);
        let mut at = 0;
        loop {
            let Side { connection, message, out, .. } = &mut self.sides[to];
            let there = &input[at..];
            let step = connection.receive(there, message, out).expect("nothing that our own side sends is an error");
            at += step.consumed;
            if step.event == Event::NeedMore {
                input.drain(..at);
                self.sides[to].input = input;
                return;
            }
            self.take(to, step.event, there);
        }
    }

    fn take(&mut self, to: usize, event: Event, read: &[u8]) {
        let Side { connection, message, held, .. } = &mut self.sides[to];
        let from = 1 - to;
        let (stream, part, ends) = match event {
            Event::Request { stream, end_stream } => {
                let (head, text) = (&message.request, &message.text);
                let path = String::from_utf8_lossy(head.path.of(text));
                let authority = String::from_utf8_lossy(head.authority.of(text));
                let line = format!("{} {authority} {path}", String::from_utf8_lossy(head.method_span.of(text)));
                self.streams.get_mut(&stream.id).expect("a stream").refs[to] = Some(stream);
                (stream, Part::Head(line, fields_of(text, &head.fields)), end_stream)
            }
            Event::Response { stream, end_stream } => {
                let (head, text) = (&message.response, &message.text);
                (stream, Part::Head(head.status.to_string(), fields_of(text, &head.fields)), end_stream)
            }
            Event::Interim { stream } => {
                let (head, text) = (&message.response, &message.text);
                (stream, Part::Head(head.status.to_string(), fields_of(text, &head.fields)), false)
            }
            Event::Data { stream, range, end_stream } => {
                held.push((stream, range.len()));
                (stream, Part::Body(read[range].to_vec()), end_stream)
            }
            Event::Trailers { stream } => (stream, Part::Trailers(fields_of(&message.text, &message.trailers)), true),
            Event::Reset { stream, .. } => return assert!(self.streams[&stream.id].is_cut, "a reset that nobody sent"),
            Event::StreamError { stream, kind } => {
                assert_eq!(kind, ErrorKind::TooManyStreams);
                // Only before a client has heard how many it may open.
                assert!(to == SERVER && !connection.is_acknowledged());
                self.streams.get_mut(&stream.id).expect("a stream").is_cut = true;
                return;
            }
            Event::GoAway { last_stream, .. } => {
                for (_, stream) in self.streams.range_mut(last_stream.saturating_add(1)..) {
                    stream.is_cut = true;
                }
                return;
            }
            Event::PingAck { payload } => return assert_eq!(payload, [payload[0]; 8]),
            Event::Window { .. } | Event::SettingsChanged => return,
            Event::NeedMore | Event::HeadTooLarge { .. } => panic!("{event:?}"),
        };
        let way = &mut self.streams.get_mut(&stream.id).expect("a stream").ways[from];
        if !matches!(&part, Part::Body(body) if body.is_empty()) {
            way.arrive(&part);
        }
        if ends {
            way.arrive(&Part::End);
        }
    }

    fn release(&mut self, side: usize, at: usize, bytes: usize) {
        let Side { connection, out, held, .. } = &mut self.sides[side];
        let Some((stream, left)) = held.get_mut(at) else { return };
        let bytes = bytes.min(*left);
        connection.release(*stream, bytes, out);
        *left -= bytes;
        if *left == 0 {
            held.swap_remove(at);
        }
    }

    /// Everything under way arrives; then each side knows what the other may send.
    fn settle(&mut self) {
        while self.sides.iter().any(|side| !side.out.is_empty()) {
            self.deliver(CLIENT, usize::MAX);
            self.deliver(SERVER, usize::MAX);
        }
        for sender in [CLIENT, SERVER] {
            let (sends, receives) = (&self.sides[sender].connection, &self.sides[1 - sender].connection);
            let held: usize = self.sides[1 - sender].held.iter().map(|held| held.1).sum();
            receives.accounts_for(sends, held);
        }
    }

    /// Says to its end whatever has begun.
    fn end(&mut self) {
        loop {
            self.settle();
            for side in [CLIENT, SERVER] {
                while !self.sides[side].held.is_empty() {
                    self.release(side, 0, usize::MAX);
                }
            }
            self.settle();
            let mut open = 0;
            for side in [CLIENT, SERVER] {
                let ids: Vec<u32> = self.streams.keys().copied().collect();
                for id in ids {
                    open += usize::from(self.finish(side, id));
                }
            }
            if open == 0 {
                break;
            }
        }
        self.settle();
        for (id, stream) in &self.streams {
            for way in &stream.ways {
                assert!(stream.is_cut || way.is_over(), "{id}: {:?} of {:?}", way.arrived, way.sent);
            }
        }
        assert_eq!(self.sides.each_ref().map(|side| side.connection.open_streams()), [0, 0]);
    }

    /// Sends what is left on a stream, as far as windows allow; false if there is nothing.
    fn finish(&mut self, side: usize, id: u32) -> bool {
        let stream = &self.streams[&id];
        let Some(stream_ref) = stream.refs[side].filter(|stream| self.sides[side].connection.is_open(*stream)) else {
            return false;
        };
        let way = &stream.ways[side];
        if way.is_ended() {
            return false;
        }
        if !way.final_head {
            let way = &mut self.streams.get_mut(&id).expect("a stream").ways[side];
            let Side { connection, out, .. } = &mut self.sides[side];
            connection.send_response(stream_ref, 204, NO_FIELDS, true, out).expect("a response");
            way.sent.extend([Part::Head("204".to_owned(), Vec::new()), Part::End]);
            return true;
        }
        let (left, before) = (way.left.unwrap_or(0), way.body_bytes);
        self.send(side, stream_ref, left, true);
        let way = &self.streams[&id].ways[side];
        let moved = way.body_bytes > before || way.is_ended();
        assert!(moved || self.sides[side].connection.send_capacity(stream_ref) == 0);
        // Everything is released, so a window is closed only because others have just used it up.
        assert!(moved || !self.sides[side].out.is_empty(), "stream {id} waits for a window that nobody opens");
        true
    }
}
