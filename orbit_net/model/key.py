"""The key of an actor among the actors of its type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from orbit_net.errors import ConfigurationError

__all__ = ["Int32Key", "Int64Key", "Key", "NoKey", "StringKey", "key_from_text", "key_of"]

_NO_KEY_TEXT: Final = "no-key"


@dataclass(frozen=True, slots=True)
class StringKey:
    """A key that is text; an empty one is a key as well."""

    value: str

    def __post_init__(self) -> None:
        if not isinstance(self.value, str):
            raise ConfigurationError(f"StringKey.value is {self.value!r}; it must be text")

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Int32Key:
    """A key that is a number from -2³¹ to 2³¹ - 1."""

    value: int

    def __post_init__(self) -> None:
        _check_integer("Int32Key", self.value, 31)

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Int64Key:
    """A key that is a number from -2⁶³ to 2⁶³ - 1."""

    value: int

    def __post_init__(self) -> None:
        _check_integer("Int64Key", self.value, 63)

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class NoKey:
    """The key of a type that has a single actor; its text is ``no-key``, as in Orbit's transactions."""

    def __str__(self) -> str:
        return _NO_KEY_TEXT


Key: TypeAlias = StringKey | Int32Key | Int64Key | NoKey
"""One of the four kinds of key. Keys of different kinds differ, even where their text is the same."""


def key_of(value: Key | str | int | None) -> Key:
    """Return the key that a plain value means: text, a number (64 bits), or None for :class:`NoKey`."""
    match value:
        case None:
            return NoKey()
        case str():
            return StringKey(value)
        case bool():
            raise ConfigurationError(f"the key is {value!r}; it must be text, a number, None or a Key")
        case int():
            return Int64Key(value)
        case StringKey() | Int32Key() | Int64Key() | NoKey():
            return value
    raise ConfigurationError(f"the key is {value!r}; it must be text, a number, None or a Key")


def key_from_text(text: str) -> Key:
    """Read a key as a transaction carries it: ``no-key`` is :class:`NoKey`, all else is text, for the kind is lost."""
    return NoKey() if text == _NO_KEY_TEXT else StringKey(text)


def _check_integer(name: str, value: object, bits: int) -> None:
    if type(value) is not int or not -(1 << bits) <= value < 1 << bits:
        raise ConfigurationError(f"{name}.value is {value!r}; it must be a whole number of {bits + 1} bits")
