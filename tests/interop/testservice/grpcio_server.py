"""TestService and OpenRcaService on grpcio's synchronous server."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from . import cases
from .grpcio_codec import RAW, decoder, encode


@contextmanager
def grpcio_server(theirs, credentials=None):
    """Give the port of a running server; ``credentials`` are grpcio's, for TLS."""
    with ThreadPoolExecutor(16) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0), RAW])
        server.add_generic_rpc_handlers(_Service(theirs).handlers())
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield port
        finally:
            server.stop(0).wait()


class _Service:
    """Both services, in the shape of grpcio's handlers. Each request is a :class:`grpcio_codec.Came`."""

    def __init__(self, theirs):
        self.m, self.orca = theirs.m, theirs.orca
        self.report = theirs.orca.OrcaLoadReport()

    def handlers(self):
        m, orca = self.m, self.orca
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        testing = {
            "EmptyCall": unary(self.empty, decoder(m.Empty), encode),
            "UnaryCall": unary(self.unary, decoder(m.SimpleRequest), encode),
            "CacheableUnaryCall": unary(self.cacheable, decoder(m.SimpleRequest), encode),
            "StreamingOutputCall": stream(self.output, decoder(m.StreamingOutputCallRequest), encode),
            "StreamingInputCall": grpc.stream_unary_rpc_method_handler(
                self.input, decoder(m.StreamingInputCallRequest), encode
            ),
            "FullDuplexCall": grpc.stream_stream_rpc_method_handler(
                self.full_duplex, decoder(m.StreamingOutputCallRequest), encode
            ),
        }
        load = {"StreamCoreMetrics": stream(self.load, decoder(orca.OrcaLoadReportRequest), encode)}
        return (
            grpc.method_handlers_generic_handler("grpc.testing.TestService", testing),
            grpc.method_handlers_generic_handler("xds.service.orca.v3.OpenRcaService", load),
        )

    def empty(self, came, context):
        return self.m.Empty()

    def unary(self, came, context):
        request = came.message
        _prepare(request, context)
        _check_compressed(came, context)
        if request.HasField("orca_per_query_report"):
            report = cases.load_report(self.orca, request.orca_per_query_report)
            context.set_trailing_metadata(((cases.LOAD_KEY, encode(report)),))
        if request.response_compressed.value:
            context.set_compression(grpc.Compression.Gzip)
        return self.m.SimpleResponse(payload=cases.zeros(self.m, request.response_size))

    def cacheable(self, came, context):
        context.send_initial_metadata((("cache-control", "max-age=60, public"),))
        return self.m.SimpleResponse(payload=self.m.Payload(body=b"%d" % time.time_ns()))

    def output(self, came, context):
        if any(wanted.compressed.value for wanted in came.message.response_parameters):
            context.set_compression(grpc.Compression.Gzip)
        yield from self._answers(came.message, context)

    def input(self, requests, context):
        total = 0
        for came in requests:
            _check_compressed(came, context)
            total += len(came.message.payload.body)
        return self.m.StreamingInputCallResponse(aggregated_payload_size=total)

    def full_duplex(self, requests, context):
        for number, (request, _) in enumerate(requests):
            if number == 0:
                _prepare(request, context)
            if request.HasField("orca_oob_report"):
                self.report = cases.load_report(self.orca, request.orca_oob_report)
            yield from self._answers(request, context)

    def load(self, came, context):
        while context.is_active():
            yield self.report
            time.sleep(came.message.report_interval.ToTimedelta().total_seconds())

    def _answers(self, request, context):
        for wanted in request.response_parameters:
            time.sleep(wanted.interval_us / 1e6)
            if not wanted.compressed.value:
                context.disable_next_message_compression()
            yield self.m.StreamingOutputCallResponse(payload=cases.zeros(self.m, wanted.size))


def _prepare(request, context):
    metadata = dict(context.invocation_metadata())
    if cases.TRAILING_KEY in metadata:
        context.set_trailing_metadata(((cases.TRAILING_KEY, metadata[cases.TRAILING_KEY]),))
    if request.response_status.code:
        [code] = [code for code in grpc.StatusCode if code.value[0] == request.response_status.code]
        context.abort(code, request.response_status.message)
    if cases.INITIAL_KEY in metadata:
        context.send_initial_metadata(((cases.INITIAL_KEY, metadata[cases.INITIAL_KEY]),))


def _check_compressed(came, context):
    request = came.message
    if request.HasField("expect_compressed") and request.expect_compressed.value != came.compressed:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is compressed, or not, against expectation")
