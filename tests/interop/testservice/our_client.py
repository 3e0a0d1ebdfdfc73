"""The cases on our client. Each method is one case; it returns when what the case demands was seen."""

import time
from datetime import timedelta

import anyio
import pytest
from grpclib.const import Cardinality, Status

from orbit_net.client import Channel
from orbit_net.errors import RpcError

from . import cases
from .flags import NotingCodec, came_compressed


class OurClient:
    """Runs the cases against ``target``; ``options`` are for each channel, ``probe`` off for a server without flags."""

    def __init__(self, ours, target, *, options, probe, soak):
        self.ours, self.m = ours, ours.m
        self.target = target
        self.options = options
        self.probe = probe
        self.soak = soak

    async def run(self, case):
        """Run one case on a new channel."""
        async with Channel(self.target, codec=NotingCodec(), **self.options) as self.channel:
            self.stub = self.ours.TestServiceStub(self.channel, timeout=cases.LONGEST)
            await getattr(self, case)()

    def request(self, name, cardinality, request_type, reply_type, **options):
        """Return a call as an object, where a case needs more than the stub gives."""
        path = f"/grpc.testing.TestService/{name}"
        return self.channel.request(
            path, cardinality, request_type, reply_type, **{"timeout": cases.LONGEST, **options}
        )

    def unary(self, **options):
        """Return a UnaryCall as an object."""
        m = self.m
        return self.request("UnaryCall", Cardinality.UNARY_UNARY, m.SimpleRequest, m.SimpleResponse, **options)

    # --- the four kinds ----------------------------------------------------------------------------

    async def empty_unary(self):
        assert await self.stub.empty_call(self.m.Empty()) == self.m.Empty()

    async def cacheable_unary(self):
        request = self.m.SimpleRequest(payload=self.m.Payload(body=b"%d" % time.time_ns()))
        metadata = {"x-user-ip": "1.2.3.4"}
        first = await self.stub.cacheable_unary_call(request, metadata=metadata)
        second = await self.stub.cacheable_unary_call(request, metadata=metadata)
        assert first.payload.body == second.payload.body != b""

    async def large_unary(self):
        reply = await self.stub.unary_call(cases.large(self.m))
        cases.check_zeros(reply.payload, cases.RESPONSE_SIZE)

    async def client_streaming(self):
        requests = [self.m.StreamingInputCallRequest(payload=cases.zeros(self.m, size)) for size in cases.INPUT_SIZES]
        reply = await self.stub.streaming_input_call(requests)
        assert reply.aggregated_payload_size == sum(cases.INPUT_SIZES)

    async def server_streaming(self):
        replies = self.stub.streaming_output_call(cases.output_request(self.m, *cases.OUTPUT_SIZES))
        payloads = [reply.payload async for reply in replies]
        for payload, size in zip(payloads, cases.OUTPUT_SIZES, strict=True):
            cases.check_zeros(payload, size)

    async def ping_pong(self):
        async with self.stub.full_duplex_call() as stream:
            for size, body in zip(cases.OUTPUT_SIZES, cases.INPUT_SIZES, strict=True):
                await stream.send_message(cases.output_request(self.m, size, body=body))
                cases.check_zeros((await stream.recv_message()).payload, size)
            await stream.end()
            assert await stream.recv_message() is None

    async def empty_stream(self):
        async with self.stub.full_duplex_call() as stream:
            await stream.end()
            assert await stream.recv_message() is None

    # --- compression -------------------------------------------------------------------------------

    async def client_compressed_unary(self):
        yes, no = self.m.BoolValue(value=True), self.m.BoolValue(value=False)
        if self.probe:
            with pytest.raises(RpcError) as caught:
                await self.stub.unary_call(cases.large(self.m, expect_compressed=yes))
            assert caught.value.status is Status.INVALID_ARGUMENT
        for flag in (yes, no):
            async with self.unary(compression="gzip") as call:
                await call.send_message(cases.large(self.m, expect_compressed=flag), compress=flag.value)
                reply = await call.recv_message()
            cases.check_zeros(reply.payload, cases.RESPONSE_SIZE)

    async def server_compressed_unary(self):
        for value in (True, False):
            reply = await self.stub.unary_call(cases.large(self.m, response_compressed=self.m.BoolValue(value=value)))
            assert came_compressed(reply) is value
            cases.check_zeros(reply.payload, cases.RESPONSE_SIZE)

    async def client_compressed_streaming(self):
        m = self.m
        kind = ("StreamingInputCall", Cardinality.STREAM_UNARY, m.StreamingInputCallRequest)
        requests = cases.compressed_inputs(m)
        if self.probe:
            with pytest.raises(RpcError) as caught:
                await self.stub.streaming_input_call(requests[:1])
            assert caught.value.status is Status.INVALID_ARGUMENT
        async with self.request(*kind, m.StreamingInputCallResponse, compression="gzip") as call:
            for request in requests:
                await call.send_message(request, compress=request.expect_compressed.value)
            await call.end()
            reply = await call.recv_message()
        assert reply.aggregated_payload_size == sum(cases.COMPRESSED_INPUT_SIZES)

    async def server_compressed_streaming(self):
        request = cases.compressed_output_request(self.m)
        replies = [reply async for reply in self.stub.streaming_output_call(request)]
        assert [came_compressed(reply) for reply in replies] == [True, False]
        for reply, size in zip(replies, cases.COMPRESSED_OUTPUT_SIZES, strict=True):
            cases.check_zeros(reply.payload, size)

    # --- metadata and statuses -----------------------------------------------------------------------

    async def custom_metadata(self):
        async with self.unary(metadata=cases.ECHO_METADATA) as call:
            await call.send_message(cases.large(self.m))
            cases.check_zeros((await call.recv_message()).payload, cases.RESPONSE_SIZE)
            await self._check_echo(call)
        async with self.stub.full_duplex_call(metadata=cases.ECHO_METADATA) as stream:
            await stream.send_message(
                cases.output_request(self.m, cases.RESPONSE_SIZE, body=cases.REQUEST_SIZE), end=True
            )
            cases.check_zeros((await stream.recv_message()).payload, cases.RESPONSE_SIZE)
            await self._check_echo(stream)

    async def _check_echo(self, call):
        await call.recv_trailing_metadata()
        assert call.initial_metadata.getall(cases.INITIAL_KEY) == [cases.INITIAL_VALUE]
        assert call.trailing_metadata.getall(cases.TRAILING_KEY) == [cases.TRAILING_VALUE]

    async def status_code_and_message(self):
        status = self.m.EchoStatus(code=cases.UNKNOWN, message=cases.STATUS_MESSAGE)
        await self._fails(
            self.stub.unary_call(self.m.SimpleRequest(response_status=status)), Status.UNKNOWN, cases.STATUS_MESSAGE
        )
        async with self.stub.full_duplex_call() as stream:
            await stream.send_message(cases.output_request(self.m, response_status=status), end=True)
            await self._fails(stream.recv_message(), Status.UNKNOWN, cases.STATUS_MESSAGE)

    async def special_status_message(self):
        status = self.m.EchoStatus(code=cases.UNKNOWN, message=cases.SPECIAL_MESSAGE)
        call = self.stub.unary_call(self.m.SimpleRequest(response_status=status))
        await self._fails(call, Status.UNKNOWN, cases.SPECIAL_MESSAGE)

    async def unimplemented_method(self):
        await self._fails(self.stub.unimplemented_call(self.m.Empty()), Status.UNIMPLEMENTED)

    async def unimplemented_service(self):
        stub = self.ours.UnimplementedServiceStub(self.channel, timeout=cases.LONGEST)
        await self._fails(stub.unimplemented_call(self.m.Empty()), Status.UNIMPLEMENTED)

    async def _fails(self, call, status, message=None):
        with pytest.raises(RpcError) as caught:
            await call
        assert caught.value.status is status
        assert message is None or caught.value.message == message

    # --- cancellation and time -------------------------------------------------------------------------

    async def cancel_after_begin(self):
        m = self.m
        kind = ("StreamingInputCall", Cardinality.STREAM_UNARY, m.StreamingInputCallRequest)
        async with self.request(*kind, m.StreamingInputCallResponse) as call:
            await call.send_request()
            await call.cancel()
            await self._fails(call.recv_message(), Status.CANCELLED)

    async def cancel_after_first_response(self):
        async with self.stub.full_duplex_call() as stream:
            await stream.send_message(cases.output_request(self.m, cases.OUTPUT_SIZES[0], body=cases.INPUT_SIZES[0]))
            cases.check_zeros((await stream.recv_message()).payload, cases.OUTPUT_SIZES[0])
            await stream.cancel()
            await self._fails(stream.recv_message(), Status.CANCELLED)

    async def timeout_on_sleeping_server(self):
        async with self.stub.full_duplex_call(timeout=cases.SLEEPING_TIMEOUT) as stream:

            async def talk():
                await stream.send_message(cases.output_request(self.m, body=cases.INPUT_SIZES[0]))
                await stream.recv_message()

            await self._fails(talk(), Status.DEADLINE_EXCEEDED)

    # --- soak ------------------------------------------------------------------------------------------

    async def rpc_soak(self):
        await self._soak(lambda: self._soak_call(self.stub))

    async def channel_soak(self):
        async def on_new_channel():
            async with Channel(self.target, codec=NotingCodec(), **self.options) as channel:
                await self._soak_call(self.ours.TestServiceStub(channel, timeout=cases.LONGEST))

        await self._soak(on_new_channel)

    async def _soak_call(self, stub):
        soak = self.soak
        payload = cases.zeros(self.m, soak.request_size)
        reply = await stub.unary_call(self.m.SimpleRequest(response_size=soak.response_size, payload=payload))
        cases.check_zeros(reply.payload, soak.response_size)

    async def _soak(self, call):
        failures, soak = 0, self.soak
        with anyio.fail_after(soak.overall):
            for _ in range(soak.iterations):
                began = time.monotonic()
                try:
                    await call()
                except RpcError:
                    failures += 1
                else:
                    failures += time.monotonic() - began > soak.longest
                await anyio.sleep(soak.pause)
        assert failures <= soak.failures

    # --- load reports ----------------------------------------------------------------------------------

    async def orca_per_rpc(self):
        report = self.m.TestOrcaReport(**cases.CALL_REPORT)
        async with self.unary() as call:
            await call.send_message(self.m.SimpleRequest(orca_per_query_report=report))
            await call.recv_message()
            await call.recv_trailing_metadata()
        received = self.ours.orca.OrcaLoadReport.FromString(call.trailing_metadata[cases.LOAD_KEY])
        assert cases.reports(received, cases.CALL_REPORT)

    async def orca_oob(self):
        wish = self.ours.orca.OrcaLoadReportRequest(report_interval=timedelta(seconds=cases.REPORT_INTERVAL))
        load = self.ours.OpenRcaServiceStub(self.channel, timeout=cases.LONGEST)
        async with load.stream_core_metrics(wish) as received, self.stub.full_duplex_call() as stream:
            for wanted in cases.SERVER_REPORTS:
                report = self.m.TestOrcaReport(**wanted)
                await stream.send_message(cases.output_request(self.m, 1, orca_oob_report=report))
                cases.check_zeros((await stream.recv_message()).payload, 1)
                async for told in received:
                    if cases.reports(told, wanted):
                        break
            await stream.end()
            assert await stream.recv_message() is None
