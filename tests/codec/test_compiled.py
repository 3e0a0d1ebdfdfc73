"""What protobuf's specification says about odd but valid input, and what the compiled functions do with Python's."""

import datetime
import gc
import math
import weakref
from dataclasses import dataclass

import betterproto2
import pytest
from google.protobuf.wrappers_pb2 import StringValue

import everything.everything.v1 as ours
from everything.google.protobuf import Any, ListValue, Struct, Value
from everything_google import google
from orbit_net.codec import Codec, source_of
from orbit_net.codec.fields import is_compilable

CODEC = Codec()
Everything, Scalars, Presence, Lists, Maps = ours.Everything, ours.Scalars, ours.Presence, ours.Lists, ours.Maps


def decode(data, cls):
    """Return the message."""
    return CODEC.decode(data, cls)


def encode(message):
    """Return the bytes."""
    return CODEC.encode(message, type(message))


def test_a_nested_message_in_pieces_is_merged():
    """Single values: the last one; lists are joined; nested messages are merged in turn."""
    first = Everything(scalars=Scalars(an_int32=1, a_string="a"), inside=Everything(lists=Lists(an_int32=[1])))
    second = Everything(scalars=Scalars(an_int32=2, a_bool=True), inside=Everything(lists=Lists(an_int32=[2])))
    found = decode(encode(first) + encode(second), Everything)
    assert found.scalars == Scalars(an_int32=2, a_string="a", a_bool=True)
    assert found.inside == Everything(lists=Lists(an_int32=[1, 2]))


def test_unknown_fields_of_a_message_in_pieces():
    """They are kept in order, and are bytes in the end."""
    data = b"\x0a\x03\xf8\x01\x01\x0a\x00\x0a\x03\xf8\x01\x02" + b"\x32\x05\x0a\x03\xf8\x01\x03" * 2
    found = decode(data, Everything)
    assert found.scalars._unknown_fields == b"\xf8\x01\x01\xf8\x01\x02"
    assert found.inside.scalars._unknown_fields == b"\xf8\x01\x03\xf8\x01\x03"
    assert encode(found) == b"\x0a\x06\xf8\x01\x01\xf8\x01\x02\x32\x08\x0a\x06\xf8\x01\x03\xf8\x01\x03"


def test_the_last_member_of_a_oneof_wins():
    """An earlier member is cleared, also by an empty later one; a message is merged with itself only."""
    number, text, flag = b"\x40\x05", b"\x4a\x00", b"\x70\x00"
    assert decode(number + text, Everything) == Everything(text="")
    assert decode(text + flag, Everything) == Everything(flag=False)
    part = encode(Everything(scalars_choice=Scalars(an_int32=1)))
    other = encode(Everything(scalars_choice=Scalars(a_bool=True)))
    assert decode(part + other, Everything).scalars_choice == Scalars(an_int32=1, a_bool=True)
    assert decode(part + number + other, Everything).scalars_choice == Scalars(a_bool=True)


def test_wrapped_values_are_merged():
    """A timestamp may come as seconds and then as nanos."""
    found = decode(b"\x0a\x02\x08\x05\x0a\x03\x10\xe8\x07", ours.WellKnown)
    assert found.instant == datetime.datetime(1970, 1, 1, 0, 0, 5, 1, tzinfo=datetime.UTC)


def test_map_entries():
    """A missing key or value is the default; of one key the last entry wins; a value in pieces is merged."""
    assert decode(b"\x62\x00", Maps).l == {"": ours.Colour.UNSPECIFIED}
    assert decode(b"\x6a\x03\x0a\x01k", Maps).m == {"k": Scalars()}
    assert decode(b"\x7a\x03\x0a\x01k", Maps).o == {"k": datetime.timedelta(0)}
    assert decode(b"\x5a\x03\x12\x01a\x5a\x05\x12\x01b\x08\x00", Maps).k == {False: "b"}
    assert decode(b"\x6a\x08\x12\x02\x18\x01\x12\x02\x68\x01", Maps).m == {"": Scalars(an_int32=1, a_bool=True)}
    assert decode(b"\x5a\x05\x18\x01\x12\x01a", Maps).k == {False: "a"}  # an unknown field in an entry is dropped


