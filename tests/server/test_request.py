"""Reading request headers (PROTOCOL-HTTP2 "Requests"; answers as grpc-go gives them)."""

import pytest
from grpclib.const import Cardinality, Handler

from orbit_net.server import ServerSettings
from orbit_net.server.request import Rejection, read_request
from orbit_net.status import Status
from orbit_net.wire import HeaderBlock

HANDLER = Handler(None, Cardinality.UNARY_UNARY, bytes, bytes)
SETTINGS = ServerSettings(max_header_list=1_024)


def read(*extra, size=100, settings=SETTINGS, **changes):
    """Read a request that is fine but for the changes."""
    fields = {":method": "POST", ":scheme": "http", ":path": "/a.B/C", "content-type": "application/grpc"}
    fields |= {name.replace("_", "-") if name != "method" else ":method": value for name, value in changes.items()}
    pairs = [(name.encode(), value.encode()) for name, value in fields.items() if value is not None]
    return read_request(HeaderBlock([*pairs, *extra], size), {"/a.B/C": HANDLER}, settings)


def test_a_good_request():
    """Method, timeout, content type, user agent and metadata, without what belongs to the protocol."""
    head = read(
        (b"te", b"trailers"),
        (b"grpc-timeout", b"1500m"),
        (b"user-agent", b"me"),
        (b"x-key", b"1"),
        (b"x-key", b"2"),
        (b"x-bin", b"AAE,Ag=="),
        (b"grpc-internal", b"x"),
    )
    assert head.rejection is None
    assert head.handler is HANDLER
    assert (head.path, head.timeout, head.content_type, head.user_agent) == ("/a.B/C", 1.5, "application/grpc", "me")
    assert list(head.metadata.items()) == [("x-key", "1"), ("x-key", "2"), ("x-bin", b"\0\1"), ("x-bin", b"\2")]


def test_te_is_not_required():
    """A request without te is served, as grpc-go does."""
    assert read().rejection is None


@pytest.mark.parametrize("content_type", ["application/grpc+proto", "application/grpc;x=y", "application/grpc+json"])
def test_content_types_that_are_fine(content_type):
    """Whatever begins with application/grpc as a word."""
    assert read(content_type=content_type).rejection is None


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/grpc-web", "application/json"])
def test_other_content_types(content_type):
    """HTTP 415, whoever answers the path."""
    assert read(content_type=content_type).rejection.http_status == 415


def test_other_methods():
    """HTTP 405 for anything but POST."""
    assert read(method="GET").rejection.http_status == 405


def test_unknown_path():
    """UNIMPLEMENTED, naming the path."""
    block = HeaderBlock(
        [(b":method", b"POST"), (b":path", b"/a.B/D"), (b"content-type", b"application/grpc")],
        0,
    )
    assert read_request(block, {"/a.B/C": HANDLER}, SETTINGS).rejection == Rejection(
        Status.UNIMPLEMENTED, "Method not found: /a.B/D"
    )


def test_too_many_headers():
    """RESOURCE_EXHAUSTED for a list above the limit."""
    assert read(size=1_025).rejection.status is Status.RESOURCE_EXHAUSTED


def test_encodings():
    """UNIMPLEMENTED for one that is unknown or switched off; identity is always fine (compression.md)."""
    only = ServerSettings(accept_compression=("deflate",))
    rejection = read((b"grpc-encoding", b"snappy")).rejection
    assert rejection == Rejection(Status.UNIMPLEMENTED, "the grpc-encoding 'snappy' is not supported")
    assert read((b"grpc-encoding", b"gzip"), settings=only).rejection.status is Status.UNIMPLEMENTED
    assert read((b"grpc-encoding", b"deflate"), settings=only).encoding == "deflate"
    head = read((b"grpc-encoding", b"identity"))
    assert (head.rejection, head.encoding) == (None, None)


def test_the_compression_of_replies():
    """That of the server if the client accepts it, else none; names that are not known do not matter."""
    squeezing = ServerSettings(compression="gzip")
    accept = b"grpc-accept-encoding"
    head = read((accept, b"identity, deflate,gzip ,zstd"), settings=squeezing)
    assert (head.accepts, head.compression) == ({"gzip", "deflate"}, "gzip")
    head = read((accept, b"deflate"), settings=squeezing)
    assert (head.accepts, head.compression) == ({"deflate"}, None)
    assert read(settings=squeezing).compression is None
    assert read((accept, b"gzip")).compression is None


@pytest.mark.parametrize("timeout", [b"", b"1", b"S", b"1s", b"-1S", b"123456789S", b"1.5S", b" 1S"])
def test_malformed_timeouts(timeout):
    """INTERNAL, naming the value."""
    rejection = read((b"grpc-timeout", timeout)).rejection
    assert rejection.status is Status.INTERNAL
    assert repr(timeout) in rejection.message


def test_broken_base64():
    """INTERNAL for a -bin value that is not base64."""
    assert read((b"x-bin", b"*")).rejection.status is Status.INTERNAL


def test_text_outside_ascii_is_dropped():
    """A value that gRPC does not allow is not metadata, and the call goes on."""
    assert list(read((b"x", b"\xff"), (b"y", b"z")).metadata.items()) == [("y", "z")]
