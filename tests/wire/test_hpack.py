"""Header blocks: templates, the memories of both sides, table sizes, limits (RFC 7541; RFC 9113 §4.3, §8.2)."""

from random import Random

import hpack
import pytest

import rawframes as raw
from orbit_net.errors import RemoteProtocolError
from orbit_net.wire import Connection, HeaderTemplate
from orbit_net.wire.events import HeadersReceived, TrailersReceived
from orbit_net.wire.hpack import HeaderDecoder, HeaderEncoder, list_size
from wirepair import RESPONSE, TRAILERS, Pair, feed

pytestmark = pytest.mark.once

PSEUDO = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a/b"), (b":authority", b"test")]


def template(number, size=20):
    """Return a request template unlike the others."""
    return HeaderTemplate([*PSEUDO, (b"x-template-%d" % number, b"v" * size), (b"te", b"trailers")])


def fields_of(block):
    """Return all the fields of a decoded block in order."""
    return [*block.pseudo.items(), *block.fields]


# --- the encoder, against the decoder of another library ----------------------------------------------


def test_the_same_template_costs_a_few_bytes_from_the_second_time_on():
    """Constant fields are in the table after the first block (RFC 7541 §2.3.2), and the bytes are kept."""
    encoder, decoder, mine = HeaderEncoder(), hpack.Decoder(), template(1)
    blocks = [encoder.encode(mine) for _ in range(3)]
    assert len(blocks[0]) > 40
    assert len(blocks[1]) <= len(mine.fields)
    assert blocks[2] == blocks[1]
    for block in blocks:
        assert decoder.decode(block, raw=True) == list(mine.fields)


@pytest.mark.parametrize(("size", "times"), [(10, 2_000), (200, 1_000), (900, 500), (5_000, 100)])
def test_hundreds_of_templates_are_right_when_the_table_is_full(size, times):
    """Whatever the order of use and however full the table, each block says what was asked for."""
    random = Random(size)
    encoder, decoder, ours = HeaderEncoder(), hpack.Decoder(), HeaderDecoder(2**16)
    decoder.max_header_list_size = 2**16
    templates = [template(number, size) for number in range(300)]
    for _ in range(times):
        mine = random.choice(templates)
        extra = [(b"x-extra", b"%d" % random.randint(0, 9))] * random.randint(0, 2)
        early = [(b"grpc-timeout", b"%dS" % random.randint(1, 9))] * random.randint(0, 1)
        block = encoder.encode(mine, extra, early)
        wanted = [*mine.fields[:4], *early, *mine.fields[4:], *extra]
        assert decoder.decode(block, raw=True) == wanted
        assert fields_of(ours.decode(block)) == wanted


def test_a_full_table_is_left_alone():
    """When the table is full nothing is added any more, so what was remembered stays valid."""
    encoder, decoder = HeaderEncoder(), hpack.Decoder()
    for number in range(200):
        decoder.decode(encoder.encode(template(number, 100)))
    before = list(decoder.header_table.dynamic_entries)
    for number in range(200, 300):
        decoder.decode(encoder.encode(template(number, 100)))
    assert list(decoder.header_table.dynamic_entries) == before


def test_random_table_sizes_between_random_blocks():
    """The peer may change SETTINGS_HEADER_TABLE_SIZE at any time, to 0 and back (RFC 7541 §4.2, §6.3)."""
    random = Random(11)
    encoder, decoder, ours = HeaderEncoder(), hpack.Decoder(), HeaderDecoder(2**16)
    templates = [template(number, random.randint(0, 300)) for number in range(50)]
    for _ in range(3_000):
        for _ in range(random.choice((0, 0, 0, 1, 2, 3))):
            size = random.choice((0, 0, 1, 100, 500, 4_095, 4_096, 10_000, 2**32 - 1))
            encoder.limit_table(size)
            decoder.max_allowed_table_size = min(size, 4_096)
        mine = random.choice(templates)
        block = encoder.encode(mine, [(b"x", b"y")] * random.randint(0, 1))
        decoded = decoder.decode(block, raw=True)
        assert [field for field in decoded if field != (b"x", b"y")] == list(mine.fields)
        assert fields_of(ours.decode(block)) == decoded


def test_a_change_of_the_table_size_is_said_once():
    """The size update stands at the beginning of the next block, and of no later one (RFC 7541 §4.2)."""
    encoder, mine = HeaderEncoder(), template(1)
    encoder.encode(mine)
    encoder.limit_table(0)
    first, second = encoder.encode(mine), encoder.encode(mine)
    assert first[:1] == b"\x20"
    assert second == first[1:]
    encoder.limit_table(100)
    encoder.limit_table(0)
    encoder.limit_table(4_096)
    assert encoder.encode(mine)[:2] in (b"\x20\x3f", b"\x3f\x45")


