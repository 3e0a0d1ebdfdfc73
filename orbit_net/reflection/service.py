"""``grpc.reflection.v1.ServerReflection`` and its older name ``v1alpha``, by one class."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from orbit_net.proto.grpc.reflection import v1, v1alpha
from orbit_net.proto.grpc.reflection.v1.services import ServerReflectionBase
from orbit_net.proto.grpc.reflection.v1alpha.services import ServerReflectionBase as AlphaBase
from orbit_net.reflection.index import FileIndex
from orbit_net.reflection.sources import described_files, service_names
from orbit_net.server import Service
from orbit_net.status import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from types import ModuleType

    from grpclib.const import Handler

    from orbit_net.server import ServerStream

__all__ = ["Reflection"]

_SHOWN: Final = 200
"""Characters of a question that are repeated in an error."""


class Reflection(Service):
    """Tells what ``services`` are: give it to the server beside them. It tells of itself, too.

    Services that :mod:`our plugin <orbit_net.compiler>` generated are described in full, as are those with messages of
    google.protobuf; of others only the names are known. ``files`` are further serialized ``FileDescriptorProto``\\ s,
    for example with extensions that no service imports; where they are broken, the first question ends with an error.
    Descriptors are imported and read when the first question comes.

    Example::

        services = [Greeter(), GrpcHealthService(registry)]
        server = Server([*services, Reflection(services)])
    """

    def __init__(self, services: Collection[Any], *, files: Iterable[bytes] = ()) -> None:
        self._versions = (_V1(self), _V1Alpha(self))
        self._services = (*services, *self._versions)
        self._files = tuple(files)
        self.names = sorted({name for service in self._services for name in service_names(service)})

    def __mapping__(self) -> dict[str, Handler]:
        """Return the handlers of both versions."""
        return {path: handler for version in self._versions for path, handler in version.__mapping__().items()}

    @cached_property
    def index(self) -> FileIndex:
        """What is known; made when it is asked for the first time."""
        return FileIndex([*(file for service in self._services for file in described_files(service)), *self._files])

    def __repr__(self) -> str:
        return f"<Reflection of {len(self.names)} services>"


class _V1(ServerReflectionBase):
    """The service by its name of today."""

    def __init__(self, known: Reflection) -> None:
        self._known = known

    async def server_reflection_info(self, stream: ServerStream[Any, Any]) -> None:
        """Answer each question."""
        await _converse(stream, self._known, v1)


class _V1Alpha(AlphaBase):
    """The service by its older name, which many tools still ask for first."""

    def __init__(self, known: Reflection) -> None:
        self._known = known

    async def server_reflection_info(self, stream: ServerStream[Any, Any]) -> None:
        """Answer each question."""
        await _converse(stream, self._known, v1alpha)


async def _converse(stream: ServerStream[Any, Any], known: Reflection, messages: ModuleType) -> None:
    conversation = _Conversation(known, messages)
    async for question in stream:
        await stream.send_message(conversation.answer(question))


class _Conversation:
    """One call: the message classes of its version, and which files its client has already."""

    def __init__(self, known: Reflection, messages: Any) -> None:
        self._known = known
        self._messages = messages
        self._told: set[str] = set()

    def answer(self, question: Any) -> Any:
        """Return the response to one request; its kinds are the same in both versions."""
        index = self._known.index
        messages = self._messages
        match question:
            case _ if question.file_by_filename is not None:
                name = question.file_by_filename
                answer = self._file(index.by_name(name), f"no file {_shown(name)} is known")
            case _ if question.file_containing_symbol is not None:
                symbol = question.file_containing_symbol
                answer = self._file(index.defining(symbol), self._unknown(symbol))
            case _ if question.file_containing_extension is not None:
                extension = question.file_containing_extension
                message, number = extension.containing_type, extension.extension_number
                text = f"no extension {number} of {_shown(message)} is known"
                answer = self._file(index.extending(message, number), text)
            case _ if question.all_extension_numbers_of_type is not None:
                answer = self._numbers(question.all_extension_numbers_of_type)
            case _ if question.list_services is not None:
                services = [messages.ServiceResponse(name=name) for name in self._known.names]
                answer = {"list_services_response": messages.ListServiceResponse(service=services)}
            case _:
                answer = self._error(Status.INVALID_ARGUMENT, "the request asks nothing that is known here")
        return messages.ServerReflectionResponse(valid_host=question.host, original_request=question, **answer)

    def _file(self, name: str | None, otherwise: str) -> dict[str, Any]:
        if name is None:
            return self._error(Status.NOT_FOUND, otherwise)
        files = self._known.index.with_imports(name, self._told)
        return {"file_descriptor_response": self._messages.FileDescriptorResponse(file_descriptor_proto=files)}

    def _numbers(self, message: str) -> dict[str, Any]:
        numbers = self._known.index.extension_numbers(message)
        if numbers is None:
            return self._error(Status.NOT_FOUND, f"no message {_shown(message)} is known")
        response = self._messages.ExtensionNumberResponse(base_type_name=message, extension_number=numbers)
        return {"all_extension_numbers_response": response}

    def _unknown(self, symbol: str) -> str:
        service = next((name for name in self._known.names if f"{symbol}.".startswith(f"{name}.")), None)
        if service is None:
            return f"no symbol {_shown(symbol)} is known"
        return f"the service {service} is served, but its generated code brings no descriptor along"

    def _error(self, status: Status, text: str) -> dict[str, Any]:
        return {"error_response": self._messages.ErrorResponse(error_code=status.value, error_message=text)}


def _shown(name: str) -> str:
    return repr(name[:_SHOWN])
