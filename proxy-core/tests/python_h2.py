"""A client and an origin of HTTP/2 on Python's h2, which keep to the protocol or break it.

    python_h2.py origin ADDRESS       prints "ready" when it listens, then what happens to its connections and streams:
                                      "connection", "reset CODE", "goaway CODE"
    python_h2.py client ADDRESS WHAT  runs one scenario against the proxy; exits with 0 if all went as it has to

What breaks the protocol is written by hand, frame by frame: h2 refuses to say such things.
"""

import socket
import sys
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack

DEADLINE = 30
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 1, 4, 8
MAX = 2**31 - 1


def address_of(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


# Frames by hand.


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def number(value):
    return value.to_bytes(4, "big")


def block(fields):
    """A header block of literals that nobody indexes: the tables of both sides stay as they are."""
    out = b""
    for name, value in fields:
        out += b"\x00"
        for part in (name.encode("latin-1"), value.encode("latin-1")):
            assert len(part) < 127
            out += bytes([len(part)]) + part
    return out


def request(stream, fields=(), method="GET", path="/hello", end=True):
    head = [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path), *fields]
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block(head))


def response(stream, *fields, end=False, status="200"):
    head = [(":status", status), *fields]
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block(head))


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, number(increment))


def setting(name, value):
    return frame(SETTINGS, 0, 0, name.to_bytes(2, "big") + number(value))


SAYING = threading.Lock()


def say(*words):
    """A line that no other thread's gets into."""
    with SAYING:
        print(*words, flush=True)


# The origin.


class Streams:
    """Requests that are held back until somebody asks for /release."""

    def __init__(self):
        self.lock = threading.Lock()
        self.held = []
        self.seen = {}

    def count(self, path):
        with self.lock:
            self.seen[path] = self.seen.get(path, 0) + 1
            return self.seen[path]


class Origin:
    """One connection of the proxy's."""

    def __init__(self, sock, streams):
        self.sock, self.streams = sock, streams
        self.lock = threading.RLock()
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8", validate_outbound_headers=False)
        )
        self.requests = {}

    def raw(self, data):
        with self.lock:
            self.sock.sendall(data)

    def flush(self):
        with self.lock:
            self.raw(self.h2.data_to_send())

    def run(self):
        say("connection")
        try:
            self.h2.initiate_connection()
            self.flush()
            while data := self.sock.recv(65536):
                with self.lock:
                    events = self.h2.receive_data(data)
                for event in events:
                    self.handle(event)
                self.flush()
        except (OSError, h2.exceptions.ProtocolError) as error:
            say("ended", error)
        finally:
            self.sock.close()

    def handle(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.requests[event.stream_id] = {"head": dict(event.headers), "body": b"", "trailers": []}
        elif isinstance(event, h2.events.DataReceived):
            self.requests[event.stream_id]["body"] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.requests[event.stream_id]["trailers"] = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            self.answer(event.stream_id, self.requests[event.stream_id])
        elif isinstance(event, h2.events.StreamReset):
            with self.streams.lock:
                self.streams.held = [held for held in self.streams.held if held != (self, event.stream_id)]
            say("reset", h2.errors.ErrorCodes(event.error_code).name)
        elif isinstance(event, h2.events.ConnectionTerminated):
            say("goaway", h2.errors.ErrorCodes(event.error_code).name)
        elif isinstance(event, h2.events.WindowUpdated):
            self.send_waiting()

    def send(self, stream, body=b"", fields=(), trailers=(), status="200"):
        """A whole response; what windows hold back goes out as they open."""
        with self.lock:
            self.h2.send_headers(stream, [(":status", status), *fields])
            self.requests[stream].update(left=body, then=trailers)
            self.send_waiting()
            self.flush()

    def send_waiting(self):
        for stream, found in list(self.requests.items()):
            if "left" not in found:
                continue
            while True:
                room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
                part, found["left"] = found["left"][:room], found["left"][room:]
                if part:
                    self.h2.send_data(stream, part)
                if not part or not found["left"]:
                    break
            if not found["left"]:
                if found["then"]:
                    self.h2.send_headers(stream, found["then"], end_stream=True)
                else:
                    self.h2.end_stream(stream)
                del self.requests[stream]

    def answer(self, stream, found):
        path = found["head"][":path"]
        if path in ORIGIN_BREAKS:
            self.raw(ORIGIN_BREAKS[path](stream))
        else:
            WELL_BEHAVED.get(path, Origin.hello)(self, stream, found)

    def hello(self, stream, _found):
        self.send(stream, b"hello", [("content-length", "5")])

    def echo(self, stream, found):
        self.send(stream, found["body"], [], [("x-" + name, value) for name, value in found["trailers"]])

    def hints(self, stream, _found):
        self.h2.send_headers(stream, [(":status", "103"), ("link", "</style.css>")])
        self.send(stream, b"after", [], [("x-last", "1")])

    def hold(self, stream, _found):
        with self.streams.lock:
            self.streams.held.append((self, stream))
        say("held")

    def release(self, stream, _found):
        with self.streams.lock:
            held, self.streams.held = self.streams.held, []
        for connection, waiting in held:
            try:
                connection.send(waiting, b"released")
            except (OSError, h2.exceptions.ProtocolError):
                pass  # It was reset, or its connection ended.
        self.send(stream, b"%d" % len(held))

    def goaway_in_flight(self, stream, _found):
        """This one is still answered, the next one has to come on another connection."""
        self.raw(frame(GOAWAY, 0, 0, number(stream) + number(0)))
        self.send(stream, b"last")

    def goaway_unprocessed(self, stream, found):
        """The first time it says that it hasn't begun with the request."""
        if self.streams.count(found["head"][":path"]) == 1:
            self.raw(frame(GOAWAY, 0, 0, number(stream - 2 if stream > 1 else 0) + number(0)))
        else:
            self.send(stream, b"second")

    def reset(self, stream, _found):
        self.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)

    def refuse(self, stream, found):
        if self.streams.count(found["head"][":path"]) == 1:
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        else:
            self.send(stream, b"second")

    def reset_in_body(self, stream, _found):
        self.h2.send_headers(stream, [(":status", "200")])
        self.h2.send_data(stream, b"begun")
        self.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)


