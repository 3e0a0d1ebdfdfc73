"""What a user says about TLS."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal

from orbit_net.errors import ConfigurationError

__all__ = ["TlsConfig", "tls_for"]

File = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """Certificates and checks of a channel or a server; one object may serve both, as in a node that is both.

    ``certificate`` is a PEM file with our own certificate and then its intermediates, ``private_key`` the PEM file of
    its key (without it, the key is looked for in ``certificate``), ``password`` that of an encrypted key. A server
    needs a certificate; a channel only where the server asks for one (mTLS).

    ``ca`` is a PEM file, or its content as bytes, with the authorities whose certificates are trusted. A channel
    without it trusts those of the system; a server that verifies clients must name it, since everybody can get a
    certificate from a public authority.

    ``client_verification`` is for servers: ``"none"`` asks clients for no certificate, ``"optional"`` checks the one
    that a client has, ``"required"`` turns away a client that has none.

    ``server_name`` is for channels: the name to ask for (SNI) and to find in the server's certificate, and the
    ``:authority`` of calls, instead of the host of the target.

    ``minimum_version`` is ``"1.2"``, the least that HTTP/2 allows (RFC 9113 §9.2), or ``"1.3"``. ALPN ``h2`` is always
    offered and required (RFC 9113 §3.3); compression and renegotiation are off, and TLS 1.2 is limited to ciphers with
    forward secrecy and authenticated encryption (RFC 9113 §9.2.2).

    The files are read when the channel or server is made, and looked at again every ``poll_interval`` seconds (5 by
    default: soon enough for a certificate, and three ``stat`` calls cost nothing; None: only on ``reload()``). New
    handshakes use what is in them then, and open connections go on with what they began with.

    Raises :class:`ConfigurationError` for values that cannot be meant.
    """

    certificate: File | None = None
    private_key: File | None = None
    password: str | None = field(default=None, repr=False)
    ca: File | bytes | None = field(default=None, repr=False)
    client_verification: Literal["none", "optional", "required"] = "none"
    server_name: str | None = None
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    poll_interval: float | None = 5.0

    def __post_init__(self) -> None:
        if self.certificate is None and (self.private_key is not None or self.password is not None):
            raise ConfigurationError("private_key and password are of no use without a certificate")
        _one_of("client_verification", self.client_verification, ("none", "optional", "required"))
        _one_of("minimum_version", self.minimum_version, ("1.2", "1.3"))
        name = self.server_name
        if name is not None and (
            not name or name.startswith(".") or not (name.isascii() and name.isprintable()) or set(name) & set(" /@")
        ):
            raise ConfigurationError(f"server_name is {name!r}; it must be a host name or an address, in ASCII")
        if self.poll_interval is not None and not self.poll_interval > 0:
            raise ConfigurationError(f"poll_interval is {self.poll_interval!r}; it must be above 0 seconds, or None")

    @property
    def files(self) -> tuple[File, ...]:
        """The files that this names."""
        ca = None if isinstance(self.ca, bytes) else self.ca
        return tuple(file for file in (self.certificate, self.private_key, ca) if file is not None)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigurationError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}")


def tls_for(target: str, tls: TlsConfig | None) -> TlsConfig | None:
    """Return what to use for a target: ``https://`` means TLS, ``http://`` forbids it, any other form leaves it open.

    Raises :class:`ConfigurationError` for a contradiction.
    """
    scheme = target.partition("://")[0]
    if scheme == "http" and tls is not None:
        raise ConfigurationError(f"the target {target!r} asks for plain text, and tls is given: use https://")
    return TlsConfig() if scheme == "https" and tls is None else tls
