"""The service config in both forms, and what is said about a wrong one."""

import json

import pytest

from echo import RawCodec
from orbit_net.client import Channel, HedgingPolicy, MethodConfig, RetryPolicy, RetryThrottling, ServiceConfig
from orbit_net.errors import ConfigurationError
from orbit_net.status import Status

RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "deadline_exceeded", 8],
}
POLICY = RetryPolicy(
    max_attempts=4,
    initial_backoff=0.1,
    max_backoff=1.0,
    backoff_multiplier=2,
    retryable_status_codes={Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.RESOURCE_EXHAUSTED},
)


def test_everything():
    """Every known key is read, from text as from a mapping, and unknown ones are ignored."""
    config = {
        "loadBalancingConfig": [{"grpclb": {}}, {"pick_first": {}}],
        "methodConfig": [
            {
                "name": [{"service": "a.B", "method": "C"}, {"service": "a.D"}],
                "timeout": "1.5s",
                "waitForReady": True,
                "maxRequestMessageBytes": "100",
                "maxResponseMessageBytes": 200,
                "retryPolicy": RETRY,
                "unknown": 1,
            },
            {"name": [{}], "timeout": None},
        ],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
        "healthCheckConfig": {"serviceName": "x"},
    }
    expected = ServiceConfig(
        methods=(
            MethodConfig(
                names=("a.B/C", "a.D"),
                timeout=1.5,
                wait_for_ready=True,
                max_request_message=100,
                max_response_message=200,
                retry=POLICY,
            ),
            MethodConfig(),
        ),
        throttling=RetryThrottling(max_tokens=10, token_ratio=0.1),
        load_balancing=("grpclb", "pick_first"),
        health_check="x",
    )
    assert ServiceConfig.from_json(config) == expected
    assert ServiceConfig.from_json(json.dumps(config)) == expected
    assert ServiceConfig.from_json("{}") == ServiceConfig()


def test_a_hedging_policy():
    """The delay and the statuses may be left out: all attempts are sent together then, and any failure is fatal."""
    whole = {"maxAttempts": "3", "hedgingDelay": "0.5s", "nonFatalStatusCodes": ["unavailable", 4]}
    config = ServiceConfig.from_json(
        {"methodConfig": [{"hedgingPolicy": whole}, {"name": [], "hedgingPolicy": {"maxAttempts": 9}}]}
    )
    [first, second] = [method.hedging for method in config.methods]
    assert first == HedgingPolicy(
        max_attempts=3,
        hedging_delay=0.5,
        non_fatal_status_codes={Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED},
    )
    assert second == HedgingPolicy(max_attempts=9, hedging_delay=0, non_fatal_status_codes=())
    assert second.attempts == 5


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"maxAttempts": 1}, "max_attempts is 1; it must be an integer of at least 2"),
        ({"hedgingDelay": "-1s"}, "hedgingDelay is '-1s'; it must be a duration"),
        ({"hedgingDelay": 1}, "hedgingDelay is 1; it must be a duration"),
        ({"nonFatalStatusCodes": ["OK"]}, "statuses other than OK"),
        ({"nonFatalStatusCodes": "UNAVAILABLE"}, "nonFatalStatusCodes is 'UNAVAILABLE'; it must be a list"),
    ],
)
def test_a_wrong_hedging_policy(change, text):
    """Each field of a hedging policy is checked, and its place is told."""
    with pytest.raises(ConfigurationError, match=rf"methodConfig\[0\]\.hedgingPolicy.*{text}"):
        ServiceConfig.from_json({"methodConfig": [{"hedgingPolicy": {"maxAttempts": 2} | change}]})


def test_both_policies():
    """A method is retried or hedged (gRFC A6)."""
    with pytest.raises(ConfigurationError, match="one of them"):
        MethodConfig(retry=POLICY, hedging=HedgingPolicy(max_attempts=2))
    with pytest.raises(ConfigurationError, match=r"hedging_delay is -1"):
        HedgingPolicy(max_attempts=2, hedging_delay=-1)


