"""Generated files on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["differences", "write"]


def differences(files: Mapping[str, str], directory: Path, *, prune: bool = False) -> list[str]:
    """Return the names of the files that :func:`write` would create, change or remove, sorted."""
    changed = {name for name, text in files.items() if _text(directory / name) != text}
    surplus = set(_surplus(files, directory)) if prune else set()
    return sorted(changed | surplus)


def write(files: Mapping[str, str], directory: Path, *, prune: bool = False) -> list[str]:
    """Write the files that differ, and return the names of those changed; the others keep their time stamps.

    ``prune`` also removes every other file below ``directory``, byte code excepted: for a directory that holds
    generated code only. Raises OSError where the disk does.
    """
    changed = differences(files, directory, prune=prune)
    for name in changed:
        path = directory / name
        if name in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[name], encoding="utf-8", newline="\n")
        else:
            path.unlink()
    return changed


def _text(path: Path) -> str | None:
    # Bytes, not text: a file with other line ends differs.
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else None


def _surplus(files: Mapping[str, str], directory: Path) -> Iterator[str]:
    for path in directory.rglob("*"):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and name not in files and "__pycache__" not in path.parts:
            yield name
