"""The messages that errors carry: packing, unpacking, and what is broken or unknown."""

from types import SimpleNamespace

import betterproto2
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st

from details import EACH
from orbit_net import details as module
from orbit_net.details import (
    AnyMessage,
    BadRequest,
    ErrorInfo,
    RetryInfo,
    RichStatus,
    StatusDetailsCodec,
)
from orbit_net.errors import EncodeError, RpcError
from orbit_net.proto.orbit.shared import NodeIdProto
from orbit_net.status import Status


def encoded(details, codec=None):
    """Return the bytes of an error with the status ABORTED."""
    return (codec or StatusDetailsCodec()).encode(Status.ABORTED, "text", details)


def decoded(data, codec=None):
    """Return the messages in them."""
    return (codec or StatusDetailsCodec()).decode(Status.ABORTED, "text", data)


def test_each_standard_message():
    """All ten go there and back, alone and together."""
    assert decoded(encoded(EACH)) == EACH
    for detail in EACH:
        assert decoded(encoded(detail)) == [detail]


def test_other_messages():
    """Any generated message can be written; google.protobuf's too; one that is not known to the reader stays an Any."""
    data = encoded([NodeIdProto(key="a"), StringValue(value="b"), ErrorInfo(reason="C")])
    [node, text, info] = decoded(data)
    assert node == AnyMessage(type_url="type.googleapis.com/orbit.shared.NodeIdProto", value=b"\n\x01a")
    assert text == AnyMessage(type_url="type.googleapis.com/google.protobuf.StringValue", value=b"\n\x01b")
    assert info == ErrorInfo(reason="C")
    assert encoded([node, text, info]) == data
    codec = StatusDetailsCodec([NodeIdProto, StringValue])
    assert decoded(data, codec) == [NodeIdProto(key="a"), StringValue(value="b"), ErrorInfo(reason="C")]
    assert repr(codec) == "<StatusDetailsCodec of 12 types>"


def test_other_prefixes():
    """The type is what follows the last slash of the URL."""
    packed = AnyMessage(type_url="example.com/types/google.rpc.ErrorInfo", value=b"\n\x01x")
    assert StatusDetailsCodec().unpack(packed) == ErrorInfo(reason="x")
    nameless = AnyMessage(value=b"x")
    assert StatusDetailsCodec().unpack(nameless) == nameless


def test_a_whole_status():
    """A whole status, and bytes that hold one, are left as they are."""
    rich = RichStatus(code=5, message="other", details=[StatusDetailsCodec().pack(ErrorInfo(reason="x"))])
    assert encoded(rich) == bytes(rich)
    assert encoded(bytes(rich)) == bytes(rich)
    assert decoded(bytes(rich)) == [ErrorInfo(reason="x")]


@pytest.mark.parametrize("value", [object(), [1], {"a": 1}, "text", [ErrorInfo(), "text"]])
def test_what_is_no_message(value):
    """The error says what details are."""
    with pytest.raises(EncodeError, match=r"status details are messages, and .* has no known name"):
        encoded(value)


def test_a_message_without_a_name():
    """A class that no generated module has registered needs an Any."""

    class Loose(betterproto2.Message):
        pass

    with pytest.raises(EncodeError, match="Loose has no known name in protobuf: pack it in an Any"):
        encoded([Loose()])


def test_a_message_that_cannot_be_encoded():
    """The field is named."""
    with pytest.raises(EncodeError, match=r"ErrorInfo\.reason"):
        encoded([ErrorInfo(reason=5)])


def test_broken_details():
    """Nothing is read of a status that is broken; a message in it that is broken stays an Any."""
    assert decoded(b"\xff") == []
    broken = AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")
    assert decoded(bytes(RichStatus(details=[broken, AnyMessage()]))) == [broken, AnyMessage()]


@given(st.binary(max_size=200))
def test_any_bytes(data):
    """Whatever arrives, reading does not fail."""
    for detail in decoded(data):
        assert isinstance(detail, betterproto2.Message)
    packed = AnyMessage(type_url="x/google.rpc.BadRequest", value=data)
    assert isinstance(StatusDetailsCodec().unpack(packed), (AnyMessage, BadRequest))


@given(st.lists(st.builds(AnyMessage, type_url=st.text(max_size=20), value=st.binary(max_size=20)), max_size=4))
def test_unknown_messages_are_kept(packed):
    """They come out as they went in."""
    assert decoded(encoded(packed)) == packed


def test_an_error_made_by_hand():
    """It has the details that it was given, if they are messages."""
    error = RpcError(Status.ABORTED, "x", [RetryInfo(), ErrorInfo(reason="a"), ErrorInfo(reason="b")])
    assert error.detail(ErrorInfo) == ErrorInfo(reason="a")
    assert error.detail(BadRequest) is None
    assert len(error.rich_details) == 3
    assert RpcError(Status.ABORTED, "x", b"bytes").rich_details == ()
    assert RpcError(Status.ABORTED).rich_details == ()


def test_details_are_read_once():
    """Reading is left to the first who asks."""
    asked = []
    error = RpcError(Status.ABORTED, "x", b"data", unpack=lambda error: asked.append(error.details) or ["read"])
    assert asked == []
    assert error.rich_details == ["read"]
    assert error.rich_details == ["read"]
    assert asked == [b"data"]


def test_the_public_names():
    """All standard messages are exported under the names of their classes."""
    assert module.__all__ == sorted(module.__all__)
    exported = SimpleNamespace(**{name: getattr(module, name) for name in module.__all__})
    assert exported.AnyMessage.__name__ == "Any"