def test_precedence():
    """The method's own entry wins, then its service's, then the default; without one there is none."""
    config = ServiceConfig.from_json(
        {
            "methodConfig": [
                {"name": [{}], "timeout": "1s"},
                {"name": [{"service": "a.B"}], "timeout": "2s"},
                {"name": [{"service": "a.B", "method": "C"}], "timeout": "3s"},
            ]
        }
    )
    assert [config.method(path).timeout for path in ("/a.B/C", "/a.B/D", "/a.BB/C", "/x/y")] == [3, 2, 1, 1]
    assert ServiceConfig(methods=(MethodConfig(names=("a.B",)),)).method("/a.C/D") is None


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("{", r"not JSON: "),
        ("[]", r"it is \[\]; it must be an object"),
        ({"methodConfig": {}}, r"methodConfig is \{\}; it must be a list"),
        ({"methodConfig": [5]}, r"methodConfig\[0\] is 5; it must be an object"),
        ({"methodConfig": [{"timeout": "1"}]}, r"methodConfig\[0\]\.timeout is '1'; .* '1\.5s'"),
        ({"methodConfig": [{"timeout": "-1s"}]}, r"methodConfig\[0\]\.timeout is '-1s'"),
        ({"methodConfig": [{"timeout": 1}]}, r"methodConfig\[0\]\.timeout is 1"),
        ({"methodConfig": [{"waitForReady": 1}]}, r"waitForReady is 1; it must be true or false"),
        ({"methodConfig": [{"maxRequestMessageBytes": "x"}]}, r"maxRequestMessageBytes is 'x'; it must be an integer"),
        ({"methodConfig": [{"maxResponseMessageBytes": -1}]}, r"methodConfig\[0\]: .*max_response_message is -1"),
        ({"methodConfig": [{"name": [{"method": "x"}]}]}, r"name\[0\] .* a name whose method comes with its service"),
        ({"methodConfig": [{"name": [{"service": 1}]}]}, r"name\[0\]\.service is 1; it must be a string"),
        ({"methodConfig": [{"name": [{}]}, {"name": [{}]}]}, r"'' is named twice"),
        ({"methodConfig": [{"retryPolicy": {}}]}, r"methodConfig\[0\]\.retryPolicy is .* an object with maxAttempts"),
        ({"methodConfig": [{"hedgingPolicy": {}}]}, r"\[0\]\.hedgingPolicy is .* an object with maxAttempts"),
        ({"methodConfig": [{"hedgingPolicy": {}, "retryPolicy": RETRY}]}, r"one of retryPolicy and hedgingPolicy"),
        ({"retryThrottling": {"maxTokens": 10}}, r"retryThrottling is .* an object with tokenRatio"),
        ({"retryThrottling": {"maxTokens": 1001, "tokenRatio": 1}}, r"retryThrottling: .*1001; .* 1 to 1000"),
        ({"retryThrottling": {"maxTokens": 0, "tokenRatio": 1}}, r"max_tokens is 0"),
        ({"retryThrottling": {"maxTokens": 10, "tokenRatio": 0}}, r"token_ratio is 0"),
        ({"loadBalancingConfig": [{"a": {}, "b": {}}]}, r"loadBalancingConfig\[0\] .* one key"),
        ({"loadBalancingConfig": [{"grpclb": {}}]}, r"\['grpclb'\]; it must be at least one of pick_first"),
        ({"loadBalancingPolicy": "WEIRD"}, r"\['weird'\]; it must be at least one of pick_first"),
    ],
)
def test_a_wrong_config(config, text):
    """The error names the path, the value and what is allowed; the channel refuses it before any I/O."""
    with pytest.raises(ConfigurationError, match=text):
        ServiceConfig.from_json(config)
    with pytest.raises(ConfigurationError, match=text):
        Channel("localhost:1", codec=RawCodec(), service_config=config)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"maxAttempts": 1}, "max_attempts is 1; it must be an integer of at least 2"),
        ({"maxAttempts": "no"}, "maxAttempts is 'no'; it must be an integer"),
        ({"initialBackoff": "0s"}, "initial_backoff is 0.0; it must be a number above 0"),
        ({"maxBackoff": "1"}, "maxBackoff is '1'; it must be a duration"),
        ({"backoffMultiplier": 0}, "backoff_multiplier is 0"),
        ({"backoffMultiplier": []}, r"backoffMultiplier is \[\]"),
        ({"retryableStatusCodes": []}, "retryable_status_codes is .*statuses other than OK"),
        ({"retryableStatusCodes": ["OK"]}, "statuses other than OK"),
        ({"retryableStatusCodes": ["NO_SUCH"]}, r"retryableStatusCodes\[0\] is 'NO_SUCH'; .*'UNAVAILABLE' or 14"),
        ({"retryableStatusCodes": "UNAVAILABLE"}, "retryableStatusCodes is 'UNAVAILABLE'; it must be a list"),
        ({"retryableStatusCodes": [99]}, r"retryableStatusCodes\[0\] is 99"),
    ],
)
def test_a_wrong_retry_policy(change, text):
    """Each field of a retry policy is checked, and its place is told."""
    with pytest.raises(ConfigurationError, match=rf"methodConfig\[1\]\.retryPolicy.*{text}"):
        ServiceConfig.from_json({"methodConfig": [{}, {"retryPolicy": RETRY | change}]})


@pytest.mark.parametrize(
    "fields",
    [
        {"names": "a.B"},
        {"names": ("/a.B/C",)},
        {"names": ("a/b/c",)},
        {"names": ("a/",)},
        {"names": (1,)},
        {"timeout": -1},
        {"timeout": float("inf")},
        {"timeout": "1s"},
        {"max_request_message": -1},
        {"max_request_message": 1.5},
        {"max_response_message": True},
    ],
)
def test_a_wrong_method_config(fields):
    """The Python form is checked too."""
    [name] = fields
    with pytest.raises(ConfigurationError, match=rf"MethodConfig\.{name} is "):
        MethodConfig(**fields)
