"""The part of ``google/protobuf/descriptor.proto`` that names things; all else of a file is passed on unread.

The messages are written by hand: google.protobuf is not a dependency, and the whole of descriptor.proto is 30 messages.
"""

from __future__ import annotations

from dataclasses import dataclass

import betterproto2

__all__ = ["EnumDescriptor", "FieldDescriptor", "FileDescriptor", "MessageDescriptor", "Named", "ServiceDescriptor"]


@dataclass(eq=False, repr=False)
class Named(betterproto2.Message):
    """A oneof, a method or a value of an enum, of which the name is enough."""

    name: str = betterproto2.field(1, betterproto2.TYPE_STRING)


@dataclass(eq=False, repr=False)
class EnumDescriptor(betterproto2.Message):
    """``google.protobuf.EnumDescriptorProto``."""

    name: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    value: list[Named] = betterproto2.field(2, betterproto2.TYPE_MESSAGE, repeated=True)


@dataclass(eq=False, repr=False)
class FieldDescriptor(betterproto2.Message):
    """``google.protobuf.FieldDescriptorProto``; an ``extendee`` makes it an extension."""

    name: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    extendee: str = betterproto2.field(2, betterproto2.TYPE_STRING)
    number: int = betterproto2.field(3, betterproto2.TYPE_INT32)


@dataclass(eq=False, repr=False)
class MessageDescriptor(betterproto2.Message):
    """``google.protobuf.DescriptorProto``."""

    name: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    field: list[FieldDescriptor] = betterproto2.field(2, betterproto2.TYPE_MESSAGE, repeated=True)
    nested_type: list[MessageDescriptor] = betterproto2.field(3, betterproto2.TYPE_MESSAGE, repeated=True)
    enum_type: list[EnumDescriptor] = betterproto2.field(4, betterproto2.TYPE_MESSAGE, repeated=True)
    extension: list[FieldDescriptor] = betterproto2.field(6, betterproto2.TYPE_MESSAGE, repeated=True)
    oneof_decl: list[Named] = betterproto2.field(8, betterproto2.TYPE_MESSAGE, repeated=True)


@dataclass(eq=False, repr=False)
class ServiceDescriptor(betterproto2.Message):
    """``google.protobuf.ServiceDescriptorProto``."""

    name: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    method: list[Named] = betterproto2.field(2, betterproto2.TYPE_MESSAGE, repeated=True)


@dataclass(eq=False, repr=False)
class FileDescriptor(betterproto2.Message):
    """``google.protobuf.FileDescriptorProto``."""

    name: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    package: str = betterproto2.field(2, betterproto2.TYPE_STRING)
    dependency: list[str] = betterproto2.field(3, betterproto2.TYPE_STRING, repeated=True)
    message_type: list[MessageDescriptor] = betterproto2.field(4, betterproto2.TYPE_MESSAGE, repeated=True)
    enum_type: list[EnumDescriptor] = betterproto2.field(5, betterproto2.TYPE_MESSAGE, repeated=True)
    service: list[ServiceDescriptor] = betterproto2.field(6, betterproto2.TYPE_MESSAGE, repeated=True)
    extension: list[FieldDescriptor] = betterproto2.field(7, betterproto2.TYPE_MESSAGE, repeated=True)