def test_a_larger_table_than_ours_is_not_used():
    """A peer that offers a table of gigabytes makes us keep no more than 4 KiB."""
    encoder, decoder = HeaderEncoder(), hpack.Decoder()
    encoder.limit_table(2**32 - 1)
    for number in range(100):
        assert decoder.decode(encoder.encode(template(number, 100)), raw=True)
    assert decoder.header_table.maxsize == 4_096


@pytest.mark.parametrize("name", [b"authorization", b"cookie", b"proxy-authorization", b"set-cookie", b"x-api-key"])
def test_secrets_enter_no_table(name):
    """Credentials travel as never-indexed literals, given as extra, early or in a template (RFC 7541 §7.1.3)."""
    secret = (name, b"Bearer 0123456789")
    for mine, extra, early in (
        (HeaderTemplate(PSEUDO), [secret], []),
        (HeaderTemplate(PSEUDO), [], [secret]),
        (HeaderTemplate([*PSEUDO, secret]), [], []),
    ):
        encoder, decoder = HeaderEncoder(), hpack.Decoder()
        for _ in range(3):
            fields = decoder.decode(encoder.encode(mine, extra, early), raw=True)
            assert secret in fields
            [field] = [field for field in fields if field[0] == name]
            assert isinstance(field, hpack.NeverIndexedHeaderTuple)
        assert all(entry[0] != name for entry in decoder.header_table.dynamic_entries)


def test_extra_fields_enter_no_table():
    """What varies from call to call is a literal, so it evicts nothing."""
    encoder, decoder, mine = HeaderEncoder(), hpack.Decoder(), template(1)
    decoder.decode(encoder.encode(mine))
    before = list(decoder.header_table.dynamic_entries)
    for number in range(1_000):
        extra = [(b"x-request-id", b"%d" % number), (b"long" * 50, b"v" * number)]
        assert decoder.decode(encoder.encode(mine, extra), raw=True)[-2:] == extra
    assert list(decoder.header_table.dynamic_entries) == before


# --- the decoder, against the encoder of another library ----------------------------------------------


def test_blocks_of_a_stranger_are_read_as_it_reads_them():
    """Random lists through hpack's encoder, table sizes included: the same fields as hpack's own decoder."""
    random = Random(2)
    encoder, theirs, ours = hpack.Encoder(), hpack.Decoder(), HeaderDecoder(2**16)
    names = [b"te", b"x-a", b"x-b", b"grpc-status", b"content-type"]
    for _ in range(3_000):
        if random.random() < 0.05:
            encoder.header_table_size = random.choice((0, 60, 200, 4_096))
        fields = [
            (random.choice(names), b"%d" % random.randint(0, 4) * random.choice((1, 1, 30)), random.random() < 0.1)
            for _ in range(random.randint(0, 5))
        ]
        block = encoder.encode([*((name, value, False) for name, value in PSEUDO[:2]), *fields])
        assert fields_of(ours.decode(block)) == theirs.decode(block, raw=True)


def test_a_block_that_was_seen_is_the_same_object_while_the_table_is_unchanged():
    """Equal bytes are not decoded twice, and never wrongly: any change of the table forgets them."""
    ours = HeaderDecoder(2**16)
    add_one, add_two = b"\x40\x01x\x011", b"\x40\x01x\x012"  # RFC 7541 §6.2.1: with indexing
    newest = b"\xbe"  # the newest entry
    assert ours.decode(add_one).fields == [(b"x", b"1")]
    first = ours.decode(newest)
    assert ours.decode(newest) is first
    assert ours.decode(add_two).fields == [(b"x", b"2")]
    assert ours.decode(newest).fields == [(b"x", b"2")]
    ours.decode(add_two)
    assert ours.decode(b"\xbf").fields == [(b"x", b"2")], "an equal field inserted again shifts the others"
    ours.decode(b"\x20")
    with pytest.raises(RemoteProtocolError):
        ours.decode(newest)


def test_an_insertion_that_evicts_is_seen_although_the_table_looks_the_same():
    """A table full of two entries: the newest again pushes out the other, and neither length nor front change."""
    ours = HeaderDecoder(2**16)
    ours.decode(b"\x3f\x25" + b"\x40\x01x\x012" + b"\x40\x01x\x011")  # size 68, then x: 2, then x: 1
    older = b"\xbf"
    assert ours.decode(older).fields == ours.decode(older).fields == [(b"x", b"2")]
    ours.decode(b"\x40\x01x\x011")
    assert ours.decode(older).fields == [(b"x", b"1")]


def test_the_memory_of_blocks_is_bounded():
    """However many different blocks come, few are kept, and large ones never."""
    ours = HeaderDecoder(2**16)
    for number in range(10_000):
        ours.decode(raw.block([("x", str(number))]))
        ours.decode(raw.block([("x", str(number) * 200)]))
    assert sum(len(block) for block in ours._known) < 100_000


