"""Between the domain's values and protobuf messages: what travels on the actor stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orbit_net.errors import DecodeError
from orbit_net.model.convert import (
    AddressableReferenceConverter,
    NodeIdConverter,
    built,
    number_of,
    required,
)
from orbit_net.model.message import (
    Failure,
    InfoRequest,
    InfoResponse,
    Invocation,
    InvocationFailure,
    InvocationReason,
    InvocationValue,
    Message,
    RoutedUnicast,
    Unicast,
)
from orbit_net.proto.orbit.shared import (
    ConnectionInfoRequestProto,
    ConnectionInfoResponseProto,
    ErrorProto,
    InvocationReasonProto,
    InvocationRequestProto,
    InvocationResponseErrorProto,
    InvocationResponseProto,
    MessageContentProto,
    MessageProto,
    MessageTargetProto,
    MessageTargetProtoRoutedUnicast,
    MessageTargetProtoUnicast,
)

if TYPE_CHECKING:
    from orbit_net.model.message import Content, Target

__all__ = [
    "InvocationConverter",
    "InvocationReasonConverter",
    "MessageContentConverter",
    "MessageConverter",
    "MessageTargetConverter",
]


class InvocationReasonConverter:
    """:class:`InvocationReason` ↔ ``InvocationReasonProto``."""

    @staticmethod
    def to_proto(reason: InvocationReason) -> InvocationReasonProto:
        """Return the enum's value for ``reason``."""
        return InvocationReasonProto(int(reason))

    @staticmethod
    def from_proto(message: InvocationReasonProto) -> InvocationReason:
        """Return the reason; an unknown number is refused."""
        return number_of(InvocationReason, "InvocationReasonProto", message)


class InvocationConverter:
    """:class:`Invocation` ↔ ``InvocationRequestProto``."""

    @staticmethod
    def to_proto(invocation: Invocation) -> InvocationRequestProto:
        """Return the message for ``invocation``."""
        return InvocationRequestProto(
            reference=AddressableReferenceConverter.to_proto(invocation.reference),
            method=invocation.method,
            arguments=invocation.arguments,
            reason=InvocationReasonConverter.to_proto(invocation.reason),
        )

    @staticmethod
    def from_proto(message: InvocationRequestProto) -> Invocation:
        """Return the invocation that ``message`` holds; its arguments are not read as JSON yet."""
        field = "InvocationRequestProto.reference"
        reference = required(field, AddressableReferenceConverter.from_proto, message.reference)
        reason = required("InvocationRequestProto.reason", InvocationReasonConverter.from_proto, message.reason)
        if not message.method:
            raise DecodeError("InvocationRequestProto.method: it is empty")
        return Invocation(reference, message.method, message.arguments, reason)


class MessageTargetConverter:
    """:data:`Target` ↔ ``MessageTargetProto``."""

    @staticmethod
    def to_proto(target: Target) -> MessageTargetProto:
        """Return the message for ``target``."""
        if isinstance(target, Unicast):
            unicast = MessageTargetProtoUnicast(target=NodeIdConverter.to_proto(target.target))
            return MessageTargetProto(unicast_target=unicast)
        hops = [NodeIdConverter.to_proto(hop) for hop in target.targets]
        return MessageTargetProto(routed_unicast_target=MessageTargetProtoRoutedUnicast(target=hops))

    @staticmethod
    def from_proto(message: MessageTargetProto) -> Target:
        """Return the target that ``message`` holds."""
        unicast, routed = message.unicast_target, message.routed_unicast_target
        if unicast is not None:
            field = "MessageTargetProto.unicast_target.target"
            return Unicast(required(field, NodeIdConverter.from_proto, unicast.target))
        if routed is not None:
            field = "MessageTargetProto.routed_unicast_target.target"
            hops = tuple(
                required(f"{field}[{index}]", NodeIdConverter.from_proto, hop)
                for index, hop in enumerate(routed.target)
            )
            return built(field, lambda: RoutedUnicast(hops))
        raise DecodeError("MessageTargetProto.target: none of its forms is set")


class MessageContentConverter:
    """:data:`Content` ↔ ``MessageContentProto``."""

    @staticmethod
    def to_proto(content: Content) -> MessageContentProto:
        """Return the message for ``content``."""
        match content:
            case Invocation():
                return MessageContentProto(invocation_request=InvocationConverter.to_proto(content))
            case InvocationValue(value):
                return MessageContentProto(invocation_response=InvocationResponseProto(value=value))
            case InvocationFailure(description, platform):
                error = InvocationResponseErrorProto(description=description, platform=platform)
                return MessageContentProto(invocation_response_error=error)
            case Failure(description):
                return MessageContentProto(error=ErrorProto(description=description))
            case InfoRequest():
                return MessageContentProto(info_request=ConnectionInfoRequestProto())
            case InfoResponse(node_id):
                response = ConnectionInfoResponseProto(node_id=NodeIdConverter.to_proto(node_id))
                return MessageContentProto(info_response=response)

    @staticmethod
    def from_proto(message: MessageContentProto) -> Content:
        """Return what ``message`` says."""
        name = "MessageContentProto"
        if message.invocation_request is not None:
            field = f"{name}.invocation_request"
            return required(field, InvocationConverter.from_proto, message.invocation_request)
        if message.invocation_response is not None:
            return InvocationValue(message.invocation_response.value)
        failed = message.invocation_response_error
        if failed is not None:
            return InvocationFailure(failed.description, failed.platform)
        if message.error is not None:
            return Failure(message.error.description)
        if message.info_request is not None:
            return InfoRequest()
        if message.info_response is not None:
            field = f"{name}.info_response.node_id"
            return InfoResponse(required(field, NodeIdConverter.from_proto, message.info_response.node_id))
        raise DecodeError(f"{name}.content: none of its kinds is set")


class MessageConverter:
    """:class:`Message` ↔ ``MessageProto``."""

    @staticmethod
    def to_proto(message: Message) -> MessageProto:
        """Return the message of the wire."""
        source, target = message.source, message.target
        return MessageProto(
            message_id=message.message_id,
            source=None if source is None else NodeIdConverter.to_proto(source),
            target=None if target is None else MessageTargetConverter.to_proto(target),
            content=MessageContentConverter.to_proto(message.content),
            attempts=message.attempts,
        )

    @staticmethod
    def from_proto(message: MessageProto) -> Message:
        """Return the domain's message; source and target may be left out, the content may not."""
        source, target = message.source, message.target
        content = required("MessageProto.content", MessageContentConverter.from_proto, message.content)
        origin = None if source is None else required("MessageProto.source", NodeIdConverter.from_proto, source)
        aim = None if target is None else required("MessageProto.target", MessageTargetConverter.from_proto, target)
        return built(
            "MessageProto.attempts", lambda: Message(message.message_id, content, origin, aim, message.attempts)
        )
