//! Calls of gRPC: what goes up and what comes down, to the byte.

use runtime::sim::Random;

use crate::pattern;

/// Messages that go one way in a call, at most.
const MESSAGES_MAX: u64 = 6;
/// Longest deadline, ms.
const TIMEOUT_MS_MAX: u64 = 3_000;

pub(crate) const CONTENT_TYPE: &str = "application/grpc+sim";
pub(crate) const STATUS: &str = "grpc-status";
pub(crate) const TIMEOUT: &str = "grpc-timeout";

pub(crate) const DEADLINE_EXCEEDED: u32 = 4;
pub(crate) const UNAVAILABLE: u32 = 14;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    /// Messages of the client and of the server.
    pub(crate) up: u64,
    pub(crate) down: u64,
    /// Of the longest message.
    pub(crate) bytes: u64,
    /// The server answers each message as it comes, and the client waits for that before it sends the next.
    pub(crate) in_turns: bool,
    /// Nothing but trailers come down.
    pub(crate) bare: bool,
    pub(crate) status: u32,
    /// 0: the client sets none.
    pub(crate) timeout_ms: u64,
}

/// One direction's bytes, and where each message ends in them.
pub(crate) struct Wire {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<usize>,
}

impl Call {
    pub(crate) fn draw(bytes_max: u64, random: &mut Random) -> Call {
        let many = |random: &mut Random| if random.chance(500) { 1 } else { random.between(0, MESSAGES_MAX) };
        let in_turns = random.chance(300);
        let up = if in_turns { random.between(1, MESSAGES_MAX) } else { many(random) };
        let down = if in_turns { up } else { many(random) };
        let status = random.pick(&[0, 0, 0, 5, 9, UNAVAILABLE]);
        Call {
            up,
            down,
            bytes: random.size(bytes_max / MESSAGES_MAX),
            in_turns,
            bare: down == 0 && random.chance(700),
            status,
            timeout_ms: if random.chance(300) { random.size(TIMEOUT_MS_MAX) } else { 0 },
        }
    }

    pub(crate) fn text(&self) -> String {
        let Call { up, down, bytes, in_turns, bare, status, timeout_ms } = self;
        format!("{up}.{down}.{bytes}.{}.{}.{status}.{timeout_ms}", u8::from(*in_turns), u8::from(*bare))
    }

    /// The other way round.
    pub(crate) fn of_text(text: &str) -> Option<Call> {
        let mut numbers = text.split('.').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        Some(Call {
            up: next()?,
            down: next()?,
            bytes: next()?,
            in_turns: next()? == 1,
            bare: next()? == 1,
            status: next()? as u32,
            timeout_ms: next()?,
        })
    }

    pub(crate) fn wire_up(&self, id: u64) -> Wire {
        wire(id, self.up, self.bytes)
    }

    pub(crate) fn wire_down(&self, id: u64) -> Wire {
        wire(!id, self.down, self.bytes)
    }

    /// The value of `grpc-timeout`.
    pub(crate) fn timeout(&self) -> Option<String> {
        (self.timeout_ms > 0).then(|| format!("{}m", self.timeout_ms))
    }
}

/// `messages` of up to `bytes_max` bytes, which follow from the id.
fn wire(id: u64, messages: u64, bytes_max: u64) -> Wire {
    let mut wire = Wire { bytes: Vec::new(), ends: Vec::new() };
    let mut lengths = Random::new(id);
    for _ in 0..messages {
        let len = if lengths.chance(200) { 0 } else { lengths.size(bytes_max) };
        wire.bytes.push(u8::from(lengths.chance(100)));
        wire.bytes.extend_from_slice(&(len as u32).to_be_bytes());
        let at = wire.bytes.len() as u64;
        pattern::fill(&mut wire.bytes, id, at, len);
        wire.ends.push(wire.bytes.len());
    }
    wire
}

impl Wire {
    /// Bytes of its first messages.
    pub(crate) fn until(&self, messages: usize) -> usize {
        messages.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0)
    }

    /// Messages that are there whole when so many bytes are.
    pub(crate) fn whole(&self, bytes: usize) -> usize {
        self.ends.iter().take_while(|end| **end <= bytes).count()
    }

    /// Whether `bytes` are its own from place `from` on.
    pub(crate) fn check(&self, from: usize, bytes: &[u8]) -> Result<(), String> {
        match self.bytes.get(from..from + bytes.len()) {
            Some(expected) if expected == bytes => Ok(()),
            _ => Err(format!("bytes {from} to {} aren't those of the messages", from + bytes.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes before each message: whether it is compressed, and its length.
    const PREFIX_BYTES: usize = 5;

    #[test]
    fn messages_follow_from_the_id_and_say_how_long_they_are() {
        let call = Call { up: 4, down: 0, bytes: 300, in_turns: false, bare: true, status: 0, timeout_ms: 0 };
        let wire = call.wire_up(9);
        assert_eq!(call.wire_up(9).bytes, wire.bytes);
        assert_eq!(Call::of_text(&call.text()), Some(call));
        let (mut at, mut ends) = (0, Vec::new());
        while let Some(length) = wire.bytes.get(at + 1..at + PREFIX_BYTES) {
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            at += PREFIX_BYTES + length;
            ends.push(at);
        }
        assert_eq!(ends, wire.ends);
        assert_eq!((wire.until(0), wire.until(2), wire.whole(ends[1])), (0, ends[1], 2));
        assert!(wire.check(0, &wire.bytes[..7]).is_ok() && wire.check(1, &wire.bytes[..7]).is_err());
        assert!(call.wire_up(10).bytes != wire.bytes && call.wire_down(9).bytes.is_empty());
    }
}
