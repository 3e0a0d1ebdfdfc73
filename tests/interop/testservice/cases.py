"""The cases by name, the messages they send, and which peer cannot do which of them.

Source: gRPC's interop-test-descriptions. ``m`` is a package of generated messages, betterproto2's or google.protobuf's:
both are made by the same keywords.
"""

from dataclasses import dataclass

CASES = (
    "empty_unary",
    "cacheable_unary",
    "large_unary",
    "client_compressed_unary",
    "server_compressed_unary",
    "client_streaming",
    "client_compressed_streaming",
    "server_streaming",
    "server_compressed_streaming",
    "ping_pong",
    "empty_stream",
    "custom_metadata",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
    "cancel_after_begin",
    "cancel_after_first_response",
    "timeout_on_sleeping_server",
    "rpc_soak",
    "channel_soak",
    "orca_per_rpc",
    "orca_oob",
)

REQUEST_SIZE, RESPONSE_SIZE = 271_828, 314_159
INPUT_SIZES, OUTPUT_SIZES = (27_182, 8, 1_828, 45_904), (31_415, 9, 2_653, 58_979)
COMPRESSED_INPUT_SIZES, COMPRESSED_OUTPUT_SIZES = (27_182, 45_904), (31_415, 92_653)
LONGEST = 15.0
"""Seconds that a call of a case may take on a slow machine, unless the case itself is about time."""
SLEEPING_TIMEOUT = 0.001

INITIAL_KEY, INITIAL_VALUE = "x-grpc-test-echo-initial", "test_initial_metadata_value"
TRAILING_KEY, TRAILING_VALUE = "x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"
ECHO_METADATA = ((INITIAL_KEY, INITIAL_VALUE), (TRAILING_KEY, TRAILING_VALUE))

UNKNOWN = 2
STATUS_MESSAGE = "test status message"
SPECIAL_MESSAGE = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"

LOAD_KEY = "endpoint-load-metrics-bin"
CALL_REPORT = {
    "cpu_utilization": 0.8210,
    "memory_utilization": 0.5847,
    "request_cost": {"cost": 3456.32},
    "utilization": {"util": 0.30499},
}
SERVER_REPORTS = (
    {"cpu_utilization": 0.8210, "memory_utilization": 0.5847, "utilization": {"util": 0.30499}},
    {"cpu_utilization": 0.29309, "memory_utilization": 0.2, "utilization": {"util": 0.2039}},
)
REPORT_INTERVAL = 0.05
"""Seconds between the reports out of band: short, since the case waits for a report or two."""


def zeros(m, size):
    """Return a payload."""
    return m.Payload(body=bytes(size))


def large(m, **more):
    """Return the request of the large cases."""
    return m.SimpleRequest(response_size=RESPONSE_SIZE, payload=zeros(m, REQUEST_SIZE), **more)


def output_request(m, *sizes, body=None, **more):
    """Return a request for answers of these sizes, with a payload of ``body`` bytes itself."""
    parameters = [m.ResponseParameters(size=size) for size in sizes]
    payload = {} if body is None else {"payload": zeros(m, body)}
    return m.StreamingOutputCallRequest(response_parameters=parameters, **payload, **more)


def compressed_output_request(m):
    """Return the request of server_compressed_streaming: one answer compressed, one not."""
    parameters = [
        m.ResponseParameters(size=size, compressed=m.BoolValue(value=value))
        for size, value in zip(COMPRESSED_OUTPUT_SIZES, (True, False), strict=True)
    ]
    return m.StreamingOutputCallRequest(response_parameters=parameters)


def compressed_inputs(m):
    """Return the requests of client_compressed_streaming: the first is to be sent compressed, the second not."""
    return [
        m.StreamingInputCallRequest(payload=zeros(m, size), expect_compressed=m.BoolValue(value=value))
        for size, value in zip(COMPRESSED_INPUT_SIZES, (True, False), strict=True)
    ]


def load_report(orca, report):
    """Return the ORCA load report that a ``TestOrcaReport`` asks for."""
    return orca.OrcaLoadReport(
        cpu_utilization=report.cpu_utilization,
        mem_utilization=report.memory_utilization,
        request_cost=dict(report.request_cost),
        utilization=dict(report.utilization),
    )


def check_zeros(payload, size):
    """Assert that a payload is ``size`` zeros."""
    assert len(payload.body) == size
    assert payload.body.count(0) == size


def reports(report, wanted):
    """Whether an ORCA load report says what was asked for."""
    return {
        "cpu_utilization": report.cpu_utilization,
        "memory_utilization": report.mem_utilization,
        "request_cost": dict(report.request_cost),
        "utilization": dict(report.utilization),
    } == {"request_cost": {}, **wanted}


@dataclass(frozen=True)
class Soak:
    """How rpc_soak and channel_soak are run; times in seconds.

    Few iterations for the daily run, more by ``pytest tests/interop -k soak --soak 10000 --timeout 3600``. ``longest``
    is what one call may take, and ``overall`` all of them: generous, since the machine is shared.
    """

    iterations: int = 10
    failures: int = 0
    longest: float = 5.0
    pause: float = 0.0
    overall: float = 15.0
    request_size: int = REQUEST_SIZE
    response_size: int = RESPONSE_SIZE

    @classmethod
    def of(cls, iterations):
        """Return a soak of so many iterations, with the time for them."""
        return cls(iterations, overall=max(cls.overall, iterations * 0.5))


@dataclass(frozen=True)
class Gap:
    """A case that a pair of peers cannot do, or only ``partly``; "*" stands for every peer."""

    case: str
    client: str
    server: str
    reason: str
    partly: bool = False


GAPS = (
    Gap(
        "client_compressed_streaming",
        "grpcio",
        "*",
        "grpcio's Python client compresses all messages of a call or none",
    ),
    Gap(
        "client_compressed_*",
        "*",
        "grpc-js",
        "without the probe: grpc-js does not tell a handler whether a message came compressed",
        partly=True,
    ),
    Gap("server_compressed_*", "*", "grpc-js", "grpc-js's server does not compress"),
    Gap(
        "orca_per_rpc",
        "grpcio",
        "*",
        "without a look at the report, which grpcio keeps for its balancer and does not show to Python",
        partly=True,
    ),
    Gap(
        "server_compressed_*",
        "grpc-js",
        "*",
        "without a look at the flag, which grpc-js does not show to its callers",
        partly=True,
    ),
)


def gap(case, client, server):
    """Return the first gap that this case falls into, or None."""
    for found in GAPS:
        names = found.case == case or (found.case.endswith("*") and case.startswith(found.case[:-1]))
        if names and found.client in ("*", client) and found.server in ("*", server):
            return found
    return None
