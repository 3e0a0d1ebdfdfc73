"""The names of actors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orbit_net.errors import ConfigurationError
from orbit_net.model.key import Int32Key, Int64Key, NoKey, StringKey

if TYPE_CHECKING:
    from orbit_net.model.key import Key

__all__ = ["AddressableReference", "NamespacedAddressableReference"]


@dataclass(frozen=True, slots=True)
class AddressableReference:
    """One actor: its type and its key. ``str`` gives ``type/key``, for people."""

    addressable_type: str
    key: Key

    def __post_init__(self) -> None:
        if not self.addressable_type:
            raise ConfigurationError("an addressable reference needs a type that is not empty")
        if not isinstance(self.key, (StringKey, Int32Key, Int64Key, NoKey)):
            raise ConfigurationError(f"the key of {self.addressable_type} is {self.key!r}; it must be a Key")

    def __str__(self) -> str:
        return f"{self.addressable_type}/{self.key}"


@dataclass(frozen=True, slots=True)
class NamespacedAddressableReference:
    """One actor within one namespace of a cluster."""

    namespace: str
    addressable_reference: AddressableReference

    def __str__(self) -> str:
        return f"{self.namespace}:{self.addressable_reference}"
