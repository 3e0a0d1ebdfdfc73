"""Messages of a proto with every feature, against betterproto2's own code and google.protobuf's parser."""

from unittest import mock

import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import everything.everything.v1 as ours
from everything_google import google
from everything_strategies import messages, mutations
from orbit_net.codec import Codec
from orbit_net.errors import DecodeError

CODEC = Codec()
WRAPPERS = {
    f"google.protobuf.{name}Value"
    for name in ["Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes"]
}
CLASSES = ["Scalars", "Presence", "Lists", "Maps", "WellKnown", "Everything", "Message"]

few = settings(max_examples=60, suppress_health_check=list(HealthCheck))
classes = pytest.mark.parametrize("name", CLASSES)


@classes
@few
@given(st.data())
def test_round_trip(name, data):
    """Decoding gives what was encoded, encoding gives betterproto2's bytes, and google.protobuf reads them."""
    cls, theirs = getattr(ours, name), getattr(google, name)
    message = data.draw(messages(cls))
    encoded = CODEC.encode(message, cls)
    assert encoded == bytes(message)
    assert CODEC.decode(encoded, cls) == message
    assert cls.parse(encoded) == message
    read = theirs.FromString(encoded)
    assert not len(UnknownFieldSet(read))
    assert CODEC.decode(read.SerializeToString(), cls) == message


@classes
@few
@given(st.data())
def test_accidents(name, data):
    """Bytes after an accident give what google.protobuf makes of them, or a DecodeError with a reason."""
    cls, theirs = getattr(ours, name), getattr(google, name)
    damaged = data.draw(mutations(cls))
    check(damaged, cls, theirs)


@classes
@few
@given(st.binary(max_size=40))
def test_noise(name, damaged):
    """The same for any bytes."""
    check(damaged, getattr(ours, name), getattr(google, name))


def check(data, cls, theirs):
    """Compare the outcome of both parsers; what they find must be the same message."""
    try:
        read = theirs.FromString(data)
    except Exception:  # noqa: BLE001 - google.protobuf's parsers raise various things
        read = None
    message, reason = outcome(data, cls)
    counted, again = outcome(data, cls, count=True)
    assert reason == again
    if message is None:
        assert "what was merged" not in reason or "range" in reason
        # We refuse more: what Python's own types cannot hold, and field number 0 wherever it stands.
        assert read is None or "no Python value" in reason or "the group is broken" in reason
        return
    assert read is not None, f"google.protobuf refuses {data!r}"
    if has_odd_entry(read):
        return
    normalise(read)
    for found in (message, counted):
        back = theirs.FromString(CODEC.encode(found, cls))
        normalise(back)
        assert back.SerializeToString(deterministic=True) == read.SerializeToString(deterministic=True)


def outcome(data, cls, *, count=False):
    """Return the message or the text of the error, by the counting decoder or by the other one."""
    small = 0 if count else len(data)
    try:
        with mock.patch("orbit_net.codec.codec._SMALL", small):
            return Codec().decode(data, cls), None
    except DecodeError as error:
        return None, str(error)


def has_odd_entry(message):
    """Whether upb has put a whole map entry aside for a field in it that it does not know; we drop only that field."""
    maps = {field.number for field in message.DESCRIPTOR.fields if is_map(field)}
    if any(unknown.field_number in maps for unknown in UnknownFieldSet(message)):
        return True
    return any(has_odd_entry(nested) for _, nested in nested_of(message))


def normalise(message):
    """Bring wrapped values to what a datetime, a timedelta or a plain value holds of them."""
    for _, nested in nested_of(message):
        name = nested.DESCRIPTOR.full_name
        if name == "google.protobuf.Timestamp":
            micros = nested.seconds * 10**6 + nested.nanos // 1000
            nested.Clear()
            nested.seconds, nested.nanos = micros // 10**6, micros % 10**6 * 1000
        elif name == "google.protobuf.Duration":
            micros = nested.seconds * 10**6 + round(nested.nanos / 1000)
            sign = -1 if micros < 0 else 1
            nested.Clear()
            nested.seconds, nested.nanos = sign * (abs(micros) // 10**6), sign * (abs(micros) % 10**6) * 1000
        elif name in WRAPPERS:
            nested.DiscardUnknownFields()
        normalise(nested)


def nested_of(message):
    """Yield each message within a message, with its field."""
    for field, value in message.ListFields():
        if is_map(field):
            if field.message_type.fields_by_name["value"].message_type is not None:
                yield from ((field, value[key]) for key in value)
        elif field.message_type is not None:
            yield from ((field, one) for one in (value if field.is_repeated else [value]))


def is_map(field):
    """Whether a field of google.protobuf is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry
