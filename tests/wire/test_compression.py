"""Compressing and inflating single messages (compression.md; RFC 1950, RFC 1952)."""

import gzip
import time
import tracemalloc
import zlib
from random import Random

import pytest
from grpclib.const import Status
from hypothesis import given
from hypothesis import strategies as st

from orbit_net.errors import ConfigurationError
from orbit_net.wire.assembler import CompressedMessage, MessageError
from orbit_net.wire.compression import (
    ENCODINGS,
    accept_header,
    accepted_by,
    check_encodings,
    compress,
    decompress,
)
from wirefuzz import fuzz

BITS = {"gzip": 31, "deflate": 15}
MIB = 2**20
FAULTS = (Status.INTERNAL, Status.RESOURCE_EXHAUSTED)
NOISE = Random(1).randbytes(20_000)


def squeezed(data, encoding):
    """Compress by zlib itself."""
    return zlib.compress(data, 6, BITS[encoding])


def fault(message, encoding, limit=1_000, accepted=ENCODINGS):
    """Return the error of a message that cannot be inflated."""
    with pytest.raises(MessageError) as caught:
        decompress(message, encoding, accepted, limit)
    return caught.value


def outcome(message, encoding, limit):
    """Return the message or the status of its error."""
    try:
        return decompress(message, encoding, ENCODINGS, limit)
    except MessageError as error:
        return error.status


