//! What a client asks of an origin, written into the request's path so that the origin knows what to do.

use runtime::sim::Random;

use crate::call::Call;
use crate::profile::Profile;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Get,
    Head,
    Put,
    Post,
}

/// What the origin does to the exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// Answers whole, and goes on with the connection.
    Whole,
    /// Answers whole, and ends the connection: it says so.
    Close,
    /// Answers with a body that lasts until the connection ends.
    UntilClose,
    /// Ends the connection in an orderly way instead of answering.
    NoAnswer,
    /// Resets it instead.
    Reset,
    /// Ends the connection (or the stream) in the middle of the body.
    CutOff,
    /// Resets it there.
    ResetInBody,
}

/// One exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) id: u64,
    /// First segment of the path, by which the proxy routes.
    pub(crate) route: String,
    pub(crate) verb: Verb,
    /// The body's length and whether it is sent in chunks.
    pub(crate) body: u64,
    pub(crate) chunked: bool,
    pub(crate) status: u16,
    pub(crate) response: u64,
    pub(crate) response_chunked: bool,
    pub(crate) delay_ms: u64,
    /// The origin answers before it has read the request.
    pub(crate) early: bool,
    pub(crate) ending: Ending,
    /// It is a call of gRPC; bodies are its messages.
    pub(crate) call: Option<Call>,
}

/// First segments of the paths of calls. The second is that of a route that tries again.
pub(crate) const CALLS: [&str; 2] = ["calls", "recalls"];
/// Delay of an answer that is never given: only to those who won't wait for it.
const NEVER_MS: u64 = 100_000_000;

const VERBS: [(Verb, &str); 4] = [(Verb::Get, "GET"), (Verb::Head, "HEAD"), (Verb::Put, "PUT"), (Verb::Post, "POST")];
const ENDINGS: [(Ending, &str); 7] = [
    (Ending::Whole, "whole"),
    (Ending::Close, "close"),
    (Ending::UntilClose, "until-close"),
    (Ending::NoAnswer, "no-answer"),
    (Ending::Reset, "reset"),
    (Ending::CutOff, "cut-off"),
    (Ending::ResetInBody, "reset-in-body"),
];

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        VERBS.iter().find(|(verb, _)| *verb == self).map_or("", |(_, name)| name)
    }

    /// RFC 9110 9.2.2.
    pub(crate) fn is_idempotent(self) -> bool {
        self != Verb::Post
    }
}

impl Ending {
    /// The origin breaks the exchange off.
    pub(crate) fn is_breach(self) -> bool {
        matches!(self, Ending::NoAnswer | Ending::Reset | Ending::CutOff | Ending::ResetInBody)
    }
}

impl Ask {
    pub(crate) fn draw(id: u64, route: &str, profile: &Profile, random: &mut Random) -> Ask {
        let ask = Ask::draw_plain(id, route, profile, random);
        if CALLS.contains(&route) { ask.into_call(profile, random) } else { ask }
    }

    fn into_call(self, profile: &Profile, random: &mut Random) -> Ask {
        let call = Call::draw(profile.body_bytes_max, random);
        let never = call.timeout_ms > 0 && random.chance(300);
        Ask {
            verb: Verb::Post,
            body: call.wire_up(self.id).bytes.len() as u64,
            chunked: true,
            status: 200,
            response: call.wire_down(self.id).bytes.len() as u64,
            response_chunked: true,
            delay_ms: if never { NEVER_MS } else { self.delay_ms },
            early: call.in_turns,
            call: Some(call),
            ..self
        }
    }

    fn draw_plain(id: u64, route: &str, profile: &Profile, random: &mut Random) -> Ask {
        let verb = random.pick(&[Verb::Get, Verb::Get, Verb::Get, Verb::Head, Verb::Put, Verb::Post, Verb::Post]);
        let has_body = matches!(verb, Verb::Put | Verb::Post) && random.chance(850);
        let size = |random: &mut Random| match random.below(4) {
            0 => random.below(3),
            _ => random.size(profile.body_bytes_max),
        };
        let ending = match random.chance(profile.breaches) {
            true => random.pick(&[Ending::NoAnswer, Ending::Reset, Ending::CutOff, Ending::ResetInBody]),
            false if random.chance(profile.closes) => random.pick(&[Ending::Close, Ending::UntilClose]),
            false => Ending::Whole,
        };
        Ask {
            id,
            route: route.into(),
            verb,
            body: if has_body { size(random) } else { 0 },
            chunked: has_body && random.chance(500),
            status: random.pick(&[200, 200, 200, 200, 201, 404, 204, 304]),
            response: size(random),
            response_chunked: random.chance(400),
            delay_ms: if random.chance(300) { random.size(profile.delay_ms_max) } else { 0 },
            early: random.chance(profile.early),
            ending,
            call: None,
        }
    }

    pub(crate) fn path(&self) -> String {
        let ending = ENDINGS.iter().find(|(ending, _)| *ending == self.ending).map_or("", |(_, name)| name);
        format!(
            "/{}/{}?verb={}&body={}&chunked={}&status={}&response={}&rchunked={}&delay={}&early={}&end={ending}&call={}",
            self.route,
            self.id,
            self.verb.name(),
            self.body,
            u8::from(self.chunked),
            self.status,
            self.response,
            u8::from(self.response_chunked),
            self.delay_ms,
            u8::from(self.early),
            self.call.map(|call| call.text()).unwrap_or_default(),
        )
    }

    /// The other way round.
    pub(crate) fn of_path(path: &str) -> Option<Ask> {
        let (place, query) = path.split_once('?')?;
        let (route, id) = place.strip_prefix('/')?.split_once('/')?;
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let number = |name: &str| value(name)?.parse::<u64>().ok();
        Some(Ask {
            id: id.parse().ok()?,
            route: route.into(),
            verb: VERBS.iter().find(|(_, name)| Some(*name) == value("verb"))?.0,
            body: number("body")?,
            chunked: number("chunked")? == 1,
            status: number("status")? as u16,
            response: number("response")?,
            response_chunked: number("rchunked")? == 1,
            delay_ms: number("delay")?,
            early: number("early")? == 1,
            ending: ENDINGS.iter().find(|(_, name)| Some(*name) == value("end"))?.0,
            call: value("call").and_then(Call::of_text),
        })
    }

    /// Bytes of the response's body that a client gets.
    pub(crate) fn response_bytes(&self) -> u64 {
        if self.verb == Verb::Head || matches!(self.status, 204 | 304) { 0 } else { self.response }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_all_that_is_asked() {
        let mut random = Random::new(1);
        for seed in 0..200 {
            let profile = Profile::draw(&mut Random::new(seed));
            let ask = Ask::draw(seed, "a", &profile, &mut random);
            assert_eq!(Ask::of_path(&ask.path()), Some(ask));
            let ask = Ask::draw(seed, CALLS[0], &profile, &mut random);
            assert!(ask.call.is_some());
            assert_eq!(Ask::of_path(&ask.path()), Some(ask));
        }
    }
}
