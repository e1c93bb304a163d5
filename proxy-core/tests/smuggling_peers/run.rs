//! Carries out rows, and looks at what came of them.

use crate::harness::{Broken, Client, Driver, Message, Proxy, config};
use crate::raw::{self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, Raw, frame};
use crate::recorder::answer;
use crate::upstreams::Upstream;
use crate::{http1_rows, http2_rows};

/// What a request has to mean to the recorder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Meaning {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) body: Vec<u8>,
}

impl Meaning {
    pub(crate) fn new(method: &str, target: &str, body: impl AsRef<[u8]>) -> Meaning {
        let body = body.as_ref().to_vec();
        Meaning { method: method.into(), target: target.into(), host: HOST.into(), body }
    }

    fn of(message: &Message) -> Meaning {
        let mut words = message.start.split(' ');
        let mut next = || words.next().unwrap_or_default().to_string();
        let (method, target) = (next(), next());
        let host = message.all("host").join(" and ");
        Meaning { method, target, host, body: message.body.clone() }
    }
}

pub(crate) const HOST: &str = "app.test";

/// What follows everything that has to be refused: it must never arrive.
pub(crate) const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// What one client sends over HTTP/1, and what comes of it.
pub(crate) struct Row {
    pub(crate) class: &'static str,
    pub(crate) sent: Vec<u8>,
    /// Sent when the first answer has come.
    pub(crate) then_sent: Vec<u8>,
    /// Requests that arrive and are answered, in this order.
    pub(crate) passed: Vec<Meaning>,
    /// Status of what follows them; then the connection ends.
    pub(crate) refused: Option<u16>,
    /// The connection ends behind the last answer without being told why.
    pub(crate) ends: bool,
    /// It goes on although the last was refused.
    pub(crate) kept: bool,
    /// The first was answered without its body, which never arrives.
    pub(crate) bodiless: bool,
    /// Programs that refuse the first of what we pass on, and with which status.
    pub(crate) refused_by: &'static [(&'static str, u16)],
    /// A program with which the row can't be tried.
    pub(crate) not_behind: Option<&'static str>,
}

impl Row {
    pub(crate) fn refused(class: &'static str, status: u16, sent: impl AsRef<[u8]>) -> Row {
        let row = Row::passed(class, [sent.as_ref(), SMUGGLED.as_bytes()].concat(), []);
        Row { refused: Some(status), ..row }
    }

    pub(crate) fn passed<const N: usize>(class: &'static str, sent: impl AsRef<[u8]>, passed: [Meaning; N]) -> Row {
        Row {
            class,
            sent: sent.as_ref().to_vec(),
            then_sent: Vec::new(),
            passed: passed.into(),
            refused: None,
            ends: false,
            kept: false,
            bodiless: false,
            refused_by: &[],
            not_behind: None,
        }
    }

    pub(crate) fn then_refused(self, status: u16) -> Row {
        Row { refused: Some(status), ..self }
    }

    pub(crate) fn then_sent(self, sent: impl AsRef<[u8]>) -> Row {
        Row { then_sent: sent.as_ref().to_vec(), ..self }
    }

    pub(crate) fn bodiless(self) -> Row {
        Row { bodiless: true, ..self }
    }

    pub(crate) fn kept(self) -> Row {
        Row { kept: true, ..self }
    }

    pub(crate) fn not_behind(self, program: &'static str) -> Row {
        Row { not_behind: Some(program), ..self }
    }

    pub(crate) fn ends(self) -> Row {
        Row { ends: true, ..self }
    }

    pub(crate) fn refused_by(self, refused_by: &'static [(&'static str, u16)]) -> Row {
        Row { refused_by, ..self }
    }
}

/// The proxy in front of an upstream, and what it has let through since the last look.
pub(crate) struct Setting<'u> {
    pub(crate) proxy: Proxy,
    upstream: &'u Upstream,
    looked_at: usize,
    probes: usize,
}

