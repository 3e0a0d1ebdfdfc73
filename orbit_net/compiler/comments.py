"""From the comments of a ``.proto`` file to docstrings."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from betterproto2_compiler.lib.google.protobuf import FileDescriptorProto

__all__ = ["Comments", "docstring"]

# Field numbers of descriptor.proto: the path of service i is (6, i), that of its method j (6, i, 2, j).
_SERVICE = 6
_METHOD = 2


class Comments:
    """The comments of one file."""

    def __init__(self, file: FileDescriptorProto) -> None:
        info = file.source_code_info
        self._texts: Mapping[tuple[int, ...], str] = {
            tuple(location.path): _plain(location.leading_comments) or _plain(location.trailing_comments)
            for location in (info.location if info is not None else [])
        }

    def of_service(self, index: int) -> str:
        """Return what the file says of its service: the comment before it, else the one behind it, else nothing."""
        return self._texts.get((_SERVICE, index), "")

    def of_method(self, service: int, index: int) -> str:
        """Return what the file says of an rpc, found as for a service."""
        return self._texts.get((_SERVICE, service, _METHOD, index), "")


def _plain(comment: str) -> str:
    lines = [line.rstrip() for line in comment.splitlines()]
    return textwrap.dedent("\n".join(lines)).strip()


def docstring(text: str, indent: str) -> str:
    """Return a docstring literal that says exactly ``text``, each line of it indented."""
    quote = '"' if text.endswith('"') else ""  # one that must not join the closing ones
    escaped = "".join(map(_escape, text.removesuffix(quote))).replace('"""', r"\"\"\"")
    if quote:
        escaped += r"\""
    lines = escaped.split("\n")
    if len(lines) == 1:
        return f'{indent}"""{escaped}"""'
    body = "\n".join(f"{indent}{line}" if line else "" for line in lines)
    return f'{indent}"""{body.removeprefix(indent)}\n{indent}"""'


def _escape(character: str) -> str:
    if character == "\\":
        return r"\\"
    if character.isprintable() or character in "\n\t":
        return character
    return character.encode("unicode_escape").decode("ascii")
