"""Reads the JSON form of a service config.

Source: the JSON mapping of protobuf for ``grpc.service_config.ServiceConfig``: numbers may be strings, a duration is
text in seconds, a status is a name or a number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from orbit_net.client.service_config import (
    HedgingPolicy,
    MethodConfig,
    RetryPolicy,
    RetryThrottling,
    ServiceConfig,
)
from orbit_net.errors import ConfigurationError
from orbit_net.status import STATUS_BY_NUMBER, Status

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read_service_config"]

Made = TypeVar("Made")

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)s").fullmatch


def read_service_config(config: str | Mapping[str, Any]) -> ServiceConfig:
    """Return the config of ``config``; see :meth:`ServiceConfig.from_json`."""
    if isinstance(config, str):
        try:
            config = json.loads(config)
        except ValueError as error:
            raise ConfigurationError(f"the service config is not JSON: {error}") from None
    root = _Node("", config)
    return root.make(
        ServiceConfig,
        methods=tuple(_method(node) for node in root.items("methodConfig")),
        throttling=root.optional("retryThrottling", _throttling),
        load_balancing=tuple(_policies(root)),
    )


def _policies(root: _Node) -> list[str]:
    names = []
    for node in root.items("loadBalancingConfig"):
        if len(node.mapping) != 1:
            node.refuse("an object with one key, the name of the policy")
        names += list(node.mapping)
    if not names and "loadBalancingPolicy" in root.mapping:
        names.append(root.required("loadBalancingPolicy", _text).lower())
    return names


def _method(node: _Node) -> MethodConfig:
    if node.mapping.get("hedgingPolicy") is not None and node.mapping.get("retryPolicy") is not None:
        node.refuse("an object with one of retryPolicy and hedgingPolicy, not both")
    return node.make(
        MethodConfig,
        names=tuple(_name(name) for name in node.items("name")),
        timeout=node.optional("timeout", _duration),
        wait_for_ready=node.optional("waitForReady", _boolean),
        max_request_message=node.optional("maxRequestMessageBytes", _integer),
        max_response_message=node.optional("maxResponseMessageBytes", _integer),
        retry=node.optional("retryPolicy", _retry),
        hedging=node.optional("hedgingPolicy", _hedging),
    )


def _name(node: _Node) -> str:
    service = node.optional("service", _text) or ""
    method = node.optional("method", _text) or ""
    if method and not service:
        node.refuse("a name whose method comes with its service")
    return f"{service}/{method}" if method else service


def _retry(node: _Node) -> RetryPolicy:
    return node.make(
        RetryPolicy,
        max_attempts=node.required("maxAttempts", _integer),
        initial_backoff=node.required("initialBackoff", _duration),
        max_backoff=node.required("maxBackoff", _duration),
        backoff_multiplier=node.required("backoffMultiplier", _number),
        retryable_status_codes=node.required("retryableStatusCodes", _statuses),
    )


def _hedging(node: _Node) -> HedgingPolicy:
    return node.make(
        HedgingPolicy,
        max_attempts=node.required("maxAttempts", _integer),
        hedging_delay=node.optional("hedgingDelay", _duration) or 0.0,
        non_fatal_status_codes=node.optional("nonFatalStatusCodes", _statuses) or frozenset(),
    )


def _throttling(node: _Node) -> RetryThrottling:
    return node.make(
        RetryThrottling,
        max_tokens=node.required("maxTokens", _integer),
        token_ratio=node.required("tokenRatio", _number),
    )


def _statuses(node: _Node) -> frozenset[Status]:
    if not isinstance(node.value, list):
        node.refuse("a list of status names or numbers")
    return frozenset(_status(_Node(f"{node.path}[{i}]", value)) for i, value in enumerate(node.value))


def _status(node: _Node) -> Status:
    value = node.value
    if isinstance(value, str) and value.upper() in Status.__members__:
        return Status[value.upper()]
    if isinstance(value, int) and not isinstance(value, bool) and value in STATUS_BY_NUMBER:
        return STATUS_BY_NUMBER[value]
    return node.refuse("the name or the number of a status, such as 'UNAVAILABLE' or 14")


def _text(node: _Node) -> str:
    return node.value if isinstance(node.value, str) else node.refuse("a string")


def _boolean(node: _Node) -> bool:
    return node.value if isinstance(node.value, bool) else node.refuse("true or false")


def _integer(node: _Node) -> int:
    value = node.value
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else node.refuse("an integer")


def _number(node: _Node) -> float:
    value = node.value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    try:
        return float(_text(node))
    except ValueError:
        node.refuse("a number")


def _duration(node: _Node) -> float:
    match = _DURATION(node.value) if isinstance(node.value, str) else None
    return float(match[1]) if match else node.refuse("a duration in seconds such as '1.5s'")


class _Node:
    """A value and where it stands."""

    def __init__(self, path: str, value: Any) -> None:
        self.path = path
        self.value = value

    def refuse(self, allowed: str) -> NoReturn:
        where = self.path.lstrip(".") or "it"
        raise ConfigurationError(f"service config: {where} is {self.value!r}; it must be {allowed}")

    @property
    def mapping(self) -> Mapping[str, Any]:
        return self.value if isinstance(self.value, Mapping) else self.refuse("an object")

    def required(self, key: str, read: Callable[[_Node], Any]) -> Any:
        if self.mapping.get(key) is None:
            self.refuse(f"an object with {key}")
        return read(_Node(f"{self.path}.{key}", self.mapping[key]))

    def optional(self, key: str, read: Callable[[_Node], Any]) -> Any:
        """A null is as good as no key (JSON mapping of protobuf)."""
        return None if self.mapping.get(key) is None else self.required(key, read)

    def items(self, key: str) -> list[_Node]:
        values = self.mapping.get(key)
        if values is not None and not isinstance(values, list):
            _Node(f"{self.path}.{key}", values).refuse("a list")
        return [_Node(f"{self.path}.{key}[{i}]", value) for i, value in enumerate(values or ())]

    def make(self, kind: Callable[..., Made], **fields: Any) -> Made:
        """Make the object of this node; what it refuses is told with the path."""
        try:
            return kind(**fields)
        except ConfigurationError as error:
            where = self.path.lstrip(".")
            raise ConfigurationError(f"service config{': ' + where if where else ''}: {error}") from None
