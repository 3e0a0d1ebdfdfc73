"""TestService and OpenRcaService on our server."""

import time
from collections import deque

import anyio
from grpclib.const import Status

from orbit_net.server import current_call

from . import cases
from .flags import came_compressed


def services(ours):
    """Return new services, one state for both."""
    m, state = ours.m, {"report": ours.orca.OrcaLoadReport()}

    class TestService(ours.TestServiceBase):
        async def empty_call(self, request):
            return m.Empty()

        async def unary_call(self, request):
            await _prepare(request)
            if (report := request.orca_per_query_report) is not None:
                trailer = bytes(cases.load_report(ours.orca, report))
                current_call().set_trailing_metadata({cases.LOAD_KEY: trailer})
            _check_compressed(request)
            if request.response_compressed is not None and request.response_compressed.value:
                current_call().set_compression("gzip")
            return m.SimpleResponse(payload=cases.zeros(m, request.response_size))

        async def cacheable_unary_call(self, request):
            await current_call().send_initial_metadata(metadata={"cache-control": "max-age=60, public"})
            return m.SimpleResponse(payload=m.Payload(body=b"%d" % time.time_ns()))

        async def streaming_output_call(self, request):
            stream = current_call()
            if any(wanted.compressed is not None and wanted.compressed.value for wanted in request.response_parameters):
                stream.set_compression("gzip")
            await _answer(stream, m, request)
            for _ in ():
                yield  # messages are sent one by one above, each compressed or not

        async def streaming_input_call(self, requests):
            total = 0
            async for request in requests:
                _check_compressed(request)
                total += len(request.payload.body)
            return m.StreamingInputCallResponse(aggregated_payload_size=total)

        async def full_duplex_call(self, stream):
            begun = False
            async for request in stream:
                if not begun:
                    await _prepare(request)
                    begun = True
                elif request.response_status is not None:
                    _echo_status(request)
                if request.orca_oob_report is not None:
                    state["report"] = cases.load_report(ours.orca, request.orca_oob_report)
                await _answer(stream, m, request)

        async def half_duplex_call(self, stream):
            requests = deque([request async for request in stream])
            while requests:
                await _answer(stream, m, requests.popleft())

    class OpenRcaService(ours.OpenRcaServiceBase):
        async def stream_core_metrics(self, request):
            while True:
                yield state["report"]
                await anyio.sleep(request.report_interval.total_seconds())

    return [_implemented(TestService()), OpenRcaService()]


def _implemented(service):
    """Take out the method that no server has, so that the library answers for it and not the base."""
    handlers = service.__mapping__()
    del handlers["/grpc.testing.TestService/UnimplementedCall"]
    service.__mapping__ = lambda: handlers
    return service


async def _prepare(request):
    """Echo metadata and status as the client wishes."""
    call = current_call()
    if cases.TRAILING_KEY in call.metadata:
        call.set_trailing_metadata({cases.TRAILING_KEY: call.metadata[cases.TRAILING_KEY]})
    _echo_status(request)
    if cases.INITIAL_KEY in call.metadata:
        await call.send_initial_metadata(metadata={cases.INITIAL_KEY: call.metadata[cases.INITIAL_KEY]})


def _echo_status(request):
    status = request.response_status
    if status is not None and status.code:
        current_call().abort(Status(status.code), status.message)


def _check_compressed(request):
    expected = request.expect_compressed
    if expected is not None and expected.value != came_compressed(request):
        current_call().abort(Status.INVALID_ARGUMENT, f"expected a message with compression {expected.value}")


async def _answer(stream, m, request):
    for wanted in request.response_parameters:
        if wanted.interval_us:
            await anyio.sleep(wanted.interval_us / 1e6)
        reply = m.StreamingOutputCallResponse(payload=cases.zeros(m, wanted.size))
        await stream.send_message(reply, compress=wanted.compressed is not None and wanted.compressed.value)
