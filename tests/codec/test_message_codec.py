"""The codec that asks the message classes themselves."""

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from orbit_net.codec import MessageCodec, content_type_of
from orbit_net.errors import DecodeError, EncodeError
from orbit_net.proto.orbit.shared import NodeIdProto as NodeId


def test_betterproto_messages():
    """A generated dataclass goes out and comes back."""
    codec = MessageCodec()
    node = NodeId(key="node-1", namespace="tests")
    data = codec.encode(node, NodeId)
    assert data == bytes(node)
    assert codec.decode(data, NodeId) == node


def test_google_messages():
    """A message of google.protobuf does too."""
    codec = MessageCodec()
    assert codec.decode(codec.encode(StringValue(value="x"), StringValue), StringValue).value == "x"


def test_a_message_of_another_type():
    """Encoding names the type that is due and the type that came."""
    with pytest.raises(EncodeError, match="takes NodeIdProto, not StringValue"):
        MessageCodec().encode(StringValue(), NodeId)


def test_a_value_that_does_not_fit():
    """A field of the wrong Python type is an EncodeError with its reason as the cause."""
    with pytest.raises(EncodeError, match="NodeIdProto cannot be encoded") as raised:
        MessageCodec().encode(NodeId(key=3), NodeId)
    assert raised.value.__cause__ is not None


def test_bytes_that_do_not_parse():
    """Decoding names the type and the size."""
    with pytest.raises(DecodeError, match="3 bytes are not a valid StringValue"):
        MessageCodec().decode(b"\xff\xff\xff", StringValue)


@pytest.mark.parametrize(("subtype", "expected"), [("proto", b"application/grpc"), ("json", b"application/grpc+json")])
def test_content_type(subtype, expected):
    """protobuf is plain application/grpc, anything else is named."""
    codec = MessageCodec()
    codec.__content_subtype__ = subtype
    assert content_type_of(codec) == expected


def test_content_type_of_a_codec_without_one():
    """A codec that does not say is taken for protobuf."""
    assert content_type_of(object()) == b"application/grpc"
