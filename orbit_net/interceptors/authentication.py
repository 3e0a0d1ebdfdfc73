"""Bearer tokens on the server's side (RFC 6750 §2.1)."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NoReturn

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from orbit_net.errors import LocalProtocolError
from orbit_net.interceptors.bearer import is_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from orbit_net.server import ServerStream
    from orbit_net.wire.metadata import Metadata

__all__ = ["BearerAuthentication", "current_identity"]

_log: Final = logging.getLogger("orbit_net.interceptor")

_identity: ContextVar[Any] = ContextVar("orbit_net_identity")


def current_identity() -> Any:
    """Return what ``verify`` returned for the call that this task handles.

    Raises :class:`LocalProtocolError` where nobody was authenticated.
    """
    try:
        return _identity.get()
    except LookupError:
        raise LocalProtocolError("no call with a verified token is being handled here") from None


class BearerAuthentication:
    """Serves only calls whose bearer token ``verify`` accepts.

    ``verify`` is an async function: given the token, it returns the caller's identity, which handlers get from
    :func:`current_identity`, or something false. Every other call ends with UNAUTHENTICATED and no detail, also when
    ``verify`` fails, which is logged by the type of its error; a :class:`grpclib.GRPCError` that it raises is the
    status of the call. ``exempt`` are paths (``/package.Service/Method``) that need no token.

    The token is taken out of the metadata that handlers see, and is in no text of ours.
    """

    def __init__(self, verify: Callable[[str], Awaitable[Any]], *, exempt: Collection[str] = ()) -> None:
        self._verify = verify
        self._exempt = frozenset(exempt)

    async def __call__(
        self, call: ServerStream[Any, Any], proceed: Callable[[ServerStream[Any, Any]], Awaitable[None]], /
    ) -> None:
        """Verify the token, and go on."""
        token = _take_token(call.metadata)
        if call.method not in self._exempt:
            if token is None:
                _refuse()
            identity = await self._ask(token, call.method)
            if not identity:
                _refuse()
            _identity.set(identity)
        await proceed(call)

    async def _ask(self, token: str, method: str) -> Any:
        try:
            return await self._verify(token)
        except GRPCError:
            raise
        except Exception as error:  # noqa: BLE001 - who cannot be verified is not let in, whatever the reason
            # Not its text or its trace: either may show the token.
            _log.error("the verification of a token for %s failed with %s", method, type(error).__name__)
            return None

    def __repr__(self) -> str:
        return f"<BearerAuthentication, {len(self._exempt)} methods exempt>"


def _take_token(metadata: Metadata) -> str | None:
    """Remove the credentials and return the token; None unless there is exactly one, and well formed."""
    values = metadata.popall("authorization", [])
    if len(values) != 1:
        return None
    scheme, _, token = str(values[0]).partition(" ")
    return token if scheme.lower() == "bearer" and is_token(token) else None


def _refuse() -> NoReturn:
    raise GRPCError(Status.UNAUTHENTICATED)