impl<'u> Setting<'u> {
    pub(crate) fn new(driver: Driver, upstream: &'u Upstream) -> Setting<'u> {
        let routes = "routes: [{ match: { prefix: / }, cluster: app }]";
        let app = format!("{{ name: app, endpoints: ['{}'] }}", upstream.address);
        let proxy = Proxy::start(driver, &config(routes, &app));
        Setting { proxy, upstream, looked_at: 0, probes: 0 }
    }

    fn probe_target(&mut self) -> String {
        self.probes += 1;
        format!("/probe/{}", self.probes)
    }

    /// A request that must get its own answer; what it means.
    fn probe(&mut self, client: &mut Client) -> Result<Meaning, String> {
        let target = self.probe_target();
        client.wire.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        let response = client.wire.response().map_err(|broken| format!("no answer to {target}: {broken:?}"))?;
        let (wanted, got) = (answer("GET", &target, b""), response.text());
        if got != wanted {
            return Err(format!("{target} was answered with {} {got:?}", response.status()));
        }
        Ok(Meaning::new("GET", &target, ""))
    }

    /// What the recorder has seen since the last time.
    fn seen(&mut self) -> Vec<Meaning> {
        let requests = self.upstream.recorder.requests();
        let seen = requests[self.looked_at..].iter().map(Meaning::of).collect();
        self.looked_at = requests.len();
        seen
    }

    fn compare(&mut self, wanted: &[Meaning]) -> Result<(), String> {
        let seen = self.seen();
        if seen == wanted { Ok(()) } else { Err(format!("the recorder saw {seen:?}\n  instead of {wanted:?}")) }
    }

    fn http1(&mut self, row: &Row) -> Result<(), String> {
        let mut client = self.proxy.client();
        // It may be refused before all of it is sent.
        let _ = client.wire.send(&row.sent);
        let mut wanted = Vec::new();
        for (at, meaning) in row.passed.iter().enumerate() {
            let response = answer_to(&mut client, meaning).map_err(|broken| format!("no answer: {broken:?}"))?;
            if at == 0 {
                let _ = client.wire.send(&row.then_sent);
            }
            let by = row.refused_by.iter().find(|(name, _)| *name == self.upstream.name).filter(|_| at == 0);
            let early = meaning.target.contains("early");
            let text = answer(&meaning.method, &meaning.target, if early { b"" } else { &meaning.body });
            let expected = match by {
                Some((_, status)) => response.status() == *status,
                None => response.status() == 200 && (meaning.method == "HEAD" || response.text() == text),
            };
            if !expected {
                return Err(format!("answered with {} {:?}", response.status(), response.text()));
            }
            if by.is_none() && !(row.bodiless && at == 0) {
                wanted.push(meaning.clone());
            }
        }
        if let Some(status) = row.refused {
            let response = client.wire.response().map_err(|broken| format!("not refused: {broken:?}"))?;
            if response.status() != status {
                return Err(format!("{} {:?} instead of {status}", response.status(), response.text()));
            }
        }
        if (row.refused.is_some() && !row.kept) || row.ends {
            let (rest, broken) = client.wire.rest();
            if !rest.is_empty() || broken == Broken::TimedOut {
                return Err(format!("not the end: {:?}, {broken:?}", String::from_utf8_lossy(&rest)));
            }
        } else {
            wanted.push(self.probe(&mut client)?);
        }
        wanted.push(self.probe(&mut self.proxy.client())?);
        self.compare(&wanted)
    }

    fn http2(&mut self, row: &http2_rows::Row) -> Result<(), String> {
        let mut client = Raw::client(self.proxy.web);
        let last = row.body.is_none() && row.trailers.is_none();
        let end = |is_last: bool| if is_last { END_STREAM } else { 0 };
        let mut sent = frame(HEADERS, END_HEADERS | end(last), 1, &raw::block(&row.fields));
        if let Some(body) = &row.body {
            sent.extend(frame(DATA, end(row.trailers.is_none()), 1, body));
        }
        if let Some(trailers) = &row.trailers {
            sent.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &raw::block(trailers)));
        }
        client.send(sent);
        let mut wanted = Vec::new();
        let refused_by = row.refused_by.contains(&self.upstream.name);
        let open = match stream(&mut client, 1)? {
            Got::Answer(text) => match &row.passed {
                Some(meaning) if text == answer(&meaning.method, &meaning.target, &meaning.body) => {
                    wanted.push(meaning.clone());
                    true
                }
                _ => return Err(format!("answered with {text:?}")),
            },
            refused if row.passed.is_some() && !refused_by => return Err(format!("refused: {refused:?}")),
            Got::OtherStatus | Got::Reset => true,
            Got::GoAway => false,
        };
        if open {
            let target = self.probe_target();
            let fields = [(":method", "GET"), (":scheme", "http"), (":path", &target), (":authority", HOST)];
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, &raw::block(&fields)));
            match stream(&mut client, 3)? {
                Got::Answer(text) if text == answer("GET", &target, b"") => {
                    wanted.push(Meaning::new("GET", &target, ""));
                }
                other => return Err(format!("{target}: {other:?}")),
            }
        }
        wanted.push(self.probe(&mut self.proxy.client())?);
        self.compare(&wanted)
    }
}

