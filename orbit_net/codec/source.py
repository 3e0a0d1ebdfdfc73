"""Text of a generated function: indented lines, and the constants that they name."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Source"]


class Source:
    """Lines under way. A constant is named where it is used and put into the namespace that the text is run in."""

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {}
        self._lines: list[str] = []
        self._depth = 0

    def line(self, text: str) -> None:
        """Add one line at the current depth."""
        self._lines.append("    " * self._depth + text)

    def lines(self, *texts: str) -> None:
        """Add several lines at the current depth."""
        for text in texts:
            self.line(text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Add ``head`` and indent what follows."""
        self.line(head)
        self._depth += 1
        yield
        self._depth -= 1

    def constant(self, name: str, value: Any) -> str:
        """Keep a value under ``name``, and return the name."""
        self.constants[name] = value
        return name

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"
