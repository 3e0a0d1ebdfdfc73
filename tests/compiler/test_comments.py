"""Docstring literals say what the comments say."""

from __future__ import annotations

import ast
import inspect

import pytest

from orbit_net.compiler.comments import docstring


@pytest.mark.parametrize(
    "text",
    [
        "One line.",
        "Two\nlines.",
        "A paragraph.\n\n    Indented after a blank line.\n\nThe end.",
        'Ends with a "quote"',
        'Ends with three """',
        'Six """""" and a backslash \\',
        r"Escapes: \n \x00 \N{DASH} \"",
        "Control characters: \x00 \x0c \r \x7f and \u2028.",
        "Other scripts: grüße 你好 🚀.",
        '"',
        "\\",
    ],
)
@pytest.mark.parametrize("indent", ["", "    ", "        "])
def test_literal_evaluates_to_the_text(text: str, indent: str) -> None:
    """Whatever a comment holds, the literal is one string with the same text."""
    literal = docstring(text, indent)
    assert literal.startswith(f'{indent}"""')
    assert inspect.cleandoc(ast.literal_eval(literal.strip())) == inspect.cleandoc(text)
