"""The cases on grpcio's synchronous client, to be run in a thread. Each method is one case."""

import queue
import time

import grpc
import pytest

from . import cases
from .grpcio_codec import RAW, decoder, encode

OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0), RAW)
GZIP, PLAIN = grpc.Compression.Gzip, grpc.Compression.NoCompression
ECHO = {"metadata": cases.ECHO_METADATA}


class GrpcioClient:
    """Runs the cases against ``target``; ``credentials`` are grpcio's, for TLS."""

    def __init__(self, theirs, target, *, credentials, soak):
        self.m, self.orca = theirs.m, theirs.orca
        self.target = target
        self.credentials = credentials
        self.soak = soak

    def run(self, case):
        """Run one case on a new channel."""
        with self._channel() as channel:
            self._stubs(channel)
            getattr(self, case)()

    def _channel(self):
        if self.credentials is None:
            return grpc.insecure_channel(self.target, options=OPTIONS)
        return grpc.secure_channel(self.target, self.credentials, options=OPTIONS)

    def _stubs(self, channel):
        m, path = self.m, "/grpc.testing.TestService/"
        self.empty = channel.unary_unary(path + "EmptyCall", encode, decoder(m.Empty))
        self.unary = self._unary(channel)
        self.cacheable = channel.unary_unary(path + "CacheableUnaryCall", encode, decoder(m.SimpleResponse))
        self.input = channel.stream_unary(path + "StreamingInputCall", encode, decoder(m.StreamingInputCallResponse))
        self.output = channel.unary_stream(path + "StreamingOutputCall", encode, decoder(m.StreamingOutputCallResponse))
        self.duplex = channel.stream_stream(path + "FullDuplexCall", encode, decoder(m.StreamingOutputCallResponse))
        self.missing = channel.unary_unary(path + "UnimplementedCall", encode, decoder(m.Empty))
        self.stranger = channel.unary_unary(
            "/grpc.testing.UnimplementedService/UnimplementedCall", encode, decoder(m.Empty)
        )
        self.load = channel.unary_stream(
            "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics", encode, decoder(self.orca.OrcaLoadReport)
        )

    def _unary(self, channel):
        return channel.unary_unary("/grpc.testing.TestService/UnaryCall", encode, decoder(self.m.SimpleResponse))

    # --- the four kinds ----------------------------------------------------------------------------

    def empty_unary(self):
        assert self.empty(self.m.Empty(), timeout=cases.LONGEST).message == self.m.Empty()

    def cacheable_unary(self):
        request = self.m.SimpleRequest(payload=self.m.Payload(body=b"%d" % time.time_ns()))
        options = {"metadata": (("x-user-ip", "1.2.3.4"),), "timeout": cases.LONGEST}
        first, second = self.cacheable(request, **options), self.cacheable(request, **options)
        assert first.message.payload.body == second.message.payload.body != b""

    def large_unary(self):
        self._large()

    def _large(self, *, compression=PLAIN, **more):
        came = self.unary(cases.large(self.m, **more), timeout=cases.LONGEST, compression=compression)
        cases.check_zeros(came.message.payload, cases.RESPONSE_SIZE)
        return came.compressed

    def client_streaming(self):
        requests = [self.m.StreamingInputCallRequest(payload=cases.zeros(self.m, size)) for size in cases.INPUT_SIZES]
        came = self.input(iter(requests), timeout=cases.LONGEST)
        assert came.message.aggregated_payload_size == sum(cases.INPUT_SIZES)

    def server_streaming(self):
        replies = list(self.output(cases.output_request(self.m, *cases.OUTPUT_SIZES), timeout=cases.LONGEST))
        for came, size in zip(replies, cases.OUTPUT_SIZES, strict=True):
            cases.check_zeros(came.message.payload, size)

    def ping_pong(self):
        requests = _Requests()
        replies = self.duplex(requests, timeout=cases.LONGEST)
        for size, body in zip(cases.OUTPUT_SIZES, cases.INPUT_SIZES, strict=True):
            requests.put(cases.output_request(self.m, size, body=body))
            cases.check_zeros(next(replies).message.payload, size)
        requests.end()
        assert list(replies) == []

    def empty_stream(self):
        assert list(self.duplex(iter(()), timeout=cases.LONGEST)) == []

    # --- compression -------------------------------------------------------------------------------

    def client_compressed_unary(self):
        yes, no = self.m.BoolValue(value=True), self.m.BoolValue(value=False)
        self._fails(lambda: self._large(expect_compressed=yes), grpc.StatusCode.INVALID_ARGUMENT)
        self._large(expect_compressed=yes, compression=GZIP)
        self._large(expect_compressed=no)

    def server_compressed_unary(self):
        assert self._large(response_compressed=self.m.BoolValue(value=True))
        assert not self._large(response_compressed=self.m.BoolValue(value=False))

    def server_compressed_streaming(self):
        replies = list(self.output(cases.compressed_output_request(self.m), timeout=cases.LONGEST))
        assert [came.compressed for came in replies] == [True, False]
        for came, size in zip(replies, cases.COMPRESSED_OUTPUT_SIZES, strict=True):
            cases.check_zeros(came.message.payload, size)

    # --- metadata and statuses -----------------------------------------------------------------------

    def custom_metadata(self):
        came, call = self.unary.with_call(cases.large(self.m), timeout=cases.LONGEST, **ECHO)
        cases.check_zeros(came.message.payload, cases.RESPONSE_SIZE)
        _check_echo(call)
        request = cases.output_request(self.m, cases.RESPONSE_SIZE, body=cases.REQUEST_SIZE)
        call = self.duplex(iter([request]), timeout=cases.LONGEST, **ECHO)
        [came] = call
        cases.check_zeros(came.message.payload, cases.RESPONSE_SIZE)
        _check_echo(call)

    def status_code_and_message(self):
        status = self.m.EchoStatus(code=cases.UNKNOWN, message=cases.STATUS_MESSAGE)
        expected = grpc.StatusCode.UNKNOWN, cases.STATUS_MESSAGE
        self._fails(lambda: self._call(self.unary, self.m.SimpleRequest(response_status=status)), *expected)
        request = cases.output_request(self.m, response_status=status)
        self._fails(lambda: list(self.duplex(iter([request]), timeout=cases.LONGEST)), *expected)

    def special_status_message(self):
        status = self.m.EchoStatus(code=cases.UNKNOWN, message=cases.SPECIAL_MESSAGE)
        request = self.m.SimpleRequest(response_status=status)
        self._fails(lambda: self._call(self.unary, request), grpc.StatusCode.UNKNOWN, cases.SPECIAL_MESSAGE)

    def unimplemented_method(self):
        self._fails(lambda: self._call(self.missing, self.m.Empty()), grpc.StatusCode.UNIMPLEMENTED)

    def unimplemented_service(self):
        self._fails(lambda: self._call(self.stranger, self.m.Empty()), grpc.StatusCode.UNIMPLEMENTED)

    def _call(self, method, request):
        return method(request, timeout=cases.LONGEST)

    def _fails(self, call, code, details=None):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() is code
        assert details is None or caught.value.details() == details

    # --- cancellation and time -------------------------------------------------------------------------

    def cancel_after_begin(self):
        requests = _Requests()
        call = self.input.future(requests, timeout=cases.LONGEST)
        call.cancel()
        assert call.cancelled()
        assert call.code() is grpc.StatusCode.CANCELLED
        requests.end()

    def cancel_after_first_response(self):
        requests = _Requests()
        call = self.duplex(requests, timeout=cases.LONGEST)
        requests.put(cases.output_request(self.m, cases.OUTPUT_SIZES[0], body=cases.INPUT_SIZES[0]))
        cases.check_zeros(next(call).message.payload, cases.OUTPUT_SIZES[0])
        call.cancel()
        self._fails(lambda: next(call), grpc.StatusCode.CANCELLED)
        requests.end()

    def timeout_on_sleeping_server(self):
        requests = _Requests()
        requests.put(cases.output_request(self.m, body=cases.INPUT_SIZES[0]))
        call = self.duplex(requests, timeout=cases.SLEEPING_TIMEOUT)
        self._fails(lambda: next(call), grpc.StatusCode.DEADLINE_EXCEEDED)
        requests.end()

    # --- soak ------------------------------------------------------------------------------------------

    def rpc_soak(self):
        self._soak(lambda: self._soak_call(self.unary))

    def channel_soak(self):
        def on_new_channel():
            with self._channel() as channel:
                self._soak_call(self._unary(channel))

        self._soak(on_new_channel)

    def _soak_call(self, method):
        soak = self.soak
        payload = cases.zeros(self.m, soak.request_size)
        request = self.m.SimpleRequest(response_size=soak.response_size, payload=payload)
        cases.check_zeros(self._call(method, request).message.payload, soak.response_size)

    def _soak(self, call):
        failures, soak, began = 0, self.soak, time.monotonic()
        for _ in range(soak.iterations):
            start = time.monotonic()
            try:
                call()
            except grpc.RpcError:
                failures += 1
            else:
                failures += time.monotonic() - start > soak.longest
            assert time.monotonic() - began < soak.overall
            time.sleep(soak.pause)
        assert failures <= soak.failures

    # --- load reports ----------------------------------------------------------------------------------

    def orca_per_rpc(self):
        request = self.m.SimpleRequest(orca_per_query_report=self.m.TestOrcaReport(**cases.CALL_REPORT))
        _, call = self.unary.with_call(request, timeout=cases.LONGEST)
        assert cases.LOAD_KEY not in dict(call.trailing_metadata())  # should grpcio begin to show it, look at it

    def orca_oob(self):
        wish = self.orca.OrcaLoadReportRequest()
        wish.report_interval.FromNanoseconds(round(cases.REPORT_INTERVAL * 1e9))
        load, requests = self.load(wish, timeout=cases.LONGEST), _Requests()
        replies = self.duplex(requests, timeout=cases.LONGEST)
        for wanted in cases.SERVER_REPORTS:
            report = self.m.TestOrcaReport(**wanted)
            requests.put(cases.output_request(self.m, 1, orca_oob_report=report))
            cases.check_zeros(next(replies).message.payload, 1)
            assert any(cases.reports(came.message, wanted) for came in load)
        requests.end()
        assert list(replies) == []
        load.cancel()


def _check_echo(call):
    assert (cases.INITIAL_KEY, cases.INITIAL_VALUE) in call.initial_metadata()
    assert (cases.TRAILING_KEY, cases.TRAILING_VALUE) in call.trailing_metadata()


class _Requests:
    """Requests that grpcio's own thread takes when they have been put."""

    def __init__(self):
        self._queue = queue.SimpleQueue()
        self.put = self._queue.put

    def end(self):
        self._queue.put(None)

    def __iter__(self):
        return self

    def __next__(self):
        request = self._queue.get()
        if request is None:
            raise StopIteration
        return request