@pytest.mark.parametrize(
    ("block", "code"),
    [
        pytest.param(b"\x80", "COMPRESSION_ERROR", id="index 0 (§6.1)"),
        pytest.param(b"\xbe", "COMPRESSION_ERROR", id="index beyond the table (§2.3.3)"),
        pytest.param(b"\x00\x05ab", "COMPRESSION_ERROR", id="string cut short (§5.2)"),
        pytest.param(b"\x40", "COMPRESSION_ERROR", id="block cut short"),
        pytest.param(b"\x7f" + b"\xff" * 20_000, "COMPRESSION_ERROR", id="endless integer (§5.1)"),
        pytest.param(b"\x00\x81\x00\x01a", "COMPRESSION_ERROR", id="Huffman padding (§5.2)"),
        pytest.param(b"\x00\x84\xff\xff\xff\xff\x01a", "COMPRESSION_ERROR", id="Huffman end of string (§5.2)"),
        pytest.param(b"\x82\x20", "COMPRESSION_ERROR", id="size update after a field (§4.2)"),
        pytest.param(b"\x3f\xe2\x1f\x82", "COMPRESSION_ERROR", id="size above the setting (§6.3)"),
        pytest.param(raw.block([("x", "y" * 40_000)]), "ENHANCE_YOUR_CALM", id="a huge value"),
        pytest.param(raw.block([("x", "")] * 1_000), "ENHANCE_YOUR_CALM", id="many fields"),
    ],
)
def test_a_block_that_cannot_be_read_ends_the_connection(block, code):
    """RFC 9113 §4.3: COMPRESSION_ERROR for the connection; a list that is too large is a flood."""
    with pytest.raises(RemoteProtocolError) as caught:
        HeaderDecoder(32_768).decode(block)
    assert caught.value.error_code.name == code
    assert " 0x" not in str(caught.value), "no addresses for the peer to read"


def test_a_bomb_of_indexed_fields_is_stopped_while_it_is_decoded():
    """A value of 4,000 bytes in the table, named by one byte each time: the list limit counts it every time
    (CVE-2016-6581)."""
    ours = HeaderDecoder(32_768)
    ours.decode(b"\x40\x01x" + b"\x7f\xa1\x1e" + b"v" * 4_000)
    assert ours.decode(b"\xbe" * 8).size == 8 * 4_033
    with pytest.raises(RemoteProtocolError):
        ours.decode(b"\xbe" * 16_000)


# --- what a list says ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ([("X-Upper", "1")], "X-Upper"),
        ([("", "1")], "empty"),
        ([("with space", "1")], "with space"),
        ([("colon:inside", "1")], "colon"),
        ([("ünicode", "1")], "8.2.1"),
        ([("connection", "close")], "connection"),
        ([("keep-alive", "5")], "keep-alive"),
        ([("proxy-connection", "x")], "proxy-connection"),
        ([("transfer-encoding", "chunked")], "transfer-encoding"),
        ([("upgrade", "h2c")], "upgrade"),
        ([("te", "gzip")], "te"),
        ([("x", "a\0b")], "NUL"),
        ([("x", "a\rb")], "NUL"),
        ([("x", "a\nb")], "NUL"),
        ([(":path", "/a\n")], "NUL"),
        ([("x", "1"), (":path", "/")], "follows"),
        ([(":path", "/"), (":path", "/")], "repeated"),
    ],
)
def test_a_malformed_list_says_what_is_wrong(fields, fault):
    """RFC 9113 §8.2.1, §8.2.2, §8.3: names in lower case, no connection-specific fields, pseudo headers first, once."""
    assert fault in HeaderDecoder(32_768).decode(raw.block(fields)).fault


def test_a_well_formed_list_has_no_fault():
    """Any field of RFC 9110 §5.1 in lower case is fine, and so is any visible or high byte in a value."""
    fields = [(":path", "/x"), ("te", "trailers"), ("!#$%&'*+-.^_`|~09az", "\x01\t\xff value "), ("x", "")]
    block = HeaderDecoder(32_768).decode(raw.block(fields))
    assert block.fault is None
    assert block.pseudo == {b":path": b"/x"}
    assert block.get(b"x") == b""
    assert block.get(b"y") is None
    assert block.size == list_size(fields_of(block))
    assert repr(block) == "<HeaderBlock :path, te, !#$%&'*+-.^_`|~09az, x>"


def test_the_size_of_a_list_counts_thirty_two_bytes_a_field():
    """RFC 9113 §6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE."""
    assert list_size([(b"ab", b"cde"), (b"", b"")]) == 5 + 2 * 32
    assert template(1).size == list_size(template(1).fields)


# --- on a connection ----------------------------------------------------------------------------------


