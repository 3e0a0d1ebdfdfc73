"""The text of a service base: what an implementation of a service derives from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comments import docstring

if TYPE_CHECKING:
    from .model import Method, Service
    from .names import Names

__all__ = ["base_class"]

_SERVER = "orbit_net.server"


def base_class(service: Service, names: Names, descriptors: str) -> str:
    """Return the class ``XBase`` of a service; its methods answer UNIMPLEMENTED until they are overridden.

    ``descriptors`` is the module beside it that describes the service.
    """
    head = [
        f"class {service.base}({names.use(_SERVER, 'Service')}):",
        docstring(service.comment or f"Serves ``{service.proto_name}``.", "    "),
    ]
    methods = (_method(method, names) for method in service.methods)
    return "\n\n".join(["\n".join(head), *methods, _mapping(service, names), _descriptors(descriptors, names)])


def _method(method: Method, names: Names) -> str:
    parameter, result = _shape(method, names)
    # Plain functions where replies are a stream: an override may then be an async generator.
    prefix = "" if method.server_streaming else "async "
    error, status = names.use("grpclib.exceptions", "GRPCError"), names.use("grpclib.const", "Status")
    lines = [
        f"    {prefix}def {method.name}(self, {parameter}) -> {result}:",
        docstring(method.comment or f"Answer ``{method.route}``.", "        "),
        f'        raise {error}({status}.UNIMPLEMENTED, "Method {method.route} is not implemented")',
    ]
    return "\n".join(lines)


def _shape(method: Method, names: Names) -> tuple[str, str]:
    """Return the parameter and the result of a method."""
    request, reply = names.message(method.request), names.message(method.reply)
    if method.kind == "unary_unary":
        return f"request: {request}", reply
    iterator = names.use("collections.abc", "AsyncIterator")
    match method.kind:
        case "unary_stream":
            return f"request: {request}", f"{iterator}[{reply}]"
        case "stream_unary":
            return f"requests: {iterator}[{request}]", reply
        case _:
            # Either a coroutine function that works on the stream, or an async generator of replies, overrides it.
            stream, awaitable = names.use(_SERVER, "ServerStream"), names.use("collections.abc", "Awaitable")
            return f"stream: {stream}[{request}, {reply}]", f"{awaitable}[None] | {iterator}[{reply}]"


def _mapping(service: Service, names: Names) -> str:
    result = f"{names.builtin('dict')}[{names.builtin('str')}, {names.use('grpclib.const', 'Handler')}]"
    lines = [
        f"    def __mapping__(self) -> {result}:",
        '        """Return the handler of each route."""',
        "        return {",
        *(f'            "{method.route}": {_handler(method, names)},' for method in service.methods),
        "        }",
    ]
    return "\n".join(lines)


def _descriptors(module: str, names: Names) -> str:
    builtin = names.builtin
    lines = [
        f"    def __descriptors__(self) -> {builtin('tuple')}[{builtin('bytes')}, ...]:",
        '        """Return the descriptors of the files that define the service."""',
        # Here, and not at the top: only server reflection needs it.
        f"        from .{module} import FILES",
        "",
        "        return FILES",
    ]
    return "\n".join(lines)


def _handler(method: Method, names: Names) -> str:
    arguments = [
        f"self._{method.kind}(self.{method.name})",
        f"{names.use('grpclib.const', 'Cardinality')}.{method.kind.upper()}",
        names.message(method.request),
        names.message(method.reply),
    ]
    return f"{names.use('grpclib.const', 'Handler')}({', '.join(arguments)})"
