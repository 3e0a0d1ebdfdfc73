"""Messages out of DATA payloads (PROTOCOL-HTTP2, "Length-Prefixed-Message")."""

import itertools
import tracemalloc
from random import Random

import pytest
from grpclib.const import Status
from hypothesis import given
from hypothesis import strategies as st

from orbit_net.wire.assembler import Assembler, CompressedMessage, MessageError, pack_prefix
from wirefuzz import fuzz

pytestmark = pytest.mark.once


def feed(assembler, *chunks, around=b""):
    """Feed chunks, each in the middle of a larger received one."""
    messages = []
    for chunk in chunks:
        assembler.feed(around + chunk + around, len(around), len(around) + len(chunk), messages)
    return messages


def framed(*messages, flag=0):
    """Return messages with their prefixes."""
    return b"".join(pack_prefix(flag, len(message)) + message for message in messages)


def cut(data, points):
    """Cut data at some points."""
    edges = [0, *sorted(point % (len(data) + 1) for point in points), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if end > start]


@given(
    st.lists(st.one_of(st.binary(max_size=30), st.integers(900, 5_000).map(bytes)), max_size=8),
    st.lists(st.integers(0, 10**6), max_size=12),
    st.sampled_from([b"", b"frame hd!", bytes(5_000)]),
)
@fuzz(300)
def test_messages_are_the_same_however_they_are_cut(messages, points, around):
    """Any cuts, inside prefixes too, and any surroundings give the same messages."""
    assembler = Assembler(10_000)
    got = feed(assembler, *cut(framed(*messages), points), around=around)
    assert got == messages
    assert {type(message) for message in got} <= {bytes}
    assert assembler.between_messages


@given(st.binary(max_size=60), st.lists(st.integers(0, 100), max_size=6))
@fuzz(300)
def test_any_bytes_give_messages_or_one_status(data, points):
    """Garbage ends in a MessageError, at the same place and with the same messages before it however it is cut."""

    def outcome(chunks):
        assembler, messages = Assembler(20), []
        assembler.compression_allowed = True
        try:
            for chunk in chunks:
                assembler.feed(chunk, 0, len(chunk), messages)
        except MessageError as error:
            return messages, error.status, error.reason
        return messages, assembler.missing, assembler.between_messages

    assert outcome(cut(data, points)) == outcome([data] if data else [])


def test_the_missing_bytes_are_known_as_soon_as_the_prefix_is():
    """``missing`` is what a reader may be lent."""
    assembler = Assembler(10_000)
    assert assembler.between_messages
    feed(assembler, b"\0\0\0\1")
    assert (assembler.missing, assembler.between_messages) == (0, False)
    feed(assembler, b"\0")
    assert (assembler.missing, assembler.between_messages) == (256, False)
    feed(assembler, bytes(200))
    assert assembler.missing == 56
    assert feed(assembler, bytes(56)) == [bytes(256)]
    assert assembler.between_messages


@pytest.mark.parametrize("size", [1_001, 2**31, 2**32 - 1])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_message_over_the_limit_is_refused_at_its_prefix(size, chunked):
    """Up to 4 GiB may be declared: nothing of it is kept (grpclib accepts it)."""
    assembler = Assembler(1_000)
    prefix = pack_prefix(0, size)
    with pytest.raises(MessageError) as caught:
        feed(assembler, *([prefix[:3], prefix[3:]] if chunked else [prefix]))
    assert caught.value.status is Status.RESOURCE_EXHAUSTED
    assert str(size) in caught.value.reason
    assert feed(Assembler(1_000), framed(bytes(1_000))) == [bytes(1_000)]


def test_what_came_before_a_bad_message_is_kept():
    """The good messages of the same chunk are delivered."""
    messages = []
    data = framed(b"good", b"fine") + framed(b"bad", flag=2)
    with pytest.raises(MessageError):
        Assembler(1_000).feed(data, 0, len(data), messages)
    assert messages == [b"good", b"fine"]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("flag", "allowed"), [(1, False), (2, False), (2, True), (255, True)])
def test_a_wrong_flag_is_internal(flag, allowed, chunked):
    """Flag 1 needs a grpc-encoding header; above 1 there are none."""
    assembler = Assembler(1_000)
    assembler.compression_allowed = allowed
    data = framed(b"x", flag=flag)
    with pytest.raises(MessageError) as caught:
        feed(assembler, *([data[:2], data[2:]] if chunked else [data]))
    assert caught.value.status is Status.INTERNAL


@pytest.mark.parametrize("chunk", [1, 3, 6, 7, 14, 100])
def test_compressed_messages_keep_their_mark(chunk):
    """The type says that a message is still to be inflated, whether it was cut or not."""
    assembler = Assembler(1_000)
    assembler.compression_allowed = True
    data = framed(b"squeezed", b"", flag=1) + framed(b"plain", b"")
    got = feed(assembler, *(data[start : start + chunk] for start in range(0, len(data), chunk)))
    assert [type(message) for message in got] == [CompressedMessage, CompressedMessage, bytes, bytes]
    assert got == [b"squeezed", b"", b"plain", b""]


@pytest.mark.parametrize("chunk", [1, 2, 7, 100])
@pytest.mark.parametrize("around", [0, 9, 60_000])
def test_a_message_in_crumbs_does_not_cost_many_times_its_size(chunk, around):
    """However small the pieces, and however large the chunks they come in, little more than the message is held."""
    size = 100_000 if around < 1_000 else 2_000
    assembler, messages = Assembler(size), []
    prefix = pack_prefix(0, size)
    assembler.feed(prefix, 0, 5, messages)
    tracemalloc.start()
    try:
        for _ in range(size // chunk - 1):
            received = bytes(around + chunk)
            assembler.feed(received, around, around + chunk, messages)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * size + 100_000


def test_a_large_message_is_copied_once():
    """Pieces as large as their chunks are kept as they are, and joined when the message is complete."""
    size = 8 * 2**20
    assembler, messages = Assembler(size), []
    assembler.feed(pack_prefix(0, size), 0, 5, messages)
    chunks = [bytes(65_536) for _ in range(size // 65_536)]
    tracemalloc.start()
    try:
        for chunk in chunks[:-1]:
            assembler.feed(chunk, 0, len(chunk), messages)
        held, _ = tracemalloc.get_traced_memory()
        assert held < 200_000, "only views so far"
        assembler.feed(chunks[-1], 0, 65_536, messages)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size + 500_000
    assert messages == [bytes(size)]


def test_random_traffic_in_one_byte_pieces():
    """The slowest way to send gives the same messages."""
    random = Random(1)
    sent = [random.randbytes(random.choice((0, 1, 5, 300))) for _ in range(100)]
    data = framed(*sent)
    assert feed(Assembler(1_000), *(data[index : index + 1] for index in range(len(data)))) == sent
