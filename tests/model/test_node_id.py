"""Node ids in text and on the wire."""

import pytest

from orbit_net.errors import ConfigurationError
from orbit_net.model import NodeId, NodeIdConverter
from orbit_net.proto.orbit.shared import NodeIdProto


@pytest.mark.parametrize("text", ["space:n1", "(space:n1)"])
def test_both_printed_forms_are_read(text):
    """What we print and what Orbit-RS prints give the same id, without a bracket."""
    assert NodeId.parse(text) == NodeId("n1", "space")
    assert str(NodeId.parse(text)) == "space:n1"


def test_a_bare_word_is_a_key_of_the_default_namespace():
    """Text without a colon is a key."""
    assert NodeId.parse("n1") == NodeId("n1", "default")


def test_the_first_colon_separates():
    """A key may hold colons."""
    assert NodeId.parse("space:a:b") == NodeId("a:b", "space")


@pytest.mark.parametrize("text", ["", "()", "space:", "(space:)"])
def test_an_empty_key_is_refused(text):
    """An id without a key is a configuration error."""
    with pytest.raises(ConfigurationError, match="key"):
        NodeId.parse(text)


def test_conversion_is_inverse():
    """To the message and back gives the same id; a message without a key is refused."""
    assert NodeIdConverter.from_proto(NodeIdConverter.to_proto(NodeId("k", "n"))) == NodeId("k", "n")
    with pytest.raises(ConfigurationError):
        NodeIdConverter.from_proto(NodeIdProto(namespace="n"))