fn answer_to(client: &mut Client, meaning: &Meaning) -> Result<Message, Broken> {
    loop {
        let response = if meaning.method == "HEAD" { client.wire.head() } else { client.wire.response() }?;
        // "100 Continue", where the client asked for it.
        if response.status() >= 200 {
            return Ok(response);
        }
    }
}

/// How a stream ended.
#[derive(Debug)]
pub(crate) enum Got {
    /// 200 and this body.
    Answer(String),
    OtherStatus,
    Reset,
    GoAway,
}

pub(crate) fn stream(client: &mut Raw, stream: u32) -> Result<Got, String> {
    let mut body = Vec::new();
    let mut status_is_200 = None;
    loop {
        let frame = match client.read() {
            Ok(frame) => frame,
            // The end of the connection says the same as a GOAWAY.
            Err(Broken::Closed | Broken::Reset) => return Ok(Got::GoAway),
            Err(broken) => return Err(format!("nothing came: {broken:?}")),
        };
        match frame.kind {
            GOAWAY => return Ok(Got::GoAway),
            _ if frame.stream != stream => continue,
            RST_STREAM if status_is_200.is_none() => return Ok(Got::Reset),
            // Of several, those before the last are interim ("100 Continue").
            HEADERS if status_is_200 != Some(true) => status_is_200 = Some(frame.payload[0] == 0x88),
            DATA => body.extend_from_slice(&frame.payload),
            _ => {}
        }
        if frame.flags & END_STREAM != 0 && matches!(frame.kind, HEADERS | DATA) {
            return Ok(match status_is_200 {
                Some(true) => Got::Answer(String::from_utf8_lossy(&body).into_owned()),
                _ => Got::OtherStatus,
            });
        }
    }
}

pub(crate) fn http1(driver: Driver, upstream: &Upstream) {
    let mut setting = Setting::new(driver, upstream);
    let rows = http1_rows::all();
    let mut failures = Vec::new();
    for row in rows.iter().filter(|row| row.not_behind != Some(upstream.name)) {
        if let Err(what) = setting.http1(row) {
            failures.push(format!("{}: {:?}\n  {what}", row.class, String::from_utf8_lossy(&row.sent)));
            setting.seen();
        }
    }
    finish(&setting, rows.len(), &failures);
}

pub(crate) fn http2(driver: Driver, upstream: &Upstream) {
    let mut setting = Setting::new(driver, upstream);
    let rows = http2_rows::all();
    let mut failures = Vec::new();
    for row in &rows {
        if let Err(what) = setting.http2(row) {
            failures.push(format!("{}: {:?} {:?}\n  {what}", row.class, row.fields, row.body));
            setting.seen();
        }
    }
    finish(&setting, rows.len(), &failures);
}

fn finish(setting: &Setting<'_>, rows: usize, failures: &[String]) {
    let (name, failed) = (setting.upstream.name, failures.len());
    assert!(failures.is_empty(), "upstream {name}: {failed} of {rows} rows failed:\n{}", failures.join("\n"));
}
