"""What the compiled codec refuses, and how it says so."""

import datetime
from array import array

import pytest

import everything.everything.v1 as ours
from orbit_net.codec import Codec
from orbit_net.errors import ConfigurationError, DecodeError, EncodeError

CODEC = Codec()
Everything, Scalars, Presence, Lists, Maps = ours.Everything, ours.Scalars, ours.Presence, ours.Lists, ours.Maps


def nested(levels, inner=b""):
    """Return the bytes of so many messages within each other in the field ``inside``."""
    for _ in range(levels):
        size = len(inner)
        length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
        inner = b"\x32" + length + inner
    return inner


@pytest.mark.parametrize(
    ("data", "cls", "message"),
    [
        (b"\x18", Scalars, "Scalars.an_int32 at byte 1 of 1: field 3: the varint is longer than ten bytes or cut off"),
        (
            b"\x18\x80",
            Scalars,
            "Scalars.an_int32 at byte 1 of 2: field 3: the varint is longer than ten bytes or cut off",
        ),
        (
            b"\x18" + b"\xff" * 10 + b"\0",
            Scalars,
            "Scalars.an_int32 at byte 1 of 12: field 3: the varint is longer than",
        ),
        (b"\x80", Scalars, "Scalars at byte 0 of 1: a tag is cut off"),
        (b"\x98\x80\x80\x80\x80\x00\x01", Scalars, "Scalars at byte 0 of 7: a tag is longer than five bytes or larger"),
        (b"\x98\x80\x80\x80\x10\x01", Scalars, "Scalars at byte 0 of 6: a tag is longer than five bytes or larger"),
        (b"\x00\x01", Scalars, "Scalars at byte 0 of 2: 0 is no field number"),
        (b"\x80\x00\x01", Scalars, "Scalars at byte 0 of 3: 0 is no field number"),
        (b"\x18\x01\x07\x01", Scalars, "Scalars at byte 2 of 4: 0 is no field number"),
        (b"\x1e\x01", Scalars, "Scalars.an_int32 at byte 1 of 2: field 3: wire type 6 does not exist"),
        (b"\x1f\x01", Scalars, "Scalars.an_int32 at byte 1 of 2: field 3: wire type 7 does not exist"),
        (b"\x1c", Scalars, "Scalars.an_int32 at byte 1 of 1: field 3: an end of a group that was not begun"),
        (b"\xfb\x01", Scalars, "Scalars at byte 2 of 2: field 31: the group is broken, cut off or nested too deeply"),
        (b"\xfb\x01\xf4\x01", Scalars, "Scalars at byte 2 of 4: field 31: the group is broken"),
        (b"\x72\x05abc", Scalars, "Scalars.a_string at byte 1 of 5: field 14: 5 bytes are announced and 3 are left"),
        (
            b"\x72\x84\x80\x80\x80\x80\x00abcd",
            Scalars,
            "Scalars.a_string at byte 1 of 11: field 14: the length is longer",
        ),
        (
            b"\x72",
            Scalars,
            "Scalars.a_string at byte 1 of 1: field 14: the length is longer than five bytes or cut off",
        ),
        (b"\x72\x03ab\xff", Scalars, "Scalars.a_string at byte 4 of 5: no UTF-8: invalid start byte"),
        (b"\x72\x03\xed\xa0\x80", Scalars, "Scalars.a_string at byte 2 of 5: no UTF-8"),
        (b"\x09\0\0\0\0", Scalars, "Scalars.a_double at byte 1 of 5: field 1: 8 bytes are due and 4 are left"),
        (b"\x15\0\0", Scalars, "Scalars.a_float at byte 1 of 3: field 2: 4 bytes are due and 2 are left"),
        (b"\xfd\x01\0\0", Scalars, "Scalars at byte 2 of 4: field 31: 4 bytes are due and 2 are left"),
        (b"\x0a\x09" + bytes(9), Lists, "Lists.a_double at byte 2 of 11: 9 bytes of packed values of 8"),
        (
            b"\x1a\x02\x01\x80",
            Lists,
            "Lists.an_int32 at byte 2 of 4: a packed varint is longer than ten bytes or cut off",
        ),
        (b"\x1a\x0b" + b"\xff" * 10 + b"\0", Lists, "Lists.an_int32 at byte 2 of 13: a packed varint is longer than"),
        (
            b"\x32\x04\x0a\x02\x72\x05",
            Everything,
            "Everything.inside.scalars.a_string at byte 5 of 6: field 14: 5 bytes",
        ),
        (
            b"\x32\x06\x0a\x04\x72\x05ab",
            Everything,
            "Everything.inside.scalars.a_string at byte 5 of 8: field 14: 5 bytes",
        ),
        # What would be complete if the occurrences were joined is not.
        (b"\x0a\x01\x18\x0a\x01\x05", Everything, "Everything.scalars.an_int32 at byte 3 of 6: field 3: the varint"),
        (b"\x5a\x02\x0a\x01", Maps, "Maps.k key at byte 3 of 4: field 1: 1 bytes are announced and 0 are left"),
        (b"\x5a\x02\x12\x01", Maps, "Maps.k[] at byte 3 of 4: field 2: 1 bytes are announced and 0 are left"),
        (b"\x6a\x05\x12\x03\x72\x01\xff", Maps, "Maps.m[].a_string at byte 6 of 7: no UTF-8: invalid start byte"),
        (b"\x6a\x03\x0a\x01\xff", Maps, "Maps.m key at byte 4 of 5: no UTF-8: invalid start byte"),
        (
            b"\x0a\x07\x08\xff\xff\xff\xff\xff\x7f",
            ours.WellKnown,
            "WellKnown.instant at byte 2 of 9: no Python value for",
        ),
        (
            b"\x12\x09\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
            ours.WellKnown,
            "WellKnown.span at byte 2 of 11: no Python value for",
        ),
    ],
)
def test_bytes_that_do_not_parse(data, cls, message):
    """The error has the path of the field, the byte, and what was expected there."""
    with pytest.raises(DecodeError) as raised:
        CODEC.decode(data, cls)
    assert str(raised.value).startswith(message)


