"""A server and a client of gRPC on Python's grpcio. Both speak bytes: no code has to be generated.

    grpcio.py serve ADDRESS [CHAIN KEY]   prints "ready" when it listens, and a line about each call that ended early
    grpcio.py call ADDRESS WHAT [CA]      runs one scenario; exits with 0 if all went as it has to

With files, over TLS: the server is site.test.
"""

import sys
import threading
import time
from concurrent import futures

import grpc

LARGE = bytes(range(256)) * (4 << 12)  # 4 MiB
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Service(grpc.GenericRpcHandler):
    def service(self, details):
        handlers = {
            "/t.T/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/t.T/Down": grpc.unary_stream_rpc_method_handler(self.down),
            "/t.T/Up": grpc.stream_unary_rpc_method_handler(self.up),
            "/t.T/Both": grpc.stream_stream_rpc_method_handler(self.both),
            "/t.T/Slow": grpc.unary_unary_rpc_method_handler(self.slow),
            "/t.T/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
        }
        return handlers.get(details.method)

    def unary(self, request, context):
        context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last", "2"), ("x-last-bin", b"\x00\xff")))
        return request

    def down(self, request, context):
        for number in range(100):
            yield request + b"%d" % number

    def up(self, requests, context):
        return b",".join(requests)

    def both(self, requests, context):
        for request in requests:
            yield request[::-1]

    def slow(self, request, context):
        over = threading.Event()
        context.add_callback(over.set)
        if over.wait(20):
            print("cancelled", flush=True)
        return request

    def fail(self, request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 100 % \u00fc")


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def serve(address, chain=None, key=None):
    server = grpc.server(futures.ThreadPoolExecutor(8), options=OPTIONS)
    server.add_generic_rpc_handlers((Service(),))
    if chain:
        credentials = grpc.ssl_server_credentials([(contents(key), contents(chain))])
        port = server.add_secure_port(address, credentials)
    else:
        port = server.add_insecure_port(address)
    if port == 0:
        raise SystemExit("cannot listen on " + address)
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


def unary(channel):
    call = channel.unary_unary("/t.T/Unary")
    response, rest = call.with_call(b"hello", metadata=(("x-meta", "m"),), timeout=20)
    assert response == b"hello"
    assert dict(rest.initial_metadata())["x-first"] == "1"
    assert dict(rest.trailing_metadata())["x-last-bin"] == b"\x00\xff"
    several = [call.future(b"%d" % number) for number in range(200)]
    assert [one.result(20) for one in several] == [b"%d" % number for number in range(200)]


def streams(channel):
    down = list(channel.unary_stream("/t.T/Down")(b"n", timeout=20))
    assert down == [b"n%d" % number for number in range(100)]
    up = channel.stream_unary("/t.T/Up")(iter([b"a", b"b", b"c"]), timeout=20)
    assert up == b"a,b,c"
    turn = threading.Semaphore(1)

    def requests():
        for number in range(50):
            assert turn.acquire(timeout=20)
            yield b"%d" % number

    answers = []
    for answer in channel.stream_stream("/t.T/Both")(requests(), timeout=20):
        answers.append(answer)
        turn.release()
    assert answers == [(b"%d" % number)[::-1] for number in range(50)]


def large(channel):
    assert channel.unary_unary("/t.T/Unary")(LARGE, timeout=30) == LARGE
    both = list(channel.stream_stream("/t.T/Both")(iter([LARGE] * 3), timeout=30))
    assert both == [LARGE[::-1]] * 3


def fails_with(code, act):
    try:
        act()
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error.details()
    raise AssertionError("no error")


def failures(channel):
    details = fails_with(grpc.StatusCode.FAILED_PRECONDITION, lambda: channel.unary_unary("/t.T/Fail")(b"", timeout=20))
    assert details == "not now: 100 % \u00fc", details
    fails_with(grpc.StatusCode.UNIMPLEMENTED, lambda: channel.unary_unary("/t.T/Other")(b"", timeout=20))
    # The proxy's own: no route, and an endpoint that isn't there.
    details = fails_with(grpc.StatusCode.UNIMPLEMENTED, lambda: channel.unary_unary("/none.N/X")(b"", timeout=20))
    assert details == "no route matches this request", details
    fails_with(grpc.StatusCode.UNAVAILABLE, lambda: channel.unary_unary("/dead.D/X")(b"", timeout=20))


def deadline(channel):
    began = time.monotonic()
    fails_with(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: channel.unary_unary("/t.T/Slow")(b"", timeout=0.3))
    assert time.monotonic() - began < 10
    # The proxy's timeout, which the client doesn't know.
    details = fails_with(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: channel.unary_unary("/t.T/Slow")(b""))
    assert details == "upstream request timeout", details


def cancel(channel):
    call = channel.unary_unary("/t.T/Slow").future(b"", timeout=20)
    time.sleep(0.3)
    call.cancel()
    assert call.cancelled()


def channel_to(address, ca=None):
    if ca is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    options = [*OPTIONS, ("grpc.ssl_target_name_override", "site.test")]
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(contents(ca)), options=options)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        with channel_to(sys.argv[2], *sys.argv[4:]) as channel:
            globals()[sys.argv[3]](channel)