def bomb(encoding, size):
    """Return zeros compressed, without ever holding them, and without the stream's end, which no reader may reach."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, BITS[encoding])
    # After a full flush a part stands for itself, so the second one can be repeated; the first begins with the header.
    first, second = (deflater.compress(bytes(MIB)) + deflater.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + second * (size // MIB - 1)


@given(st.binary(max_size=300), st.integers(1, 400), st.sampled_from(ENCODINGS))
@fuzz(300)
def test_what_was_compressed_comes_back(data, times, encoding):
    """Any message, whether compression gained anything or not; what is smaller is marked."""
    message = data * times
    sent = compress(message, encoding)
    if type(sent) is CompressedMessage:
        assert len(sent) < len(message)
        assert decompress(sent, encoding, ENCODINGS, len(message)) == message
    else:
        assert sent == message


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_messages_that_gain_nothing_stay_as_they_are(encoding):
    """Small ones are not tried, random ones do not shrink."""
    for message in (b"", b"a" * 63, NOISE):
        assert compress(message, encoding) is message
    assert type(compress(b"a" * 64, encoding)) is CompressedMessage


@given(st.binary(max_size=200), st.sampled_from([*ENCODINGS, "zstd", None]), st.integers(0, 300))
@fuzz(500)
def test_any_bytes_give_a_message_or_one_error(data, encoding, limit):
    """Garbage, whatever it claims to be, ends in a MessageError and in nothing else."""
    result = outcome(data, encoding, limit)
    assert result in FAULTS or len(result) <= limit


@given(st.binary(min_size=1, max_size=300), st.data(), st.sampled_from(ENCODINGS))
@fuzz(300)
def test_a_changed_byte_gives_a_message_or_one_error(data, draw, encoding):
    """A valid message with one byte changed."""
    message = bytearray(squeezed(data, encoding))
    message[draw.draw(st.integers(0, len(message) - 1))] ^= draw.draw(st.integers(1, 255))
    result = outcome(bytes(message), encoding, 400)
    assert result in FAULTS or result == data  # a byte of gzip's header that nobody reads may differ


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 32_768, 300_000])
def test_the_limit_is_exact(size, encoding):
    """As many bytes as allowed pass, one more does not, at the edges of the steps too."""
    message = squeezed(bytes(size), encoding)
    assert decompress(message, encoding, ENCODINGS, size) == bytes(size)
    if size:
        error = fault(message, encoding, size - 1)
        assert error.status is Status.RESOURCE_EXHAUSTED
        assert f"limit of {size - 1} bytes" in error.reason


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_inputs_longer_than_one_step(encoding):
    """Data that hardly shrinks is taken in many pieces."""
    message = NOISE * 50 + bytes(100_000)
    assert decompress(squeezed(message, encoding), encoding, ENCODINGS, MIB * 4) == message


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_bomb_costs_no_more_than_the_limit(encoding):
    """CVE-2024-37168: 1 GiB of zeros under a limit of 4 MiB takes 4 MiB and little time."""
    limit = 4 * MIB
    message = bomb(encoding, 1024 * MIB)
    assert len(message) < limit
    began = time.process_time()
    fault(message, encoding, limit)
    assert time.process_time() - began < 1
    tracemalloc.start()
    try:
        error = fault(message, encoding, limit)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.status is Status.RESOURCE_EXHAUSTED
    assert peak < limit + 200_000


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_cut_short_is_internal(encoding):
    """Every proper beginning of a message, nothing at all included."""
    message = squeezed(b"some text, some more text", encoding)
    for size in range(len(message)):
        error = fault(message[:size], encoding)
        assert (error.status, "cut short" in error.reason) == (Status.INTERNAL, True)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("size", [10, 20_000])
@pytest.mark.parametrize("rest", [b"\0", b"x" * 40_000])
def test_trailing_bytes_are_internal(rest, size, encoding):
    """Nothing may follow the compressed message, in the same step or in a later one."""
    error = fault(squeezed(NOISE[:size] * 3, encoding) + rest, encoding, MIB)
    assert error.status is Status.INTERNAL
    assert "followed by other bytes" in error.reason


def test_trailing_bytes_at_the_edge_of_a_step():
    """A message that fills a step to its last byte, with another after it, is not taken for whole."""
    sizes = [size for size in range(16_300, 16_400) if len(squeezed(NOISE[:size], "deflate")) == 16_384]
    assert sizes
    message = squeezed(NOISE[: sizes[0]], "deflate")
    assert decompress(message, "deflate", ENCODINGS, MIB) == NOISE[: sizes[0]]
    assert "followed by" in fault(message + b"x", "deflate", MIB).reason


def test_a_second_gzip_member_is_refused():
    """RFC 1952 allows members in a row; a gRPC message is one."""
    error = fault(gzip.compress(b"one") + gzip.compress(b"two"), "gzip")
    assert error.status is Status.INTERNAL
    assert "followed by other bytes" in error.reason


@pytest.mark.parametrize(("encoding", "other"), [("gzip", "deflate"), ("deflate", "gzip")])
def test_the_other_format_is_internal(encoding, other):
    """The formats are not guessed, and raw DEFLATE data is neither."""
    deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
    raw = deflater.compress(b"hello" * 10) + deflater.flush()
    for message in (squeezed(b"hello" * 10, other), raw, b"\xff" * 50):
        error = fault(message, encoding)
        assert error.status is Status.INTERNAL
        assert f"not in the {encoding} format" in error.reason


def test_a_preset_dictionary_is_refused():
    """RFC 1950 allows one; nobody has told us which."""
    deflater = zlib.compressobj(6, zlib.DEFLATED, 15, zdict=b"words")
    assert fault(deflater.compress(b"words words") + deflater.flush(), "deflate").status is Status.INTERNAL


def test_only_what_is_accepted():
    """A known algorithm that is switched off is refused like an unknown one, and named."""
    message = squeezed(b"x", "gzip")
    for encoding, accepted in (("gzip", ("deflate",)), ("gzip", ()), ("snappy", ENCODINGS), (None, ENCODINGS)):
        error = fault(message, encoding, accepted=accepted)
        assert error.status is Status.INTERNAL
        assert (encoding or "") in error.reason
    assert decompress(message, "gzip", ("gzip",), 1) == b"x"


def test_the_accept_header():
    """Both ways: identity always first, unknown names and odd spacing ignored, no header accepts nothing."""
    assert accept_header(ENCODINGS) == b"identity,gzip,deflate"
    assert accept_header(()) == b"identity"
    assert accepted_by(accept_header(ENCODINGS)) == set(ENCODINGS)
    assert accepted_by(b"identity, deflate ,x-snappy-framed,\xff,,") == {"deflate"}
    assert accepted_by(b"") == accepted_by(None) == frozenset()


@pytest.mark.parametrize(
    ("compression", "accepted", "text"),
    [
        ("zip", ENCODINGS, "compression is 'zip'; 'gzip' and 'deflate' are known"),
        ("identity", ENCODINGS, "None compresses nothing"),
        (None, ("gzip", "br"), "accept_compression is"),
        (None, "gzip", "collection of names"),
        (None, ("gzip", "gzip"), "accept_compression is"),
    ],
)
def test_bad_settings(compression, accepted, text):
    """A name that is not known, and a string where names are due, say what is allowed."""
    with pytest.raises(ConfigurationError, match=text):
        check_encodings(compression, accepted)
    check_encodings("gzip", ())
    check_encodings(None, frozenset(ENCODINGS))
