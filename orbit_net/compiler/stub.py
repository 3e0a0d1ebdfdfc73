"""The text of a stub class: what calls a service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comments import docstring

if TYPE_CHECKING:
    from .model import Method, Service
    from .names import Names

__all__ = ["stub_class"]

_CLIENT = "orbit_net.client"


def stub_class(service: Service, names: Names) -> str:
    """Return the class ``XStub`` of a service, with a method for each rpc."""
    head = [
        f"class {service.stub}({names.use(_CLIENT, 'Stub')}):",
        docstring(service.comment or f"Calls the service ``{service.proto_name}``.", "    "),
    ]
    return "\n\n".join(["\n".join(head), *(_method(method, names) for method in service.methods)])


def _method(method: Method, names: Names) -> str:
    parameters, result, arguments = _shape(method, names)
    # A call that gives a stream is a plain function: there is nothing to await before the stream itself.
    prefix, wait = ("", "") if method.server_streaming else ("async ", "await ")
    lines = [
        f"    {prefix}def {method.name}(",
        *(f"        {parameter}," for parameter in ["self", *parameters, "*", *_options(names)]),
        f"    ) -> {result}:",
        docstring(method.comment or f"Call ``{method.route}``.", "        "),
        f"        return {wait}self._{method.kind}(",
        *(f"            {argument}," for argument in [f'"{method.route}"', *arguments]),
        *(f"            {option}={option}," for option in ("timeout", "deadline", "metadata", "compression")),
        "        )",
    ]
    return "\n".join(lines)


def _shape(method: Method, names: Names) -> tuple[list[str], str, list[str]]:
    """Return the parameters of a method, its result, and what it hands on after the route."""
    request, reply = names.message(method.request), names.message(method.reply)
    match method.kind:
        case "unary_unary":
            return [f"request: {request}"], reply, ["request", reply]
        case "unary_stream":
            stream = names.use(_CLIENT, "ResponseStream")
            return [f"request: {request}"], f"{stream}[{reply}]", ["request", reply]
        case "stream_unary":
            iterable = names.use("collections.abc", "Iterable")
            asynchronous = names.use("collections.abc", "AsyncIterable")
            requests = f"requests: {iterable}[{request}] | {asynchronous}[{request}]"
            return [requests], reply, ["requests", request, reply]
        case _:
            stream = names.use(_CLIENT, "ClientStream")
            return [], f"{stream}[{request}, {reply}]", [request, reply]


def _options(names: Names) -> list[str]:
    return [
        f"timeout: {names.builtin('float')} | None = None",
        f"deadline: {names.use('grpclib.metadata', 'Deadline')} | None = None",
        f"metadata: {names.use(_CLIENT, 'MetadataLike')} | None = None",
        f"compression: {names.builtin('str')} | None = None",
    ]
