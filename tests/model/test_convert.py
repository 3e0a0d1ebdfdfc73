"""Converters: inverse for every value, and an error that names the field for every broken message."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_net import model
from orbit_net.codec import Codec
from orbit_net.errors import DecodeError, EncodeError
from orbit_net.model import (
    AddressableLease,
    AddressableReference,
    Failure,
    InfoRequest,
    InfoResponse,
    Int32Key,
    Int64Key,
    Invocation,
    InvocationFailure,
    InvocationReason,
    InvocationValue,
    Message,
    NamespacedAddressableReference,
    NodeCapabilities,
    NodeId,
    NodeInfo,
    NodeLease,
    NodeStatus,
    NoKey,
    RoutedUnicast,
    StringKey,
    TimestampConverter,
    Unicast,
)
from orbit_net.proto import orbit
from orbit_net.proto.google.protobuf import Timestamp
from orbit_net.proto.orbit import shared as wire

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
words = text.filter(bool)
plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="():"), max_size=8)
int64 = st.integers(-(1 << 63), (1 << 63) - 1)
keys = st.one_of(
    st.builds(StringKey, text),
    st.builds(Int32Key, st.integers(-(1 << 31), (1 << 31) - 1)),
    st.builds(Int64Key, int64),
    st.builds(NoKey),
)
nodes = st.builds(NodeId, plain.filter(bool), plain)
references = st.builds(AddressableReference, words, keys)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
spans = st.tuples(moments, st.timedeltas(timedelta(0), timedelta(days=1)))
leases = st.builds(
    lambda node, span, token: NodeLease(node, span[0] + span[1], span[0], token), nodes, spans, st.none() | text
)
capabilities = st.builds(
    NodeCapabilities,
    st.lists(words, max_size=3).map(tuple),
    st.none() | st.integers(0, (1 << 32) - 1),
    st.dictionaries(text, text, max_size=3),
)
infos = st.one_of(
    st.builds(NodeInfo, nodes, words, st.integers(1, 65_535), capabilities, st.sampled_from(NodeStatus)),
    st.builds(lambda lease: NodeInfo(lease.node_id, "host", 1, lease=lease), leases),
)
invocations = st.builds(Invocation, references, words, text, st.sampled_from(InvocationReason))
contents = st.one_of(
    invocations,
    st.builds(InvocationValue, text),
    st.builds(InvocationFailure, text, text),
    st.builds(Failure, text),
    st.builds(InfoRequest),
    st.builds(InfoResponse, nodes),
)
targets = st.one_of(
    st.builds(Unicast, nodes), st.builds(RoutedUnicast, st.lists(nodes, min_size=1, max_size=3).map(tuple))
)
messages = st.builds(Message, int64, contents, st.none() | nodes, st.none() | targets, st.integers(0, (1 << 63) - 1))

CASES = {
    "Key": keys,
    "NodeId": nodes,
    "AddressableReference": references,
    "NamespacedAddressableReference": st.builds(NamespacedAddressableReference, text, references),
    "AddressableLease": st.builds(
        lambda reference, node, span: AddressableLease(reference, node, span[0] + span[1], span[0]),
        references,
        nodes,
        spans,
    ),
    "NodeLease": leases,
    "NodeCapabilities": capabilities,
    "NodeInfo": infos,
    "Invocation": invocations,
    "MessageTarget": targets,
    "MessageContent": contents,
    "Message": messages,
}


@pytest.mark.parametrize("name", CASES)
def test_conversion_is_inverse(name):
    """Any value comes back from its message, and from the bytes of its message, and can be hashed."""
    converter = getattr(model, f"{name}Converter")
    codec = Codec()

    @given(CASES[name])
    def check(value):
        message = converter.to_proto(value)
        assert converter.from_proto(message) == value
        data = codec.encode(message, type(message))
        assert converter.from_proto(codec.decode(data, type(message))) == value
        assert hash(converter.from_proto(message)) == hash(value)

    check()


@pytest.mark.parametrize("name", ["NodeStatus", "InvocationReason"])
def test_enums_are_inverse_and_refuse_unknown_numbers(name):
    """Each value has the wire's number; a number of a later version is refused by name."""
    converter, proto = getattr(model, f"{name}Converter"), getattr(orbit.shared, f"{name}Proto")
    for value in getattr(model, name):
        assert converter.from_proto(converter.to_proto(value)) is value
        assert int(converter.to_proto(value)) == value
    with pytest.raises(DecodeError, match=f"{name}Proto: .* 7"):
        converter.from_proto(proto(7))


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3))])))
def test_a_moment_comes_back_whatever_its_zone(moment):
    """Every aware datetime is kept to the microsecond."""
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return
    assert TimestampConverter.from_proto(TimestampConverter.to_proto(moment)) == moment


