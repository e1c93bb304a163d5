//! Whole exchanges between a client and a server of our own.

use crate::http::h2::*;
use crate::http::{BodyLength, FieldId, Method, Scheme, Version};

/// One side of a connection with what it has said and not yet sent.
pub(super) struct Side {
    pub(super) connection: Connection,
    pub(super) out: Vec<u8>,
    pub(super) input: Vec<u8>,
    pub(super) message: Message,
}

impl Side {
    pub(super) fn new(role: Role, limits: &Limits) -> Side {
        let mut out = Vec::new();
        let connection = Connection::new(role, limits, &mut out);
        Side { connection, out, input: Vec::new(), message: Message::default() }
    }

    /// The next event, with a copy of the DATA that it names; `None` when there is none.
    pub(super) fn event(&mut self) -> Result<Option<(Event, Vec<u8>)>, Error> {
        let step = self.connection.receive(&self.input, &mut self.message, &mut self.out)?;
        let data = match &step.event {
            Event::Data { range, .. } => self.input[range.clone()].to_vec(),
            _ => Vec::new(),
        };
        self.input.drain(..step.consumed);
        Ok(if step.event == Event::NeedMore { None } else { Some((step.event, data)) })
    }

    /// The next event that isn't about SETTINGS.
    pub(super) fn expect(&mut self) -> Event {
        loop {
            match self.event() {
                Ok(Some((Event::SettingsChanged, _))) => {}
                Ok(Some((event, _))) => return event,
                other => panic!("no event: {other:?}"),
            }
        }
    }

    pub(super) fn nothing(&mut self) {
        while let Some((event, _)) = self.event().expect("no error") {
            assert_eq!(event, Event::SettingsChanged);
        }
    }
}

pub(super) fn pass(from: &mut Side, to: &mut Side) {
    to.input.append(&mut from.out);
    from.connection.output_sent();
}

pub(super) fn pair(client: &Limits, server: &Limits) -> (Side, Side) {
    let (mut client, mut server) = (Side::new(Role::Client, client), Side::new(Role::Server, server));
    pass(&mut client, &mut server);
    server.nothing();
    pass(&mut server, &mut client);
    client.nothing();
    pass(&mut client, &mut server);
    server.nothing();
    (client, server)
}

pub(super) const GET: RequestLine<'_> =
    RequestLine { method: b"GET", scheme: b"https", authority: b"example.com", path: b"/a?b", protocol: None };

pub(super) fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).expect("text")
}

#[test]
fn a_request_and_its_response_with_bodies_and_trailers() {
    let (mut client, mut server) = pair(&Limits::default(), &Limits::default());
    let fields: [FieldLine<'_>; 3] =
        [(b"Accept", b"*/*", false), (b"X-A", b"1", false), (b"content-length", b"5", false)];
    let line = RequestLine { method: b"POST", ..GET };
    let asked = client.connection.send_request(&line, fields, false, &mut client.out).expect("a stream");
    let granted = client.connection.data_frame(asked, 5, true, &mut client.out).expect("open");
    assert_eq!(granted, Granted { bytes: 5, ended: true });
    client.out.extend_from_slice(b"hello");
    pass(&mut client, &mut server);

    let event = server.expect();
    let Event::Request { stream, end_stream: false } = event else { panic!("no request: {event:?}") };
    assert_eq!(stream, StreamRef { id: 1, slot: 0 });
    let (head, bytes) = (&server.message.request, server.message.text.as_slice());
    assert_eq!((head.method, head.version, head.scheme), (Method::Post, Version::Http2, Some(Scheme::Https)));
    assert_eq!(text(head.method_span.of(bytes)), "POST");
    assert_eq!(text(head.path.of(bytes)), "/a?b");
    assert_eq!(text(head.query().expect("a query").of(bytes)), "b");
    assert_eq!(text(head.authority.of(bytes)), "example.com");
    assert_eq!(head.body, BodyLength::Length(5));
    assert!(head.field(FieldId::Accept).is_some());
    let run = head.fields[0].name.start as usize..head.fields_end as usize;
    assert_eq!(text(&bytes[run]), "accept: */*\r\nx-a: 1\r\ncontent-length: 5\r\n");
    assert_eq!(&bytes[head.fields_end as usize..], b"\r\n");

    let (event, data) = server.event().expect("valid").expect("DATA");
    assert!(matches!(event, Event::Data { end_stream: true, .. }));
    assert_eq!(data, b"hello");
    server.connection.release(stream, 5, &mut server.out);

    server.connection.send_response(stream, 103, NO_FIELDS, false, &mut server.out).expect("interim");
    let fields: [FieldLine<'_>; 1] = [(b"server", b"s", false)];
    server.connection.send_response(stream, 200, fields, false, &mut server.out).expect("final");
    server.connection.data_frame(stream, 2, false, &mut server.out).expect("open");
    server.out.extend_from_slice(b"hi");
    let trailers: [FieldLine<'_>; 1] = [(b"grpc-status", b"0", false)];
    server.connection.send_trailers(stream, trailers, &mut server.out).expect("open");
    assert_eq!(server.connection.open_streams(), 0);
    pass(&mut server, &mut client);

    assert_eq!(client.expect(), Event::Interim { stream: asked });
    assert_eq!(client.message.response.status, 103);
    assert_eq!(client.expect(), Event::Response { stream: asked, end_stream: false });
    assert_eq!((client.message.response.status, client.message.response.body), (200, BodyLength::Chunked));
    assert!(matches!(client.expect(), Event::Data { end_stream: false, .. }));
    assert_eq!(client.expect(), Event::Trailers { stream: asked });
    assert_eq!(text(client.message.trailers().bytes), "grpc-status: 0\r\n\r\n");
    assert_eq!(client.connection.open_streams(), 0);
}

#[test]
fn an_extended_connect_is_a_tunnel_in_both_directions() {
    let line = RequestLine { method: b"CONNECT", protocol: Some(b"websocket"), ..GET };
    let mut early = Side::new(Role::Client, &Limits::default());
    let refused = early.connection.send_request(&line, NO_FIELDS, false, &mut early.out);
    assert_eq!(refused, Err(OpenError::NoConnectProtocol), "nothing heard of the server yet");
    let (mut client, mut server) = pair(&Limits::default(), &Limits::default());
    let asked = client.connection.send_request(&line, NO_FIELDS, false, &mut client.out).expect("a stream");
    pass(&mut client, &mut server);
    let Event::Request { stream, end_stream: false } = server.expect() else { panic!("no request") };
    let (head, bytes) = (&server.message.request, server.message.text.as_slice());
    assert_eq!((head.method, head.protocol.map(|name| text(name.of(bytes)))), (Method::Connect, Some("websocket")));
    server.connection.send_response(stream, 200, NO_FIELDS, false, &mut server.out).expect("open");
    server.connection.data_frame(stream, 2, true, &mut server.out).expect("open");
    server.out.extend_from_slice(b"ws");
    pass(&mut server, &mut client);
    assert_eq!(client.expect(), Event::Response { stream: asked, end_stream: false });
    assert_eq!((client.message.response.tunnel, client.message.response.body), (true, BodyLength::None));
    assert!(matches!(client.expect(), Event::Data { end_stream: true, .. }));
    client.connection.data_frame(asked, 0, true, &mut client.out).expect("open");
    pass(&mut client, &mut server);
    assert!(matches!(server.expect(), Event::Data { end_stream: true, .. }));
    assert_eq!((client.connection.open_streams(), server.connection.open_streams()), (0, 0));
}
