"""``orbit-net codec show``."""

import pytest

from orbit_net.cli import main


def test_source_is_python_that_reads(capsys):
    """The text that is compiled is printed, with the names of the fields."""
    assert main(["codec", "show", "orbit_net.proto.orbit.shared:NodeIdProto"]) == 0
    text = capsys.readouterr().out
    compile(text, "shown", "exec")
    assert text.startswith("# orbit_net.proto.orbit.shared.NodeIdProto\n")
    assert "value = message.namespace\n" in text
    assert "def decode(" in text


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere.at.all:Message", "cannot be imported"),
        ("orbit_net.proto.orbit.shared:Nothing", "has no 'Nothing'"),
        ("orbit_net.errors:OrbitError", "not a message class"),
        ("", "cannot be imported"),
    ],
)
def test_what_cannot_be_shown_says_why(name, reason, capsys):
    """A name that leads to no message class is an error with its reason."""
    assert main(["codec", "show", name]) == 1
    assert reason in capsys.readouterr().err
