"""Where the descriptors of a service come from, whoever generated it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["described_files", "service_names"]


def service_names(service: Any) -> list[str]:
    """Return the full names of the services whose methods an object answers, in the order of its mapping."""
    return list(dict.fromkeys(_service_of(path) for path in service.__mapping__()))


def described_files(service: Any) -> Iterator[bytes]:
    """Yield the serialized descriptors of the files that define a service, and of their imports.

    Bases that our plugin generated bring them along. Messages of google.protobuf know those of their own files, and
    their pool the one of the service.
    """
    describe = getattr(service, "__descriptors__", None)
    if describe is not None:
        yield from describe()
    pools = set()
    for path, handler in service.__mapping__().items():
        for message_type in (handler.request_type, handler.reply_type):
            # google.protobuf is not imported for this: who has its messages has it already.
            file = getattr(getattr(message_type, "DESCRIPTOR", None), "file", None)
            if file is not None:
                yield from _with_imports([file])
                pools.add((file.pool, _service_of(path)))
    for pool, name in pools:
        try:
            yield from _with_imports([pool.FindFileContainingSymbol(name)])
        except KeyError:
            continue  # the service was defined elsewhere: what its messages tell has to do


def _with_imports(files: Iterable[Any]) -> Iterator[bytes]:
    """Yield files of google.protobuf and what they import, serialized."""
    waiting, seen = list(files), set()
    while waiting:
        file = waiting.pop()
        if file.name not in seen:
            seen.add(file.name)
            waiting += file.dependencies
            yield file.serialized_pb


def _service_of(path: str) -> str:
    return path.rpartition("/")[0].removeprefix("/")