def test_nesting():
    """A hundred levels are read, groups and map entries counted among them, and one more is not."""
    group = b"\xfb\x7f" * 2 + b"\xfc\x7f" * 2
    assert CODEC.decode(nested(100), Everything).inside is not None
    assert CODEC.decode(nested(98, group), Everything)._unknown_fields == b""
    with pytest.raises(DecodeError, match=r"Everything(\.inside){101} at byte \d+ of \d+: nested too deeply"):
        CODEC.decode(nested(101), Everything)
    with pytest.raises(DecodeError, match="the group is broken, cut off or nested too deeply"):
        CODEC.decode(nested(99, group), Everything)


def test_a_merged_value_that_is_no_moment():
    """What is merged into a good timestamp may not put its nanos out of their range, which would be another moment."""
    last = ours.WellKnown(instant=datetime.datetime.max.replace(tzinfo=datetime.UTC, microsecond=0))
    with pytest.raises(DecodeError, match="nanos are 2000000000, and not from 0 to 999999999"):
        CODEC.decode(bytes(last) + b"\x0a\x06\x10\x80\xa8\xd6\xb9\x07", ours.WellKnown)


INTEGERS = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
    "sint32": (-(2**31), 2**31 - 1),
    "sint64": (-(2**63), 2**63 - 1),
    "fixed32": (0, 2**32 - 1),
    "fixed64": (0, 2**64 - 1),
    "sfixed32": (-(2**31), 2**31 - 1),
    "sfixed64": (-(2**63), 2**63 - 1),
}


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers(kind):
    """The least and the greatest number are written, what is beyond or no integer is not, wherever it stands."""
    name = f"an_{kind}" if kind[0] == "i" else f"a_{kind}"
    low, high = INTEGERS[kind]
    for cls in (Scalars, Presence):
        for value in (low, high):
            message = cls(**{name: value})
            assert getattr(CODEC.decode(CODEC.encode(message, cls), cls), name) == value
            assert CODEC.encode(message, cls) == bytes(message)
        for value in (low - 1, high + 1, 2**70, -(2**70)):
            with pytest.raises(EncodeError, match=rf"{cls.__name__}\.{name}: {value} is out of range for {kind}"):
                CODEC.encode(cls(**{name: value}), cls)
        for value in ("1", 1.5, b"1", [1], object()):
            with pytest.raises(
                EncodeError, match=rf"{cls.__name__}\.{name}: an? {kind} is due, not {type(value).__name__}"
            ):
                CODEC.encode(cls(**{name: value}), cls)
    for value in (low - 1, high + 1):
        with pytest.raises(EncodeError, match=rf"Lists\.{name}\[2\]: {value} is out of range for {kind}"):
            CODEC.encode(Lists(**{name: [0, 200 if low == 0 else -200, value]}), Lists)
    with pytest.raises(EncodeError, match=rf"Lists\.{name}\[1\]: an? {kind} is due, not str 'x'"):
        CODEC.encode(Lists(**{name: [1, "x"]}), Lists)
    with pytest.raises(EncodeError, match=rf"Scalars\.{name}: an? {kind} is due, not NoneType"):
        CODEC.encode(Scalars(**{name: None}), Scalars)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Scalars(a_float=3.5e38), "Scalars.a_float: 3.5e+38 is too large for a float of 32 bits"),
        (Scalars(a_float=10**400), "Scalars.a_float: 1000"),
        (Scalars(a_double=10**400), "Scalars.a_double: 1000"),
        (Scalars(a_double="x"), "Scalars.a_double: a double is due, not str 'x'"),
        (Scalars(a_double=None), "Scalars.a_double: a double is due, not NoneType None"),
        (Scalars(a_bool=2), "Scalars.a_bool: a bool is due, not int 2"),
        (Scalars(a_bool="x"), "Scalars.a_bool: a bool is due, not str 'x'"),
        (Scalars(a_bool=None), "Scalars.a_bool: a bool is due, not NoneType None"),
        (Scalars(a_string=b"x"), "Scalars.a_string: a str is due, not bytes b'x'"),
        (
            Scalars(a_string="a\ud800"),
            "Scalars.a_string: the string has no UTF-8: surrogates not allowed at character 1",
        ),
        (Scalars(a_string=None), "Scalars.a_string: a str is due, not NoneType None"),
        (Scalars(some_bytes="x"), "Scalars.some_bytes: bytes is due, not str 'x'"),
        (Scalars(some_bytes=[1, 2]), "Scalars.some_bytes: bytes is due, not list [1, 2]"),
        (Scalars(colour="RED"), "Scalars.colour: an enum is due, not str 'RED'"),
        (Scalars(colour=2**31), "Scalars.colour: 2147483648 is out of range for enum"),
        (Presence(scalars=3), "Presence.scalars: Scalars is due, not int 3"),
        (Presence(scalars=Presence()), "Presence.scalars: Scalars is due, not Presence Presence()"),
        (Presence(scalars=Scalars(a_string=1)), "Presence.scalars.a_string: a str is due, not int 1"),
        (Lists(a_string="abc"), "Lists.a_string: a list is due, not str 'abc'"),
        (Lists(an_int32=b"abc"), "Lists.an_int32: a list is due, not bytes b'abc'"),
        (Lists(an_int32=7), "Lists.an_int32: a list is due, not int 7"),
        (Lists(a_double={1.0: 2}), "Lists.a_double: a list is due, not dict {1.0: 2}"),
        (Lists(a_double=[1.0, "x"]), "Lists.a_double[1]: a double is due, not str 'x'"),
        (Lists(a_float=[1.0, 1e39]), "Lists.a_float[1]: 1e+39 is too large for a float of 32 bits"),
        (Lists(a_bool=[True, 2]), "Lists.a_bool[1]: a bool is due, not int 2"),
        (Lists(scalars=[Scalars(), None]), "Lists.scalars[1]: Scalars is due, not NoneType None"),
        (Lists(scalars=[Scalars(a_bool=3)]), "Lists.scalars[0].a_bool: a bool is due, not int 3"),
        (Lists(maybe=["a", None]), "Lists.maybe[1].value: a str is due, not NoneType None"),
        (Lists(instants=[None]), "Lists.instants[0]: a datetime is due, not NoneType None"),
        (Maps(a=[1]), "Maps.a: a mapping is due, not list [1]"),
        (Maps(a={"x": 1.0}), "Maps.a key: an int32 is due, not str 'x'"),
        (Maps(a={2**31: 1.0}), "Maps.a key: 2147483648 is out of range for int32"),
        (Maps(a={1: "x"}), "Maps.a[1]: a double is due, not str 'x'"),
        (Maps(m={"k": Scalars(a_bool=3)}), "Maps.m['k'].a_bool: a bool is due, not int 3"),
        (Maps(m={"k": None}), "Maps.m['k']: Scalars is due, not NoneType None"),
        (Maps(o={"k": 1}), "Maps.o['k']: a timedelta is due, not int 1"),
        (ours.WellKnown(a_bool=3), "WellKnown.a_bool.value: a bool is due, not int 3"),
        (ours.WellKnown(an_int32=2**31), "WellKnown.an_int32.value: 2147483648 is out of range for int32"),
        (ours.WellKnown(span=1.5), "WellKnown.span: a timedelta is due, not float 1.5"),
        (ours.WellKnown(instant=datetime.date(2000, 1, 1)), "WellKnown.instant: a datetime is due, not date"),
        (ours.WellKnown(instant=datetime.datetime(2000, 1, 1)), "WellKnown.instant: the datetime 2000-01-01 00:00:00"),
        (ours.WellKnown(any="x"), "WellKnown.any: Any is due, not str 'x'"),
        (Everything(number="x"), "Everything.number: an int32 is due, not str 'x'"),
        (Everything(inside=Everything(many=[Everything(class_="x")])), "Everything.inside.many[0].class_: an int32 is"),
    ],
)
def test_values_that_do_not_fit(message, text):
    """The error has the path of the field, what it takes, and what was there."""
    with pytest.raises(EncodeError) as raised:
        CODEC.encode(message, type(message))
    assert str(raised.value).startswith(text)


