"""What the other end's certificate says."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Certificate"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that was verified: ``der`` is all of it, ``details`` are :meth:`ssl.SSLSocket.getpeercert`'s."""

    der: bytes = field(repr=False)
    details: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def common_name(self) -> str | None:
        """The common name of the subject; names of hosts are in :attr:`names`."""
        for part in self.details.get("subject", ()):
            for key, value in part:
                if key == "commonName":
                    return str(value)
        return None

    @property
    def names(self) -> tuple[str, ...]:
        """The alternative names of the subject: host names, addresses, URIs, mail addresses."""
        return tuple(_shortest(kind, value) for kind, value in self.details.get("subjectAltName", ()))

    @property
    def serial_number(self) -> int:
        """What its authority numbered it."""
        return int(self.details["serialNumber"], 16)

    def __str__(self) -> str:
        return self.common_name or ", ".join(self.names) or f"serial number {self.serial_number:x}"


def _shortest(kind: str, value: object) -> str:
    """Return an IPv6 address as everybody else writes it; OpenSSL prints all of its zeros."""
    text = str(value).strip()
    try:
        return str(ipaddress.ip_address(text)) if kind == "IP Address" else text
    except ValueError:
        return text