def test_a_long_block_travels_in_continuation_frames():
    """Metadata larger than a frame becomes HEADERS and CONTINUATION with nothing between (RFC 9113 §6.10)."""
    for chunk in (None, 1):
        pair = Pair()
        pair.client.wire.receive_data(raw.settings((6, 2**20)))
        pair.pump()
        extra = [(b"x-%d" % number, b"v" * 900) for number in range(25)]
        stream_id = pair.open(end=True, extra=extra)
        sent = pair.client.wire.data_to_send()
        kinds = [(kind, flags) for kind, flags, number, _ in raw.split(sent) if number == stream_id]
        assert kinds[:2] == [(raw.HEADERS, 0), (raw.CONTINUATION, raw.END_HEADERS)]
        pair.server.take(feed(pair.server.wire, sent, chunk))
        assert pair.server.of(HeadersReceived)[0].block.fields[-25:] == extra


def test_a_block_in_crumbs_is_put_together():
    """A block may be cut anywhere, with empty frames between (RFC 9113 §4.3)."""
    block = raw.block(raw.REQUEST)
    frames = raw.frame(raw.HEADERS, raw.END_STREAM, 1) + b"".join(
        raw.frame(raw.CONTINUATION, 0, 1, block[start : start + 3]) for start in range(0, len(block), 3)
    )
    server = Connection(client=False)
    events = server.receive_data(
        raw.PREFACE + raw.settings() + frames + raw.frame(raw.CONTINUATION, raw.END_HEADERS, 1)
    )
    assert [type(event).__name__ for event in events[1:]] == ["HeadersReceived", "StreamEnded"]
    assert fields_of(events[1].block) == [(name.encode(), value.encode()) for name, value in raw.REQUEST]


def test_the_table_stays_in_step_whoever_wants_the_headers():
    """Blocks for streams that are refused, reset, ignored after a GOAWAY or malformed are decoded all the same."""
    server = Connection(client=False)
    encoder = hpack.Encoder()

    def request(stream_id, *more):
        return raw.headers(stream_id, encoder.encode([*raw.REQUEST, *more]), end=True)

    server.receive_data(raw.PREFACE + raw.settings() + request(1, ("x-1", "one")) + request(3, ("Bad", "x")))
    server.reset_stream(1, raw.CANCEL)
    server.release(1)
    server.receive_data(raw.headers(1, encoder.encode([("x-late", "late")]), end=True))
    events = server.receive_data(request(5, ("x-1", "one"), ("x-late", "late"), ("x-5", "five")))
    assert events[0].block.fields[2:] == [(b"x-1", b"one"), (b"x-late", b"late"), (b"x-5", b"five")]
    server.goaway()
    server.receive_data(request(7, ("x-ignored", "seven")))
    server.receive_data(raw.headers(5, encoder.encode([("x-ignored", "seven")]), end=True))
    assert server.failure is None


def test_a_settings_change_in_the_middle_of_calls_keeps_both_ends_in_step():
    """Table size 0 and back while calls go on: every header list arrives as it was sent."""
    pair = Pair()
    random = Random(4)
    templates = [template(number, random.randint(0, 100)) for number in range(80)]
    for _ in range(300):
        if random.random() < 0.2:
            size = random.choice((0, 0, 50, 300, 4_096, 2**20))
            pair.client.take(pair.client.wire.receive_data(raw.settings((1, size))))
        mine = random.choice(templates)
        stream_id = pair.open(template=mine, end=True)
        pair.pump()
        assert fields_of(pair.server.of(HeadersReceived)[-1].block) == list(mine.fields)
        extra = [(b"x-status", b"%d" % stream_id)]
        pair.server.wire.send_headers(stream_id, RESPONSE)
        pair.server.wire.send_trailers(stream_id, TRAILERS, extra)
        pair.pump()
        assert pair.client.of(TrailersReceived)[-1].block.fields == [*TRAILERS.fields, *extra]
        pair.client.wire.release(stream_id)
        pair.server.wire.release(stream_id)


def test_trailers_are_encoded_when_they_are_sent():
    """Trailers that wait for window do not put the tables out of step with headers that overtake them."""
    pair = Pair()
    waiting = pair.open(end=True)
    pair.pump()
    templates = [HeaderTemplate([(b"x-status-%d" % number, b"new")]) for number in range(40)]
    pair.answer(waiting, bytes(300_000), trailers=templates[0])
    pair.pump()
    for number in range(1, 40):
        stream_id = pair.open(end=True)
        pair.pump()
        pair.answer(stream_id, trailers=templates[number])
        pair.pump()
        assert pair.client.of(TrailersReceived, stream_id)[0].block.fields == list(templates[number].fields)
    pair.client.wire.expect_message(waiting)
    pair.pump(consume=True)
    assert pair.client.of(TrailersReceived, waiting)[0].block.fields == list(templates[0].fields)