@pytest.mark.parametrize(
    ("data", "field", "values"),
    [
        (b"\x18\x01\x18\x02", "an_int32", [1, 2]),
        (b"\x1a\x02\x01\x02\x18\x03\x1a\x00", "an_int32", [1, 2, 3]),
        (b"\x1a\x03\x01\xac\x02", "an_int32", [1, 300]),
        (b"\xa2\x01\x02\x01\x02\xa0\x01\x03", "loose", [1, 2, 3]),
        (b"\x38\x01\x3a\x03\x02\xff\x01", "a_sint32", [-1, 1, -128]),
        (b"\x68\x01\x6a\x03\x00\x80\x01", "a_bool", [True, False, True]),
        (b"\x15\x00\x00\x80\x3f\x12\x04\x00\x00\x00\x40", "a_float", [1.0, 2.0]),
        (b"\x80\x01\x01\x82\x01\x03\x02\xe8\x07", "colour", [1, 2, 1000]),
    ],
)
def test_packed_and_not(data, field, values):
    """Both forms are read, whatever the declaration, in order."""
    assert getattr(decode(data, Lists), field) == values


def test_numbers_wrap_to_their_width():
    """A varint that is too wide for its field loses its upper bits, as everywhere in protobuf."""
    wide = b"\x85\x80\x80\x80\x80\x01"
    assert decode(b"\x18" + wide, Scalars).an_int32 == 5
    assert decode(b"\x28" + wide, Scalars).a_uint32 == 5
    assert decode(b"\x38" + wide, Scalars).a_sint32 == -3
    assert decode(b"\x80\x01" + wide, Scalars).colour == 5
    assert decode(b"\x18\xff\xff\xff\xff\x0f", Scalars).an_int32 == -1
    assert decode(b"\x68" + wide, Scalars).a_bool is True
    assert decode(b"\x1a\x06" + wide, Lists).an_int32 == [5]
    assert decode(b"\x3a\x06" + wide, Lists).a_sint32 == [-3]


def test_enums_are_open():
    """A number without a name is kept, negative ones too, and the names are the class's own members."""
    found = decode(encode(Scalars(colour=ours.Colour(77))), Scalars)
    assert found.colour == 77
    assert isinstance(found.colour, ours.Colour)
    assert repr(found.colour) == repr(ours.Colour(77))
    assert decode(encode(Scalars(colour=-1)), Scalars).colour is ours.Colour.BELOW


def test_floats():
    """-0.0 is no default, NaN and the infinities travel."""
    assert encode(Scalars(a_double=-0.0)) == google.Scalars(a_double=-0.0).SerializeToString() != b""
    assert encode(Scalars(a_float=-0.0)) == google.Scalars(a_float=-0.0).SerializeToString() != b""
    assert math.copysign(1, decode(encode(Scalars(a_double=-0.0)), Scalars).a_double) == -1
    found = decode(encode(Lists(a_float=[math.inf, -math.inf, math.nan])), Lists).a_float
    assert found[:2] == [math.inf, -math.inf]
    assert math.isnan(found[2])


def test_presence():
    """An optional field is written when it is set, to the default too."""
    empty = Presence(a_double=0.0, an_int32=0, a_bool=False, a_string="", some_bytes=b"", colour=0, scalars=Scalars())
    assert decode(encode(empty), Presence) == empty
    assert encode(Presence()) == b""
    assert decode(b"", Presence).a_string is None


def test_unknown_fields_travel():
    """They are written again byte for byte: odd encodings, groups, and fields of another wire type than declared."""
    unknown = b"\xf8\x81\x00\x81\x00\xfb\x01\x08\x01\xfc\x01\x1d\x01\x02\x03\x04\xfa\x01\x03abc\xf9\x01" + bytes(8)
    found = decode(b"\x18\x05" + unknown, Scalars)
    assert found.an_int32 == 5
    assert encode(found) == b"\x18\x05" + unknown


@pytest.mark.parametrize(
    ("micros", "seconds", "nanos"),
    [(-1_500_000, -1, -500_000_000), (-1, 0, -1000), (-1_000_000, -1, 0), (1_500_000, 1, 500_000_000), (0, 0, 0)],
)
def test_durations(micros, seconds, nanos):
    """Both parts of a negative duration are negative, and google.protobuf reads the same."""
    span = datetime.timedelta(microseconds=micros)
    data = encode(ours.WellKnown(span=span))
    read = google.WellKnown.FromString(data).span
    assert (read.seconds, read.nanos) == (seconds, nanos)
    assert read.ToTimedelta() == span
    assert decode(data, ours.WellKnown).span == span


