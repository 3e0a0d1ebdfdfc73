"""Rich errors both ways with grpcio-status: google.rpc.Status in grpc-status-details-bin."""

import datetime
import sys

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.unknown_fields import UnknownFieldSet
from google.rpc import error_details_pb2 as theirs
from google.rpc.status_pb2 import Status as TheirStatus
from grpc_status import rpc_status

from details import EACH
from echo import Echo
from grpcio_peer import GrpcioEcho, in_thread, our_client, our_server
from orbit_net.details import (
    BadRequest,
    BadRequestFieldViolation,
    ErrorInfo,
    LocalizedMessage,
    RetryInfo,
    RichStatus,
    StatusDetailsCodec,
)
from orbit_net.errors import RpcError
from orbit_net.server import current_call
from orbit_net.status import Status

pytestmark = pytest.mark.anyio

OURS = [
    BadRequest(field_violations=[BadRequestFieldViolation(field="name", description="is empty")]),
    ErrorInfo(reason="EMPTY", domain="shop", metadata={"a": "b"}),
    RetryInfo(retry_delay=datetime.timedelta(seconds=2)),
    LocalizedMessage(locale="de", message="nö"),
]
THEIRS = [
    theirs.BadRequest(field_violations=[theirs.BadRequest.FieldViolation(field="name", description="is empty")]),
    theirs.ErrorInfo(reason="EMPTY", domain="shop", metadata={"a": "b"}),
    theirs.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2)),
    theirs.LocalizedMessage(locale="de", message="nö"),
]


class Failing(Echo):
    async def unary(self, request):
        current_call().abort(Status.INVALID_ARGUMENT, "nö %", OURS)

    async def count(self, request):
        yield b"0"
        current_call().abort(Status.INVALID_ARGUMENT, "nö %", OURS)


@pytest.mark.parametrize("given", [{}, {"status_details_codec": StatusDetailsCodec()}], ids=["default", "codec"])
async def test_what_our_server_sends(given):
    """grpcio-status reads status, text and each message, in trailers-only answers and after a message."""

    def read(error):
        status = rpc_status.from_call(error)
        assert (status.code, status.message) == (3, "nö %")
        for packed, expected in zip(status.details, THEIRS, strict=True):
            message = type(expected)()
            assert packed.Unpack(message)
            assert message == expected

    async with our_server(Failing(), **given) as (_, stub):
        with pytest.raises(grpc.RpcError) as raised:
            await in_thread(stub.unary, b"x", timeout=10)
        read(raised.value)
        with pytest.raises(grpc.RpcError) as raised:
            await in_thread(lambda: list(stub.count(b"1", timeout=10)))
        read(raised.value)


class TheirFailing(GrpcioEcho):
    def unary(self, request, context):
        packed = [any_pb2.Any() for _ in THEIRS]
        for container, message in zip(packed, THEIRS, strict=True):
            container.Pack(message)
        status = TheirStatus(code=3, message="nö %", details=packed)
        context.abort_with_status(rpc_status.to_status(status))


async def test_what_our_client_reads():
    """Bytes and messages by default; the messages alone with a codec."""
    async with our_client(TheirFailing()) as (_, stub):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x", timeout=10)
        error = raised.value
        assert (error.status, error.message) == (Status.INVALID_ARGUMENT, "nö %")
        assert TheirStatus.FromString(error.details).code == 3
        assert error.rich_details == OURS
        assert error.detail(RetryInfo).retry_delay == datetime.timedelta(seconds=2)
    async with our_client(TheirFailing(), given={"status_details_codec": StatusDetailsCodec()}) as (_, stub):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"x", timeout=10)
        assert raised.value.details == raised.value.rich_details == OURS


CODEC = StatusDetailsCodec()


@pytest.mark.parametrize("detail", EACH, ids=lambda detail: type(detail).__name__)
def test_the_bytes_are_those_of_googleapis(detail):
    """The published classes read what we write, each field under its name, and we read what they write."""
    rich = TheirStatus.FromString(CODEC.encode(Status.ABORTED, "text", [detail]))
    assert (rich.code, rich.message) == (10, "text")
    message = getattr(theirs, type(detail).__name__)()
    assert rich.details[0].Unpack(message)
    assert not UnknownFieldSet(message)
    assert [field.name for field, _ in message.ListFields()] == [
        field.name for field in message.DESCRIPTOR.fields if getattr(detail, field.name)
    ]
    rich = TheirStatus(code=10, message="text")
    rich.details.add().Pack(message)
    assert CODEC.decode(Status.ABORTED, "text", rich.SerializeToString()) == [detail]


def fields_of(descriptor):
    """Return number, name and kind of each field of a published message, and of those within it."""
    for field in descriptor.fields:
        yield descriptor.full_name, field.number, field.name
        nested = field.message_type
        if nested is not None and nested.full_name.startswith("google.rpc.") and not nested.GetOptions().map_entry:
            yield from fields_of(field.message_type)


def test_every_published_field_is_there():
    """The standard messages have all the fields of googleapis, under their numbers."""
    pool = sys.modules[BadRequest.__module__].default_message_pool
    for detail in [*EACH, RichStatus()]:
        name = type(detail).__name__.replace("RichStatus", "Status")
        published = getattr(theirs, name, None) or TheirStatus
        for full_name, number, field in fields_of(published.DESCRIPTOR):
            ours = pool.url_to_type[f"type.googleapis.com/{full_name}"]
            numbers = {meta.number: key for key, meta in ours._betterproto.meta_by_field_name.items()}
            assert numbers.get(number) == field