WELL_BEHAVED = {
    "/echo": Origin.echo,
    "/hints": Origin.hints,
    "/hold": Origin.hold,
    "/release": Origin.release,
    "/goaway": Origin.goaway_in_flight,
    "/goaway-unprocessed": Origin.goaway_unprocessed,
    "/reset": Origin.reset,
    "/refuse": Origin.refuse,
    "/reset-in-body": Origin.reset_in_body,
}

# What an origin answers by hand: the bytes for a stream.
ORIGIN_BREAKS = {
    # Of the connection.
    "/conn/settings-flood": lambda stream: frame(SETTINGS, 0, 0) * 1000,
    "/conn/ping-flood": lambda stream: frame(PING, 0, 0, bytes(8)) * 1000,
    "/conn/bad-hpack": lambda stream: frame(HEADERS, END_HEADERS, stream, b"\x80"),
    "/conn/unknown-stream": lambda stream: response(stream + 100, end=True),
    "/conn/even-stream": lambda stream: response(2, end=True),
    "/conn/push": lambda stream: frame(PUSH_PROMISE, END_HEADERS, stream, number(2) + block([(":method", "GET")])),
    "/conn/frame-too-large": lambda stream: frame(DATA, 0, stream, bytes(16385)),
    "/conn/ping-of-seven": lambda stream: frame(PING, 0, 0, bytes(7)),
    "/conn/enable-push": lambda stream: setting(2, 1),
    "/conn/window-of-zero": lambda stream: window_update(0, 0),
    "/conn/window-overflow": lambda stream: window_update(0, MAX),
    "/conn/interrupted-head": lambda stream: frame(HEADERS, 0, stream, block([(":status", "200")])) + frame(DATA, 1, stream),
    "/conn/endless-head": lambda stream: frame(HEADERS, 0, stream) + frame(CONTINUATION, 0, stream) * 1000,
    "/conn/http1": lambda stream: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    # Of the stream.
    "/stream/no-status": lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, block([("a", "b")])),
    "/stream/status-101": lambda stream: response(stream, status="101"),
    "/stream/status-of-letters": lambda stream: response(stream, status="ok", end=True),
    "/stream/upper-case": lambda stream: response(stream, ("Server", "x"), end=True),
    "/stream/line-end": lambda stream: response(stream, ("a", "b\r\nset-cookie: c"), end=True),
    "/stream/connection": lambda stream: response(stream, ("connection", "close"), end=True),
    "/stream/chunked": lambda stream: response(stream, ("transfer-encoding", "chunked"), end=True),
    "/stream/two-lengths": lambda stream: response(stream, ("content-length", "1"), ("content-length", "2")),
    "/stream/length-of-nothing": lambda stream: response(stream, ("content-length", "5"), end=True),
    "/stream/data-first": lambda stream: frame(DATA, 1, stream, b"hello"),
    "/stream/window-of-zero": lambda stream: window_update(stream, 0),
    "/stream/interim-that-ends": lambda stream: response(stream, status="103", end=True),
    # After the head: the client must notice.
    "/cut/too-little": lambda stream: response(stream, ("content-length", "5")) + frame(DATA, 1, stream, b"hel"),
    "/cut/too-much": lambda stream: response(stream, ("content-length", "5")) + frame(DATA, 1, stream, b"hello!"),
    "/cut/bad-trailers": lambda stream: response(stream) + response(stream, end=True),
    "/cut/second-head": lambda stream: response(stream) + frame(DATA, 0, stream, b"x") + response(stream),
}


