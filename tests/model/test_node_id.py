"""Node ids in text and on the wire."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_net.errors import ConfigurationError
from orbit_net.model import NodeId


@pytest.mark.parametrize("text", ["space:n1", "(space:n1)", "((space:n1))", "(space:n1", "(space:(n1))"])
def test_both_printed_forms_are_read(text):
    """What we print, what Orbit-RS prints and what its own round trip makes of that give the same id."""
    assert NodeId.parse(text) == NodeId("n1", "space")
    assert str(NodeId.parse(text)) == "space:n1"


@pytest.mark.parametrize("text", ["n1", "(n1)"])
def test_a_bare_word_is_a_key_of_the_default_namespace(text):
    """Text without a colon is a key."""
    assert NodeId.parse(text) == NodeId("n1", "default")


def test_the_first_colon_separates():
    """A key may hold colons."""
    assert NodeId.parse("space:a:b") == NodeId("a:b", "space")


@pytest.mark.parametrize("text", ["", "()", "space:", "(space:)", "a(b"])
def test_an_empty_key_and_a_bracket_within_are_refused(text):
    """An id without a key, or with a bracket inside, is a configuration error."""
    with pytest.raises(ConfigurationError, match=r"key|bracket"):
        NodeId.parse(text)


def test_a_colon_in_the_namespace_is_refused():
    """Its text would be read as another id."""
    with pytest.raises(ConfigurationError, match="colon"):
        NodeId("a", "b:c")


def test_a_generated_id_is_new_and_can_be_repeated():
    """Two ids differ; the same randomness gives the same one."""
    assert NodeId.generate() != NodeId.generate()
    assert NodeId.generate("space", random=Random(1)) == NodeId.generate("space", random=Random(1))


PLAIN = st.text(st.characters(exclude_characters="():"))


@given(PLAIN.filter(bool), PLAIN)
def test_text_is_inverse(key, namespace):
    """Whatever an id is made of, its text in either form is read as the same id."""
    node_id = NodeId(key, namespace)
    assert NodeId.parse(str(node_id)) == node_id
    assert NodeId.parse(f"({node_id})") == node_id
