"""Metadata and the status message as header fields (PROTOCOL-HTTP2, "Custom-Metadata", "Status-Message")."""

import contextlib
from base64 import b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import MultiDict

from orbit_net.errors import LocalProtocolError
from orbit_net.wire.metadata import (
    decode_binary,
    decode_message,
    decode_metadata,
    encode_binary,
    encode_message,
    encode_metadata,
)
from wirefuzz import fuzz

pytestmark = pytest.mark.once

KEYS = st.from_regex(r"[0-9a-z_.\-]{1,20}", fullmatch=True).filter(
    lambda key: not key.startswith("grpc-") and key not in ("te", "content-type", "user-agent", "host")
)
TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
PAIRS = st.lists(
    st.one_of(
        st.tuples(KEYS.filter(lambda key: not key.endswith("-bin")), TEXT),
        st.tuples(KEYS.map(lambda key: key + "-bin"), st.binary(max_size=60)),
    ),
    max_size=8,
)


@given(PAIRS)
@fuzz(200)
def test_metadata_arrives_as_it_was_given(pairs):
    """Any legal pairs come back in order, text with its blanks at the ends taken off."""
    received = decode_metadata(encode_metadata(pairs))
    assert list(received.items()) == [
        (key, value.strip(" ") if isinstance(value, str) else value) for key, value in pairs
    ]


def test_metadata_may_be_a_mapping_pairs_or_a_multidict():
    """Keys may repeat in pairs and in a multi-dict."""
    pairs = [("a", "1"), ("b-bin", b"\0\1"), ("a", "2")]
    fields = [(b"a", b"1"), (b"b-bin", b"AAE"), (b"a", b"2")]
    assert encode_metadata(pairs) == encode_metadata([("a", " 1 "), *pairs[1:]]) == fields
    assert encode_metadata(MultiDict(pairs)) == fields
    assert encode_metadata(dict(pairs[:2])) == fields[:2]
    assert encode_metadata([]) == encode_metadata({}) == []


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("X-Upper", "1", "allowed"),
        ("", "1", "allowed"),
        ("with space", "1", "allowed"),
        ("ünicode", "1", "allowed"),
        (":path", "/", "allowed"),
        ("line\n", "1", "allowed"),
        (b"bytes", "1", "allowed"),
        (None, "1", "allowed"),
        ("grpc-timeout", "1S", "reserved"),
        ("grpc-anything", "1", "reserved"),
        ("grpc-status-details-bin", b"", "reserved"),
        ("te", "trailers", "reserved"),
        ("content-type", "x", "reserved"),
        ("user-agent", "x", "reserved"),
        ("host", "x", "reserved"),
        ("x-bin", "text", "takes bytes, not str"),
        ("x-bin", None, "takes bytes"),
        ("x", b"bytes", "must be a str, not bytes"),
        ("x", 1, "must be a str, not int"),
        ("x", None, "must be a str"),
        ("x", "a\r\nb: c", "printable ASCII"),
        ("x", "a\nb", "printable ASCII"),
        ("x", "a\0b", "printable ASCII"),
        ("x", "tab\t", "printable ASCII"),
        ("x", "é", "printable ASCII"),
        ("x", "\x7f", "printable ASCII"),
        ("x", "trailing\n", "printable ASCII"),
    ],
)
def test_metadata_that_cannot_be_sent_is_an_error_that_names_it(key, value, complaint):
    """What a user gives is checked when it is given, so nothing can be injected (CVE-2025-57804)."""
    with pytest.raises(LocalProtocolError, match=complaint) as caught:
        encode_metadata([("good", "1"), (key, value)])
    assert repr(key) in str(caught.value)


def test_a_bytearray_is_bytes():
    """Binary values may be bytearrays; what is changed later is not sent."""
    value = bytearray(b"\0\1")
    fields = encode_metadata({"x-bin": value})
    value[0] = 9
    assert decode_metadata(fields)["x-bin"] == b"\0\1"