def origin(address):
    streams = Streams()
    with socket.create_server(address_of(address)) as listener:
        say("ready")
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=Origin(sock, streams).run, daemon=True).start()


# A client that keeps to the protocol.


class Client:
    def __init__(self, address, **settings):
        self.sock = socket.create_connection(address_of(address), timeout=DEADLINE)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        codes = h2.settings.SettingCodes
        values = {getattr(codes, name.upper()): value for name, value in settings.items()}
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values={codes.ENABLE_PUSH: 0, **values})
        self.h2.initiate_connection()
        self.flush()
        self.events = []
        self.wait(lambda event: isinstance(event, h2.events.RemoteSettingsChanged))

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("the connection ended")
        new = self.h2.receive_data(data)
        self.events += new
        self.flush()
        return new

    def wait(self, condition):
        """The first event that fits; those before it stay for others."""
        while True:
            for at, event in enumerate(self.events):
                if condition(event):
                    return self.events.pop(at)
            self.more()

    def wait_for(self, kind, stream):
        return self.wait(lambda event: isinstance(event, kind) and event.stream_id == stream)

    def ask(self, path, method="GET", fields=(), end=True):
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path), *fields]
        self.h2.send_headers(stream, head, end_stream=end)
        self.flush()
        return stream

    def head(self, stream):
        return dict(self.wait_for(h2.events.ResponseReceived, stream).headers)

    def body(self, stream):
        """All of it; windows open as it comes."""
        body = b""
        while True:
            kinds = (h2.events.DataReceived, h2.events.StreamEnded, h2.events.StreamReset)
            event = self.wait_for(kinds, stream)
            if isinstance(event, h2.events.StreamEnded):
                return body
            assert isinstance(event, h2.events.DataReceived), event
            body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
            self.flush()

    def get(self, path):
        stream = self.ask(path)
        return self.head(stream)[":status"], self.body(stream)

    def send(self, stream, body):
        """As much as windows allow at a time."""
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room == 0:
                self.more()
                continue
            self.h2.send_data(stream, body[:room])
            self.flush()
            body = body[room:]


def release(client):
    """Answers the requests that are held, when there is one."""
    until = time.monotonic() + DEADLINE
    while client.get("/release") == ("200", b"0"):
        assert time.monotonic() < until, "nothing is held"


def requests(address):
    client = Client(address)
    for _ in range(3):
        assert client.get("/hello") == ("200", b"hello")
    streams = [client.ask("/hello") for _ in range(100)]
    for stream in reversed(streams):
        assert client.head(stream)[":status"] == "200"
        assert client.body(stream) == b"hello"


def small_windows(address):
    client = Client(address, initial_window_size=1000)
    body = bytes(range(256)) * 1024
    stream = client.ask("/echo", "POST", end=False)
    client.send(stream, body)
    client.h2.end_stream(stream)
    client.flush()
    assert client.head(stream)[":status"] == "200"
    # Nobody opens the window of this stream: it stops, and others go on.
    client.wait(lambda event: isinstance(event, h2.events.DataReceived))
    for _ in range(3):
        assert client.get("/hello") == ("200", b"hello")
    client.h2.increment_flow_control_window(len(body), stream)
    client.h2.increment_flow_control_window(len(body))
    client.flush()
    left = len(body)
    while not any(isinstance(event, h2.events.StreamEnded) for event in client.events):
        client.more()
    taken = [event.data for event in client.events if isinstance(event, h2.events.DataReceived)]
    first = left - sum(map(len, taken))
    assert 0 < first <= 1000 and b"".join(taken) == body[first:]