@pytest.mark.parametrize("instant", [datetime.datetime.min, datetime.datetime.max, datetime.datetime(1969, 12, 31, 23)])
def test_timestamps(instant):
    """All datetimes travel, in whatever zone, as the same instant."""
    for zone in (datetime.UTC, datetime.timezone(datetime.timedelta(hours=2))):
        try:
            value = instant.replace(tzinfo=datetime.UTC).astimezone(zone)
        except OverflowError:
            continue
        message = ours.WellKnown(instant=value)
        assert decode(encode(message), ours.WellKnown).instant == value
        assert encode(message) == bytes(message)


def test_struct_and_any():
    """They are messages like any other, of any depth."""
    value = Value(struct_value=Struct(fields={"a": Value(list_value=ListValue(values=[Value(number_value=1.0)]))}))
    message = ours.WellKnown(struct=Struct(fields={"v": value}), any=Any(type_url="x/y", value=b"\x08\x01"))
    assert encode(message) == bytes(message)
    assert decode(bytes(message), ours.WellKnown) == message


def test_names_of_python_and_of_the_functions_themselves():
    """Field and message names mean nothing to the generated text."""
    own = ["value", "end", "message", "unknown", "parts", "state", "class_", "depth", "encode", "decode", "far"]
    given = dict.fromkeys(own, 3)
    message = Everything(data="d", position=b"p", **given, farther=Scalars(an_int32=1), farthest="f", self=Everything())
    assert encode(message) == bytes(message)
    assert decode(bytes(message), Everything) == message
    odd = ours.Message(lambda_=1, self=ours.Message())
    assert decode(encode(odd), ours.Message) == odd


def test_subclasses():
    """A message of a subclass goes where its parent is due; the subclass itself is read and written by its methods."""

    class Special(Scalars):
        pass

    assert encode(Presence(scalars=Special(an_int32=1))) == encode(Presence(scalars=Scalars(an_int32=1)))
    assert CODEC.encode(Special(an_int32=1), Scalars) == b"\x18\x01"
    assert not is_compilable(Special)
    assert type(CODEC.decode(b"\x18\x01", Special)) is Special
    assert CODEC.encode(Special(an_int32=1), Special) == b"\x18\x01"


def test_other_classes():
    """google.protobuf's messages, and dataclasses that validate, go by their own methods."""
    assert CODEC.decode(CODEC.encode(StringValue(value="x"), StringValue), StringValue).value == "x"

    @dataclass(eq=False, repr=False)
    class Validated(betterproto2.Message):
        __pydantic_core_schema__ = None
        number: int = betterproto2.field(1, betterproto2.TYPE_INT32)

    assert not is_compilable(Validated)
    assert not is_compilable(StringValue)
    assert not is_compilable(3)


def test_a_post_init_runs():
    """A class with a hook of its own is made by calling it."""
    made = []

    @dataclass(eq=False, repr=False)
    class Hooked(betterproto2.Message):
        number: int = betterproto2.field(1, betterproto2.TYPE_INT32)

        def __post_init__(self):
            made.append(self.number)
            super().__post_init__()

    assert CODEC.decode(b"\x08\x05", Hooked).number == 5
    assert made == [0]


def test_classes_are_not_kept_alive():
    """What was compiled goes with its class, as soon as no codec knows the class any more."""

    def use():
        @dataclass(eq=False, repr=False)
        class Passing(betterproto2.Message):
            number: int = betterproto2.field(1, betterproto2.TYPE_INT32)
            more: Scalars = betterproto2.field(2, betterproto2.TYPE_MESSAGE, optional=True)  # noqa: RUF009

        codec = Codec()
        codec.decode(codec.encode(Passing(number=1), Passing), Passing)
        codec.decode(bytes(Passing(number=1)) * 20_000, Passing)
        return weakref.ref(Passing)

    passing = use()
    gc.collect()
    assert passing() is None


def test_the_source_can_be_read():
    """The generated text names the class and its fields and is Python."""
    text = source_of(Everything)
    assert text.startswith("# everything.everything.v1.Everything\n")
    assert "def encode(message):" in text
    assert "message.farthest" in text
    compile(text, "text", "exec")
    assert max(map(len, text.splitlines())) <= 200
