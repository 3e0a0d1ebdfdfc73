"""From files to an :class:`ssl.SSLContext`, with errors that name the file."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Final, NoReturn

from orbit_net.errors import ConfigurationError

if TYPE_CHECKING:
    from orbit_net.net.tls import File, TlsConfig

__all__ = ["build_context", "signature"]

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: what RFC 9113 appendix A does not prohibit. TLS 1.3 has its own list, all of which is allowed."""
_MINIMUM: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERIFY: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

Signature = tuple[tuple[int, int, int, int] | None, ...]


def signature(config: TlsConfig) -> Signature:
    """Return what changes when one of the files does: device, inode, size and time, or None for one that is missing."""
    return tuple(map(_stat, config.files))


def _stat(file: File) -> tuple[int, int, int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def build_context(config: TlsConfig, *, server: bool) -> ssl.SSLContext:
    """Read the files; raises :class:`ConfigurationError` for what is missing, unreadable, or does not fit together."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = _MINIMUM[config.minimum_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["h2"])
    if config.certificate is not None:
        _load_pair(context, config)
    elif server:
        raise ConfigurationError("a server with TLS needs a certificate")
    if server:
        context.verify_mode = _VERIFY[config.client_verification]
        if context.verify_mode is ssl.CERT_NONE:
            return context
        if config.ca is None:
            raise ConfigurationError(
                f"client_verification is {config.client_verification!r}: it needs the ca whose clients are trusted"
            )
    _load_ca(context, config.ca)
    return context


def _load_pair(context: ssl.SSLContext, config: TlsConfig) -> None:
    assert config.certificate is not None
    certificate, key = config.certificate, config.private_key or config.certificate
    if b"-----BEGIN CERTIFICATE-----" not in _read(certificate, "certificate"):
        raise ConfigurationError(f"the certificate {os.fspath(certificate)!r} holds no PEM certificate")
    if b"PRIVATE KEY-----" not in _read(key, "private key"):
        raise ConfigurationError(f"the private key {os.fspath(key)!r} holds no PEM key")

    def no_password() -> NoReturn:  # without this, OpenSSL asks on the terminal
        raise ConfigurationError(f"the private key {os.fspath(key)!r} is encrypted, and no password is given")

    try:
        context.load_cert_chain(certificate, key, no_password if config.password is None else config.password)
    except ssl.SSLError as error:
        raise ConfigurationError(_describe_pair(error, certificate, key, config.password)) from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the certificate {os.fspath(certificate)!r} is unusable: {error}") from error


def _describe_pair(error: ssl.SSLError, certificate: File, key: File, password: str | None) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the private key {os.fspath(key)!r} does not belong to the certificate {os.fspath(certificate)!r}"
    files = f"the certificate {os.fspath(certificate)!r} or its key {os.fspath(key)!r} is broken"
    reason = f": {error.reason.replace('_', ' ').lower()}" if error.reason else ""
    return f"{files}{', or the password does not open the key' if password is not None else ''}{reason}"


def _load_ca(context: ssl.SSLContext, ca: File | bytes | None) -> None:
    if ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    where = "given as bytes" if isinstance(ca, bytes) else repr(os.fspath(ca))
    content = ca if isinstance(ca, bytes) else _read(ca, "ca")
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise ConfigurationError(f"the ca {where} holds no PEM certificate")
    try:
        context.load_verify_locations(cadata=content.decode("utf-8", "replace").encode("ascii", "ignore").decode())
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(f"the ca {where} is broken: {error}") from error


def _read(file: File, what: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise ConfigurationError(f"the {what} {os.fspath(file)!r} cannot be read: {error.strerror or error}") from error