def trailers(address):
    client = Client(address)
    stream = client.ask("/echo", "POST", end=False)
    client.send(stream, b"some")
    client.h2.send_headers(stream, [("sum", "1")], end_stream=True)
    client.flush()
    assert client.head(stream)[":status"] == "200"
    assert dict(client.wait_for(h2.events.TrailersReceived, stream).headers)["x-sum"] == "1"
    assert client.body(stream) == b"some"


def interim(address):
    client = Client(address)
    stream = client.ask("/hints")
    hints = client.wait_for(h2.events.InformationalResponseReceived, stream)
    assert dict(hints.headers) | {":status": "103", "link": "</style.css>"} == dict(hints.headers)
    assert client.head(stream)[":status"] == "200"
    assert dict(client.wait_for(h2.events.TrailersReceived, stream).headers)["x-last"] == "1"
    assert client.body(stream) == b"after"


def ping(address):
    client = Client(address)
    client.h2.ping(b"12345678")
    client.flush()
    ack = client.wait(lambda event: isinstance(event, h2.events.PingAckReceived))
    assert ack.ping_data == b"12345678"


def goaway(address):
    """A client that will open no more streams: what is under way is still answered."""
    client = Client(address)
    stream = client.ask("/hold")
    client.sock.sendall(frame(GOAWAY, 0, 0, number(0) + number(0)))
    other = Client(address)
    release(other)
    assert client.head(stream)[":status"] == "200"
    assert client.body(stream) == b"released"


def resets(address):
    """A client that gives up: the origin hears of it, and the connection goes on."""
    client = Client(address)
    stream = client.ask("/hold")
    client.h2.ping(b"a moment")
    client.flush()
    client.wait(lambda event: isinstance(event, h2.events.PingAckReceived))
    client.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
    client.flush()
    assert client.get("/hello") == ("200", b"hello")


def cut_off(address):
    """A response that breaks off is reset and doesn't end."""
    client = Client(address)
    for path in ["/reset-in-body", "/cut/too-little", "/cut/too-much", "/cut/bad-trailers", "/cut/second-head"]:
        stream = client.ask(path)
        ended = client.wait_for((h2.events.StreamEnded, h2.events.StreamReset), stream)
        assert isinstance(ended, h2.events.StreamReset), (path, ended)
        assert client.get("/hello") == ("200", b"hello"), path


# A client that doesn't.