def test_what_is_not_metadata_is_left_out():
    """The protocol's own fields never reach the user, nor do values that gRPC does not allow."""
    fields = [
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"x"),
        (b"grpc-timeout", b"1S"),
        (b"grpc-status-details-bin", b"%%%"),
        (b"x", b"kept "),
        (b"high", b"caf\xc3\xa9"),
        (b"n\xc3\xa4me", b"1"),
        (b"latin", b"\xff"),
        (b"host", b"h"),
    ]
    assert list(decode_metadata(fields).items()) == [("x", "kept"), ("host", "h")]


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        (b"", [b""]),
        (b"AAE", [b"\0\1"]),
        (b"AAE=", [b"\0\1"]),
        (b"AA", [b"\0"]),
        (b"AA==", [b"\0"]),
        (b"AAE,AAE=,AA", [b"\0\1", b"\0\1", b"\0"]),
        (b"AAE, AAE", [b"\0\1", b"\0\1"]),
        (b" AAE ", [b"\0\1"]),
        (b",", [b"", b""]),
        (b"+/+/", [b"\xfb\xff\xbf"]),
    ],
)
def test_binary_values_are_split_and_decoded(value, decoded):
    """Padded and unpadded base64 are accepted; joined values are split at commas first (PROTOCOL-HTTP2)."""
    assert decode_metadata([(b"x-bin", value)]).getall("x-bin") == decoded


@pytest.mark.parametrize(
    "value",
    [
        b"A",
        b"A===",
        b"AAAAA",
        b"A=A=",
        b"=AAE",
        b"AA E",
        b"A\nAE",
        b"-_-_",
        b"AA!E",
        b"\xff\xff",
        b"AAE==,",
        b"AAE====",
    ],
)
def test_broken_base64_is_an_error(value):
    """A lenient decoder would hide damage: anything that is not base64 raises (grpclib accepts it)."""
    with pytest.raises(ValueError, match="base64"):
        decode_metadata([(b"x-bin", value)])


@given(st.binary(max_size=200))
@fuzz(200)
def test_binary_values_survive(value):
    """Unpadded base64 out, padded or unpadded in."""
    encoded = encode_binary(value)
    assert b"=" not in encoded
    assert decode_binary(encoded) == decode_binary(b64encode(value)) == value


@given(st.binary(max_size=60))
@example(b"=")
@example(b"====")
@fuzz(300)
def test_any_binary_value_is_decoded_or_refused(value):
    """Whatever a peer sends under -bin gives bytes or ValueError."""
    with contextlib.suppress(ValueError):
        assert isinstance(decode_binary(value), bytes)


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=20)), max_size=5))
@fuzz(200)
def test_any_fields_give_metadata_or_one_error(fields):
    """No field of a peer ends in another exception than ValueError."""
    try:
        for key, value in decode_metadata(fields).items():
            assert isinstance(key, str)
            assert isinstance(value, bytes if key.endswith("-bin") else str)
    except ValueError:
        pass


# --- the status message -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("", b""),
        ("plain text ~!", b"plain text ~!"),
        ("100%", b"100%25"),
        ("a\tb\r\n", b"a%09b%0D%0A"),
        ("\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n", None),
        ("ä", b"%C3%A4"),
        ("\x7f", b"%7F"),
    ],
)
def test_a_status_message_is_percent_encoded(text, encoded):
    """Everything outside space…~, and % itself, is escaped; the interop text special_status_message survives."""
    sent = encode_message(text)
    assert encoded is None or sent == encoded
    assert all(0x20 <= byte <= 0x7E for byte in sent)
    assert decode_message(sent) == text


@given(st.text(max_size=80))
@fuzz(300)
def test_any_status_message_survives(text):
    """Every text of Unicode scalar values comes back."""
    sent = encode_message(text)
    assert all(0x20 <= byte <= 0x7E for byte in sent)
    assert decode_message(sent) == text


@given(st.text(st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF, categories=["Cs"]), max_size=5))
@fuzz(30)
def test_lone_surrogates_do_not_stop_a_status(text):
    """A message that is not Unicode still arrives, as question marks."""
    assert decode_message(encode_message(text)) == "?" * len(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"%", "%"),
        (b"%4", "%4"),
        (b"%zz", "%zz"),
        (b"%41%", "A%"),
        (b"%c3%a4", "ä"),
        (b"%25%34%31", "%41"),
        (b"%ff", "\ufffd"),
        (b"raw \xc3\xa4", "raw ä"),
        (b"raw \xff", "raw \ufffd"),
    ],
)
def test_a_broken_status_message_stays_readable(value, text):
    """Decoding never fails and never drops the text (PROTOCOL-HTTP2: "must not error")."""
    assert decode_message(value) == text


@given(st.binary(max_size=60))
@fuzz(200)
def test_any_status_message_can_be_read(value):
    """Arbitrary bytes give some text."""
    assert isinstance(decode_message(value), str)
