"""What a channel knows of one method: the headers of its calls, and what its service config says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orbit_net.client.config.service_config import HedgingPolicy, MethodConfig, RetryPolicy
    from orbit_net.client.settings import ChannelSettings
    from orbit_net.wire import HeaderTemplate

__all__ = ["Method", "configured"]


@dataclass(frozen=True, slots=True)
class Method:
    """One method of one channel, remembered by its ``path``.

    ``timeout`` in seconds. ``max_send`` is the limit that counts; ``max_receive`` is None where the connection's does.
    """

    path: str
    template: HeaderTemplate
    timeout: float | None
    wait_for_ready: bool
    max_send: int | None
    max_receive: int | None
    retry: RetryPolicy | None
    compression: str | None
    hedging: HedgingPolicy | None = None


def configured(
    path: str,
    template: HeaderTemplate,
    config: MethodConfig | None,
    settings: ChannelSettings,
    compression: str | None,
) -> Method:
    """Return the method as the channel's settings and its service config say; ``compression`` is for its requests."""
    if config is None:
        return Method(path, template, None, False, settings.max_send_message, None, None, compression)
    sizes = [size for size in (settings.max_send_message, config.max_request_message) if size is not None]
    response = config.max_response_message
    return Method(
        path,
        template,
        config.timeout,
        bool(config.wait_for_ready),
        min(sizes, default=None),
        None if response is None else min(response, settings.max_receive_message),
        config.retry if settings.retry.enabled else None,
        compression,
        config.hedging if settings.retry.enabled else None,
    )