# What is sent after the preface and SETTINGS, and after a POST on stream 1 whose body is still to come; the scope of the
# error; its code.
CLIENT_BREAKS = {
    "DATA on an idle stream": (frame(DATA, 0, 3, b"x"), "connection", "PROTOCOL_ERROR"),
    "DATA on the connection": (frame(DATA, 0, 0, b"x"), "connection", "PROTOCOL_ERROR"),
    "too much padding": (frame(DATA, PADDED, 1, b"\x05x"), "connection", "PROTOCOL_ERROR"),
    "HEADERS on an even stream": (request(2), "connection", "PROTOCOL_ERROR"),
    "HEADERS on an earlier stream": (request(7) + request(5), "connection", "PROTOCOL_ERROR"),
    "a frame that is too large": (frame(DATA, 0, 1, bytes(16385)), "connection", "FRAME_SIZE_ERROR"),
    "PING of 7 bytes": (frame(PING, 0, 0, bytes(7)), "connection", "FRAME_SIZE_ERROR"),
    "half a setting": (frame(SETTINGS, 0, 0, b"abc"), "connection", "FRAME_SIZE_ERROR"),
    "ENABLE_PUSH 2": (setting(2, 2), "connection", "PROTOCOL_ERROR"),
    "a window of 2^31": (setting(4, MAX + 1), "connection", "FLOW_CONTROL_ERROR"),
    "MAX_FRAME_SIZE of 1": (setting(5, 1), "connection", "PROTOCOL_ERROR"),
    "a window update of 0": (window_update(0, 0), "connection", "PROTOCOL_ERROR"),
    "a window that overflows": (window_update(0, MAX), "connection", "FLOW_CONTROL_ERROR"),
    "index 0": (frame(HEADERS, 5, 3, b"\x80"), "connection", "COMPRESSION_ERROR"),
    "an index beyond the table": (frame(HEADERS, 5, 3, b"\xff\x7f"), "connection", "COMPRESSION_ERROR"),
    "Huffman padding of zeros": (frame(HEADERS, 5, 3, b"\0\x01a\x81\x18"), "connection", "COMPRESSION_ERROR"),
    "CONTINUATION alone": (frame(CONTINUATION, 4, 1), "connection", "PROTOCOL_ERROR"),
    "PING in a head": (frame(HEADERS, 1, 3) + frame(PING, 0, 0, bytes(8)), "connection", "PROTOCOL_ERROR"),
    "PUSH_PROMISE": (frame(PUSH_PROMISE, 4, 1, number(2)), "connection", "PROTOCOL_ERROR"),
    "RST_STREAM on an idle stream": (frame(RST_STREAM, 0, 9, number(8)), "connection", "PROTOCOL_ERROR"),
    "GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), "connection", "PROTOCOL_ERROR"),
    "a flood of SETTINGS": (frame(SETTINGS, 0, 0) * 1000, "connection", "ENHANCE_YOUR_CALM"),
    "a flood of PING": (frame(PING, 0, 0, bytes(8)) * 2000, "connection", "ENHANCE_YOUR_CALM"),
    "a flood of CONTINUATION": (
        frame(HEADERS, 1, 3) + frame(CONTINUATION, 0, 3) * 1000,
        "connection",
        "ENHANCE_YOUR_CALM",
    ),
    "a flood of empty DATA": (frame(DATA, 0, 1) * 1000, "connection", "ENHANCE_YOUR_CALM"),
    "a rapid reset": (
        b"".join(request(stream) + frame(RST_STREAM, 0, stream, number(8)) for stream in range(3, 2003, 2)),
        "connection",
        "ENHANCE_YOUR_CALM",
    ),
    "DATA after the end": (frame(DATA, 1, 1) + frame(DATA, 0, 1, b"x"), "stream", "STREAM_CLOSED"),
    "a window update of 0 for a stream": (window_update(1, 0), "stream", "PROTOCOL_ERROR"),
    "a stream's window that overflows": (window_update(1, MAX), "stream", "FLOW_CONTROL_ERROR"),
    "PRIORITY of 4 bytes": (frame(PRIORITY, 0, 1, bytes(4)), "stream", "FRAME_SIZE_ERROR"),
    "trailers that don't end": (frame(HEADERS, 4, 1, block([("a", "b")])), "stream", "PROTOCOL_ERROR"),
    "a pseudo-field in trailers": (frame(HEADERS, 5, 1, block([(":path", "/")])), "stream", "PROTOCOL_ERROR"),
}

# Requests on stream 3 that are malformed: PROTOCOL_ERROR on it.
MALFORMED = {
    "upper case": request(3, [("Accept", "x")]),
    "a space in a name": request(3, [("a b", "x")]),
    "a line's end in a value": request(3, [("a", "b\r\nc: d")]),
    "NUL in a value": request(3, [("a", "\0")]),
    "connection": request(3, [("connection", "close")]),
    "transfer-encoding": request(3, [("transfer-encoding", "chunked")], "POST", end=False),
    "te": request(3, [("te", "gzip")]),
    "an unknown pseudo-field": request(3, [(":what", "x")]),
    "a pseudo-field twice": request(3, [(":path", "/")]),
    "a pseudo-field after fields": request(3, [("a", "b"), (":path", "/")]),
    "no path": frame(HEADERS, 5, 3, block([(":method", "GET"), (":scheme", "http"), (":authority", "test")])),
    "an empty path": request(3, path=""),
    "another host": request(3, [("host", "other")]),
    "less than the length": request(3, [("content-length", "5")], "POST", end=False) + frame(DATA, 1, 3, b"hel"),
    "more than the length": request(3, [("content-length", "5")], "POST", end=False) + frame(DATA, 1, 3, b"hello!"),
    "nothing of the length": request(3, [("content-length", "5")], "POST"),
}


