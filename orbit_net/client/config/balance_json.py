"""Reads ``loadBalancingConfig`` of a service config.

Source: ``grpc.service_config.LoadBalancingConfig`` and the gRFCs A42, A48, A50, A58, A62, A76.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orbit_net.client.balance.settings import (
    FailurePercentage,
    LeastRequest,
    OutlierDetection,
    PickFirst,
    RingHash,
    RoundRobin,
    SuccessRate,
    WeightedRoundRobin,
)
from orbit_net.client.config.json_node import Node, boolean, duration, integer, number, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orbit_net.client.balance.settings import Balancing

__all__ = ["read_balancing"]


def read_balancing(nodes: Sequence[Node]) -> Balancing | None:
    """Return the first policy of the list that is known; None of an empty list, or of a list of unknown ones."""
    for node in nodes:
        if len(node.mapping) != 1:
            node.refuse("an object with one key, the name of the policy")
    for node in nodes:
        [name] = node.mapping
        read = _POLICIES.get(name)
        if read is not None:
            return node.required(name, read)  # type: ignore[no-any-return]
    return None


def _given(node: Node, **readers: tuple[str, Callable[[Node], Any]]) -> dict[str, Any]:
    """Return what the node says; what it does not say is left to the defaults."""
    if not node.mapping:  # refuses what is no object, also where no key is read
        return {}
    values = {name: node.optional(key, read) for name, (key, read) in readers.items()}
    return {name: value for name, value in values.items() if value is not None}


def _pick_first(node: Node) -> PickFirst:
    return node.make(PickFirst, **_given(node, shuffle=("shuffleAddressList", boolean)))


def _round_robin(node: Node) -> RoundRobin:
    return node.make(RoundRobin, **_given(node))


def _weighted(node: Node) -> WeightedRoundRobin:
    given = _given(
        node,
        out_of_band=("enableOobLoadReport", boolean),
        report_period=("oobReportingPeriod", duration),
        blackout=("blackoutPeriod", duration),
        expiry=("weightExpirationPeriod", duration),
        update_period=("weightUpdatePeriod", duration),
        error_penalty=("errorUtilizationPenalty", number),
    )
    if "update_period" in given:
        given["update_period"] = max(given["update_period"], 0.1)  # gRFC A58: less is 100 ms
    return node.make(WeightedRoundRobin, **given)


def _least_request(node: Node) -> LeastRequest:
    return node.make(LeastRequest, **_given(node, choices=("choiceCount", integer)))


def _ring_hash(node: Node) -> RingHash:
    given = _given(
        node,
        min_ring_size=("minRingSize", integer),
        max_ring_size=("maxRingSize", integer),
        header=("requestHashHeader", text),
    )
    if not given.get("header"):
        given.pop("header", None)
    # The ring of the gRFC: the JSON may be that of clients in other languages too.
    return node.make(RingHash, **given, places=None)


def _outlier_detection(node: Node) -> OutlierDetection:
    given = _given(
        node,
        interval=("interval", duration),
        base_ejection=("baseEjectionTime", duration),
        max_ejection=("maxEjectionTime", duration),
        max_ejected_percent=("maxEjectionPercent", integer),
        failure_percentage=("failurePercentageEjection", _failure_percentage),
    )
    # In gRPC's JSON a rule that is not there is off; the class in Python has one on.
    given["success_rate"] = node.optional("successRateEjection", _success_rate)
    child = read_balancing(node.items("childPolicy"))
    return node.make(OutlierDetection, **given, **({} if child is None else {"child": child}))


def _success_rate(node: Node) -> SuccessRate:
    return node.make(SuccessRate, **_given(node, stdev_factor=("stdevFactor", integer)), **_rule(node))


def _failure_percentage(node: Node) -> FailurePercentage:
    return node.make(FailurePercentage, **_given(node, threshold=("threshold", integer)), **_rule(node))


def _rule(node: Node) -> dict[str, Any]:
    return _given(
        node,
        enforcement=("enforcementPercentage", integer),
        minimum_hosts=("minimumHosts", integer),
        request_volume=("requestVolume", integer),
    )


_POLICIES: Final[Mapping[str, Callable[[Node], Balancing]]] = {
    "pick_first": _pick_first,
    "round_robin": _round_robin,
    "weighted_round_robin": _weighted,
    "least_request_experimental": _least_request,
    "least_request": _least_request,
    "ring_hash_experimental": _ring_hash,
    "ring_hash": _ring_hash,
    "outlier_detection_experimental": _outlier_detection,
    "outlier_detection": _outlier_detection,
}