def test_nanoseconds_are_cut_to_what_a_datetime_holds():
    """999,999,999 ns are 999,999 µs, not the next second, and before 1970 as well."""
    assert TimestampConverter.from_proto(Timestamp(seconds=1, nanos=999_999_999)).microsecond == 999_999
    assert TimestampConverter.from_proto(Timestamp(seconds=-1, nanos=1)) == datetime(
        1969, 12, 31, 23, 59, 59, tzinfo=UTC
    )


def test_a_naive_datetime_is_refused():
    """Without a zone it is no moment."""
    with pytest.raises(EncodeError, match="time zone"):
        TimestampConverter.to_proto(datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (Timestamp(nanos=1_000_000_000), "Timestamp.nanos"),
        (Timestamp(nanos=-1), "Timestamp.nanos"),
        (Timestamp(seconds=1 << 62), "Timestamp.seconds"),
    ],
)
def test_a_time_out_of_range_is_an_error(message, field):
    """No moment is invented for a broken Timestamp."""
    with pytest.raises(DecodeError, match=f"^{field}: "):
        TimestampConverter.from_proto(message)


NODE = wire.NodeIdProto(key="n", namespace="s")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "message", "path"),
    [
        ("Key", wire.KeyProto(), "KeyProto.key"),
        ("NodeId", wire.NodeIdProto(namespace="s"), "NodeIdProto.key"),
        ("NodeId", wire.NodeIdProto(key="n)", namespace="(s"), "NodeIdProto"),
        ("AddressableReference", wire.AddressableReferenceProto("A"), "AddressableReferenceProto.key"),
        (
            "AddressableReference",
            wire.AddressableReferenceProto("A", wire.KeyProto()),
            "AddressableReferenceProto.key.key",
        ),
        (
            "AddressableReference",
            wire.AddressableReferenceProto("", wire.KeyProto(string_key="")),
            "AddressableReferenceProto.addressable_type",
        ),
        ("NodeLease", wire.NodeLeaseProto(), "NodeLeaseProto.node_id"),
        ("NodeLease", wire.NodeLeaseProto(node_id=NODE), "NodeLeaseProto.expires_at"),
        ("NodeLease", wire.NodeLeaseProto(node_id=NODE, expires_at=NOW), "NodeLeaseProto.renew_at"),
        (
            "NodeLease",
            wire.NodeLeaseProto(node_id=NODE, expires_at=NOW, renew_at=NOW + timedelta(1)),
            "NodeLeaseProto.renew_at",
        ),
        ("NodeInfo", wire.NodeInfoProto(), "NodeInfoProto.id"),
        ("NodeInfo", wire.NodeInfoProto(id=wire.NodeIdProto(), url="h", port=1), "NodeInfoProto.id.key"),
        ("NodeInfo", wire.NodeInfoProto(id=NODE, port=1), "NodeInfoProto.url"),
        ("NodeInfo", wire.NodeInfoProto(id=NODE, url="h", port=70_000), "NodeInfoProto.port"),
        (
            "NodeInfo",
            wire.NodeInfoProto(id=NODE, url="h", port=1, lease=wire.NodeLeaseProto(node_id=NODE)),
            "NodeInfoProto.lease.expires_at",
        ),
        ("Message", wire.MessageProto(), "MessageProto.content"),
        ("Message", wire.MessageProto(content=wire.MessageContentProto()), "MessageProto.content.content"),
        (
            "Message",
            wire.MessageProto(
                content=wire.MessageContentProto(
                    invocation_request=wire.InvocationRequestProto(
                        reference=wire.AddressableReferenceProto("A", wire.KeyProto(string_key="k"))
                    )
                )
            ),
            "MessageProto.content.invocation_request.method",
        ),
        (
            "MessageTarget",
            wire.MessageTargetProto(
                routed_unicast_target=wire.MessageTargetProtoRoutedUnicast(target=[NODE, wire.NodeIdProto()])
            ),
            "MessageTargetProto.routed_unicast_target.target[1].key",
        ),
    ],
)
def test_the_error_names_the_field(name, message, path):
    """What is missing or invalid is told with its path from the outermost message."""
    with pytest.raises(DecodeError) as caught:
        getattr(model, f"{name}Converter").from_proto(message)
    assert str(caught.value).startswith(f"{path}: ")
