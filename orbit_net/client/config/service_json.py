"""Reads the JSON form of a service config.

Source: the JSON mapping of protobuf for ``grpc.service_config.ServiceConfig``: numbers may be strings, a duration is
text in seconds, a status is a name or a number.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orbit_net.client.config.balance_json import read_balancing
from orbit_net.client.config.json_node import Node as _Node
from orbit_net.client.config.json_node import boolean as _boolean
from orbit_net.client.config.json_node import duration as _duration
from orbit_net.client.config.json_node import integer as _integer
from orbit_net.client.config.json_node import number as _number
from orbit_net.client.config.json_node import text as _text
from orbit_net.client.config.service_config import (
    HedgingPolicy,
    MethodConfig,
    RetryPolicy,
    RetryThrottling,
    ServiceConfig,
)
from orbit_net.errors import ConfigurationError
from orbit_net.status import STATUS_BY_NUMBER, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_service_config"]


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
        balancing=read_balancing(root.items("loadBalancingConfig")),
        health_check=root.optional("healthCheckConfig", _health_check),
    )


def _health_check(node: _Node) -> str | None:
    name: str | None = node.optional("serviceName", _text)
    return name


def _policies(root: _Node) -> list[str]:
    names = [name for node in root.items("loadBalancingConfig") for name in node.mapping]
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
