"""Reading response headers and trailers (PROTOCOL-HTTP2 "Responses", *http-grpc-status-mapping*)."""

import pytest

from orbit_net.client.response import Outcome, headers_fault, is_grpc, outcome_of
from orbit_net.status import Status, status_from_http, status_from_reset
from orbit_net.wire import HeaderBlock

HTTP_STATUSES = {
    400: Status.INTERNAL,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.UNIMPLEMENTED,
    429: Status.UNAVAILABLE,
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.UNAVAILABLE,
    200: Status.UNKNOWN,
    204: Status.UNKNOWN,
    301: Status.UNKNOWN,
    418: Status.UNKNOWN,
    500: Status.UNKNOWN,
}


def block(*fields):
    """Return a received header list."""
    return HeaderBlock([(name.encode(), value.encode()) for name, value in fields], 0)


@pytest.mark.parametrize(("code", "status"), HTTP_STATUSES.items())
def test_http_statuses(code, status):
    """Each row of the public mapping."""
    assert status_from_http(b"%d" % code) is status


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *[(code, Status.INTERNAL) for code in (0, 1, 2, 3, 4, 6, 9, 10)],
        (7, Status.UNAVAILABLE),
        (8, Status.CANCELLED),
        (11, Status.RESOURCE_EXHAUSTED),
        (12, Status.PERMISSION_DENIED),
        *[(code, Status.UNKNOWN) for code in (5, 13, 99)],
    ],
)
def test_reset_codes(code, status):
    """Each row of PROTOCOL-HTTP2's table of RST_STREAM codes."""
    assert status_from_reset(code) is status


@pytest.mark.parametrize(
    ("content_type", "grpc"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;charset=utf-8", True),
        (b"application/grpc-web", False),
        (b"application/grpcx", False),
        (b"text/html", False),
        (b"", False),
    ],
)
def test_content_types(content_type, grpc):
    """The type alone or followed by + or ; and nothing else."""
    assert is_grpc(content_type) is grpc


def test_status_with_everything():
    """Status, percent-decoded text and details are read."""
    outcome = outcome_of(
        block(("grpc-status", "5"), ("grpc-message", "caf%C3%A9 %zz"), ("grpc-status-details-bin", "CAUSBG5vbmU"))
    )
    assert outcome == Outcome(Status.NOT_FOUND, "café %zz", b"\x08\x05\x12\x04none")


@pytest.mark.parametrize("number", ["17", "00", "-1", "x", "", "05"])
def test_unknown_status_numbers(number):
    """A status that is none becomes UNKNOWN and keeps both its number and its text."""
    outcome = outcome_of(block(("grpc-status", number), ("grpc-message", "why")))
    assert outcome.status is Status.UNKNOWN
    assert outcome.message == f"unknown grpc-status {number}: why"


def test_broken_details_do_not_hide_the_status():
    """Details that are not base64 are left out."""
    assert outcome_of(block(("grpc-status", "3"), ("grpc-status-details-bin", "!"))) == Outcome(Status.INVALID_ARGUMENT)


def test_grpc_status_wins_over_http():
    """A 503 with grpc-status 7 is PERMISSION_DENIED."""
    assert outcome_of(block((":status", "503"), ("grpc-status", "7"))).status is Status.PERMISSION_DENIED


def test_without_status():
    """Trailers without grpc-status are UNKNOWN; a trailers-only answer is judged by its HTTP status."""
    assert outcome_of(None).status is Status.UNKNOWN
    assert outcome_of(block(("x", "y"))).message == "the response ended without grpc-status"
    outcome = outcome_of(block((":status", "404")))
    assert outcome == Outcome(Status.UNIMPLEMENTED, "HTTP status 404 without grpc-status")


def test_headers_that_are_not_grpc():
    """The fault names the content type, or the HTTP status."""
    assert headers_fault(block((":status", "200"), ("content-type", "application/grpc+proto"))) is None
    html = headers_fault(block((":status", "200"), ("content-type", "text/html")))
    assert html == Outcome(Status.UNKNOWN, "the response is not gRPC: its content-type is 'text/html'")
    assert headers_fault(block((":status", "200"))).message.endswith("content-type is missing")
    assert headers_fault(block((":status", "502"), ("content-type", "text/html"))).status is Status.UNAVAILABLE


def test_what_was_read_is_remembered():
    """Equal blocks are one object, and its reading is done once."""
    trailers = block(("grpc-status", "5"))
    assert outcome_of(trailers) is outcome_of(trailers)
