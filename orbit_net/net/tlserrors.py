"""Which check of TLS failed, in words: OpenSSL's reasons and alerts (RFC 8446 §6.2)."""

from __future__ import annotations

import ssl
from typing import Final

__all__ = ["explain"]

_VERIFICATION: Final = {
    2: "is signed by an unknown authority (CA)",
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself, and not by a known authority (CA)",
    19: "is signed by an unknown authority (CA)",
    20: "is signed by an unknown authority (CA)",
    21: "is signed by an unknown authority (CA)",
    23: "is revoked",
    24: "is signed by a certificate that is no authority (CA)",
    26: "is not made for this purpose",
    79: "is signed by a certificate that is no authority (CA)",
}
"""OpenSSL's X509_V_ERR codes."""

_REFUSED_CERTIFICATE: Final = {
    "UNKNOWN_CA": "it is signed by an authority (CA) that is unknown there",
    "CERTIFICATE_EXPIRED": "it has expired or is not valid yet",
    "CERTIFICATE_REVOKED": "it is revoked",
    "CERTIFICATE_UNKNOWN": "it was not acceptable there",
    "UNSUPPORTED_CERTIFICATE": "it is not made for this purpose",
    "BAD_CERTIFICATE": "it is broken, or was not acceptable there",
    "DECRYPT_ERROR": "its signature does not fit",
    "ACCESS_DENIED": "it gives no access",
}
"""Alerts about the certificate of the side that receives them."""


def explain(error: ssl.SSLError, *, server: bool, host: str | None = None, has_certificate: bool = True) -> str:
    """Say which check failed; ``server`` tells our side, ``host`` the name that the server should have."""
    peer = "client" if server else "server"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _verification(error, peer, host)
    if isinstance(error, ssl.SSLEOFError):
        return f"the {peer} closed the connection during the handshake"
    reason = error.reason or ""
    alert = reason.partition("ALERT_")[2]
    if alert in _REFUSED_CERTIFICATE:
        return f"the {peer} refused our certificate: {_REFUSED_CERTIFICATE[alert]}"
    match alert or reason:
        case "CERTIFICATE_REQUIRED":
            return _required(has_certificate)
        case "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            return "the client sent no certificate, and one is required"
        case "PROTOCOL_VERSION" | "UNSUPPORTED_PROTOCOL" | "VERSION_TOO_LOW" | "INAPPROPRIATE_FALLBACK":
            return f"the {peer} does not speak a version of TLS that both sides allow"
        case "NO_APPLICATION_PROTOCOL":
            return f"the {peer} does not speak HTTP/2 (ALPN h2) on this port"
        case "NO_SHARED_CIPHER":
            return "the client offers no cipher that HTTP/2 allows"
        case "HANDSHAKE_FAILURE" if not server and not has_certificate:
            return f"the server refused the handshake: it has no cipher in common with us, or {_required(False)}"
        case "HANDSHAKE_FAILURE":
            return f"the {peer} refused the handshake: no cipher or certificate suits both sides"
        case "UNRECOGNIZED_NAME" | "TLSV1_UNRECOGNIZED_NAME":
            return f"the server does not know the name {host!r}"
        case "WRONG_VERSION_NUMBER" | "HTTP_REQUEST":
            return f"the {peer} does not speak TLS on this port"
    text = (alert or reason).replace("_", " ").lower() or str(error)
    return f"the {peer} ended TLS with the alert {text!r}" if alert else f"TLS failed: {text}"


def _required(has_certificate: bool) -> str:
    return f"the server requires a client certificate, and {'got none' if has_certificate else 'none is given here'}"


def _verification(error: ssl.SSLCertVerificationError, peer: str, host: str | None) -> str:
    if error.verify_code in (62, 64):
        return f"the {peer}'s certificate is not for {host!r}: host name mismatch"
    text = _VERIFICATION.get(error.verify_code)
    return f"the {peer}'s certificate {text or 'was not accepted: ' + error.verify_message}"