def test_values_that_stand_for_others():
    """What Python takes for a number, a bool or bytes is taken here too."""
    message = Scalars(a_double=1, a_bool=1, an_int32=True, some_bytes=memoryview(array("H", [1])), colour=2)
    data = CODEC.encode(message, Scalars)
    found = CODEC.decode(data, Scalars)
    assert (found.a_double, found.a_bool, found.an_int32, found.colour) == (1.0, True, 1, 2)
    assert len(found.some_bytes) == 2
    assert CODEC.encode(Scalars(a_bool=0, a_double=0), Scalars) == b""
    assert CODEC.encode(Lists(a_bool=(0, 1), an_int32=range(3)), Lists) == CODEC.encode(
        Lists(a_bool=[False, True], an_int32=[0, 1, 2]), Lists
    )
    assert CODEC.decode(bytearray(data), Scalars) == CODEC.decode(memoryview(data), Scalars) == found


def test_a_message_of_another_class():
    """The error names what the method takes and what came."""
    with pytest.raises(EncodeError, match="the method takes Scalars, not Lists"):
        CODEC.encode(Lists(), Scalars)


def test_a_message_within_itself():
    """Endless messages end in an error."""
    message = Everything()
    message.inside = message
    with pytest.raises(EncodeError, match="Everything cannot be encoded: nested too deeply"):
        CODEC.encode(message, Everything)


def test_too_many_elements():
    """The error says how many there may be and where the first one too many stands."""
    codec = Codec(max_elements=10)
    assert len(codec.decode(b"\x3a\x00" * 5, Everything).many) == 5
    with pytest.raises(DecodeError, match=r"Everything at byte 10 of 200: more than 10 elements"):
        codec.decode(b"\x3a\x00" * 100, Everything)
    with pytest.raises(ConfigurationError, match="max_elements is 0; it must be at least 1"):
        Codec(max_elements=0)