class Raw:
    """A connection of frames."""

    def __init__(self, address, preface=PREFACE + frame(SETTINGS, 0, 0)):
        self.sock = socket.create_connection(address_of(address), timeout=DEADLINE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.decoder = hpack.Decoder()
        self.input = b""
        self.stream = 1001
        self.send(preface)

    def send(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It has heard enough; what it says is still to be read.

    def read(self, size):
        while len(self.input) < size:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError("the connection ended")
            self.input += data
        taken, self.input = self.input[:size], self.input[size:]
        return taken

    def frames(self):
        while True:
            head = self.read(9)
            payload = self.read(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            fields = self.decoder.decode(payload) if kind == HEADERS else None
            yield kind, flags, stream, payload, fields

    def error(self, wanted):
        """The first error that the proxy tells: its scope, stream and code. A RST_STREAM on another stream than the one
        wanted is none."""
        for kind, _, stream, payload, _ in self.frames():
            if kind == GOAWAY:
                return "connection", h2.errors.ErrorCodes(int.from_bytes(payload[4:8], "big")).name
            if kind == RST_STREAM and stream == wanted:
                return "stream", h2.errors.ErrorCodes(int.from_bytes(payload, "big")).name

    def works(self):
        self.stream += 2
        self.send(request(self.stream))
        status = None
        for kind, flags, stream, _, fields in self.frames():
            if stream != self.stream:
                continue
            assert kind in (HEADERS, DATA), kind
            if fields:
                status = dict(fields)[":status"]
            if flags & END_STREAM:
                assert status == "200", status
                return

    def ends(self):
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionResetError:
            pass


def breaks(address):
    neighbour = Raw(address)
    cases = [(what, 1, case) for what, case in CLIENT_BREAKS.items()]
    cases += [(what, 3, (sent, "stream", "PROTOCOL_ERROR")) for what, sent in MALFORMED.items()]
    for what, stream, (sent, scope, code) in cases:
        raw = Raw(address)
        raw.send(request(1, (), "POST", "/echo", end=False) + sent)
        found = raw.error(stream)
        assert found == (scope, code), (what, found)
        if scope == "connection":
            raw.ends()
        else:
            raw.works()
        neighbour.works()
        say("ok", what)


def limits(address):
    """Windows and numbers of streams that the proxy has named."""
    raw = Raw(address, PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, 1, 0))
    settings = {}
    for kind, flags, _, payload, _ in raw.frames():
        if kind == SETTINGS and not flags:
            pairs = [payload[at : at + 6] for at in range(0, len(payload), 6)]
            settings = {int.from_bytes(pair[:2], "big"): int.from_bytes(pair[2:], "big") for pair in pairs}
            break
    raw.send(request(1, (), "POST", "/echo", end=False))
    # The origin's window is smaller than what is sent: the proxy can't pass everything on and open its own again.
    raw.send(frame(DATA, 0, 1, bytes(16384)) * 1000)
    assert raw.error(1)[1] == "FLOW_CONTROL_ERROR"
    raw = Raw(address)
    most = settings[3]
    for stream in range(1, 2 * most + 3, 2):
        raw.send(request(stream, path="/hold"))
    assert raw.error(2 * most + 1) == ("stream", "REFUSED_STREAM")
    release(Client(address))
    raw.works()


def beginnings(address):
    """What isn't HTTP/2 from its first frame on."""
    for sent, code in [
        (PREFACE + request(1), "PROTOCOL_ERROR"),
        (PREFACE + frame(SETTINGS, 1, 0), "PROTOCOL_ERROR"),
        (PREFACE + PREFACE, "PROTOCOL_ERROR"),
        (PREFACE + frame(SETTINGS, 0, 3), "PROTOCOL_ERROR"),
    ]:
        raw = Raw(address, sent)
        found = raw.error(1)
        assert found == ("connection", code), (sent, found)
        raw.ends()
    # Without the preface it is HTTP/1.1, and refused as that.
    raw = Raw(address, PREFACE.replace(b"SM", b"MS"))
    assert raw.sock.recv(65536).startswith(b"HTTP/1.1 505 ")


if __name__ == "__main__":
    if sys.argv[1] == "origin":
        origin(sys.argv[2])
    else:
        globals()[sys.argv[3]](sys.argv[2])
