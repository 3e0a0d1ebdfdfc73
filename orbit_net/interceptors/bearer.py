"""Bearer tokens on the client's side (RFC 6750 §2.1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from orbit_net.errors import ConfigurationError, RpcError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orbit_net.client import OutgoingCall

__all__ = ["BearerToken", "is_token"]

is_token = re.compile(r"[A-Za-z0-9\-._~+/]+=*").fullmatch
"""Whether a text is a token by the grammar of RFC 6750."""

_MISPLACED: Final = frozenset(
    {
        Status.OK,
        Status.INVALID_ARGUMENT,
        Status.NOT_FOUND,
        Status.ALREADY_EXISTS,
        Status.FAILED_PRECONDITION,
        Status.ABORTED,
        Status.OUT_OF_RANGE,
        Status.DATA_LOSS,
    }
)
"""Statuses that only a server may give; from a provider of credentials they become INTERNAL (gRFC A54)."""


class BearerToken:
    """Sends a token in the ``authorization`` metadata of each call that has none.

    ``token`` is the token, or an async function that returns it, asked for each call: keep what it fetched there. A
    provider that fails ends the call: with its status if it raises a :class:`grpclib.GRPCError`, else with
    UNAUTHENTICATED. Over a channel without TLS the call fails with UNAUTHENTICATED, and nothing is sent, unless
    ``allow_plaintext``. The token is in no text of ours, and no HPACK table keeps it (RFC 7541 §7.1.3).
    """

    def __init__(self, token: str | Callable[[], Awaitable[str]], *, allow_plaintext: bool = False) -> None:
        if isinstance(token, str) and not is_token(token):
            raise ConfigurationError("the bearer token has a character that RFC 6750 does not allow, or is empty")
        if not isinstance(token, str) and not callable(token):
            raise ConfigurationError(f"a bearer token is a str or an async function, not {type(token).__name__}")
        self._token = token
        self._allow_plaintext = allow_plaintext

    async def __call__(self, call: OutgoingCall, proceed: Callable[[OutgoingCall], Awaitable[None]], /) -> None:
        """Add the token, and go on."""
        if "authorization" not in call.metadata:
            if not call.secure and not self._allow_plaintext:
                raise RpcError(Status.UNAUTHENTICATED, "a bearer token is sent over TLS only, and there is none here")
            token = self._token if isinstance(self._token, str) else await _ask(self._token)
            call.metadata["authorization"] = f"Bearer {token}"
        await proceed(call)

    def __repr__(self) -> str:
        where = "also in plain text" if self._allow_plaintext else "over TLS"
        kind = "one token" if isinstance(self._token, str) else "a provider's tokens"
        return f"<BearerToken {kind}, {where}>"


async def _ask(provider: Callable[[], Awaitable[str]]) -> str:
    try:
        token: Any = await provider()
    except GRPCError as error:
        status = Status.INTERNAL if error.status in _MISPLACED else error.status
        raise RpcError(status, f"the token provider failed with {error.status.name}") from error
    except Exception as error:
        raise RpcError(Status.UNAUTHENTICATED, f"the token provider failed: {type(error).__name__}") from error
    if not isinstance(token, str) or not is_token(token):
        raise RpcError(Status.UNAUTHENTICATED, "the token provider gave something that is no token of RFC 6750")
    return token
