"""Policies in gRPC's JSON (service config)."""

import pytest

from orbit_net.client import (
    Channel,
    FailurePercentage,
    LeastRequest,
    OutlierDetection,
    PickFirst,
    RingHash,
    RoundRobin,
    ServiceConfig,
    SuccessRate,
    WeightedRoundRobin,
)
from orbit_net.errors import ConfigurationError


def read(*policies):
    """Return the policy of a list."""
    return ServiceConfig.from_json({"loadBalancingConfig": list(policies)}).balancing


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"pick_first": {"shuffleAddressList": True}}, PickFirst(shuffle=True)),
        ({"round_robin": {}}, RoundRobin()),
        ({"least_request_experimental": {"choiceCount": 5}}, LeastRequest(choices=5)),
        ({"least_request": {}}, LeastRequest()),
        (
            {"ring_hash_experimental": {"minRingSize": "10", "maxRingSize": 20, "requestHashHeader": "user"}},
            RingHash(min_ring_size=10, max_ring_size=20, header="user", places=None),
        ),
        ({"ring_hash": {"requestHashHeader": ""}}, RingHash(places=None)),
        (
            {
                "weighted_round_robin": {
                    "enableOobLoadReport": True,
                    "oobReportingPeriod": "5s",
                    "blackoutPeriod": "2s",
                    "weightExpirationPeriod": "60s",
                    "weightUpdatePeriod": "0.01s",
                    "errorUtilizationPenalty": 2,
                }
            },
            WeightedRoundRobin(
                out_of_band=True, report_period=5, blackout=2, expiry=60, update_period=0.1, error_penalty=2
            ),
        ),
        (
            {
                "outlier_detection_experimental": {
                    "interval": "5s",
                    "baseEjectionTime": "6s",
                    "maxEjectionTime": "7s",
                    "maxEjectionPercent": 20,
                    "successRateEjection": {"stdevFactor": 1000, "requestVolume": 3},
                    "failurePercentageEjection": {"threshold": 50, "minimumHosts": 2, "enforcementPercentage": 10},
                    "childPolicy": [{"unknown": {}}, {"least_request": {}}],
                }
            },
            OutlierDetection(
                interval=5,
                base_ejection=6,
                max_ejection=7,
                max_ejected_percent=20,
                success_rate=SuccessRate(stdev_factor=1000, request_volume=3),
                failure_percentage=FailurePercentage(threshold=50, minimum_hosts=2, enforcement=10),
                child=LeastRequest(),
            ),
        ),
        ({"outlier_detection": {}}, OutlierDetection(success_rate=None, child=RoundRobin())),
    ],
)
def test_policies(policy, expected):
    """Every key is read, under the name of today and of the experiment."""
    assert read(policy) == expected


def test_the_first_known_one_counts():
    """Unknown ones before it are passed over, those after it are not looked at."""
    assert read({"xds": {}}, {"round_robin": {}}, {"pick_first": {"shuffleAddressList": 7}}) == RoundRobin()
    assert ServiceConfig.from_json({"loadBalancingPolicy": "ROUND_ROBIN"}).balancing == RoundRobin()
    assert ServiceConfig.from_json("{}").balancing is None
    assert ServiceConfig(load_balancing=("xds", "ring_hash")).balancing == RingHash()


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ({"ring_hash": {"minRingSize": 0}}, r"loadBalancingConfig\[0\]\.ring_hash: RingHash\.min_ring_size is 0"),
        ({"least_request": {"choiceCount": 1}}, r"least_request: LeastRequest\.choices is 1"),
        ({"weighted_round_robin": {"blackoutPeriod": 3}}, r"blackoutPeriod is 3; it must be a duration"),
        ({"outlier_detection": {"childPolicy": [{"outlier_detection": {}}]}}, r"OutlierDetection\.child is"),
        ({"outlier_detection": {"childPolicy": {}}}, r"childPolicy is {}; it must be a list"),
        ({"round_robin": 3}, r"round_robin is 3; it must be an object"),
    ],
)
def test_bad_policies(policy, text):
    """The error names the path, the value, and what is allowed; a channel raises it before any I/O."""
    with pytest.raises(ConfigurationError, match=text):
        Channel("a:1", service_config={"loadBalancingConfig": [policy]})


def test_a_channel_takes_the_policy_of_its_config():
    """The whole way from JSON to the policy that chooses."""
    channel = Channel("ipv4:10.0.0.1:1,10.0.0.2:1", service_config='{"loadBalancingConfig": [{"round_robin": {}}]}')
    assert channel.line.policy.name == "round_robin"
    with pytest.raises(ConfigurationError, match="health_check is 3"):
        ServiceConfig(health_check=3)
