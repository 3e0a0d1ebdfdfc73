"""From ``.proto`` files to Python: messages by betterproto2's compiler, stubs and service bases by our protoc plugin.

Needs the extra ``compiler``. What it generates needs only orbit_net itself.

- ``protoc-gen-orbit_net`` (:mod:`orbit_net.compiler.plugin`) is the plugin, for those who run protoc themselves;
- ``orbit-net gen``, or :func:`compile_protos`, runs protoc and both generators in one go.

The modules, in the order in which a request passes through them: ``parameters`` (what follows ``--orbit_net_opt``),
``symbols`` (which Python class a proto type became), ``comments`` (proto comments to docstrings), ``model`` (what a
module of stubs says), ``names`` (who is called what inside it), ``stub``, ``base`` and ``source`` (its text),
``descriptors`` (the module that describes it), ``layout`` (the line breaks), ``plugin`` (request to response); and
around them ``protoc``, ``messages``, ``build`` and ``output``.
"""

from .build import compile_protos
from .errors import CompileError
from .output import differences, write
from .plugin import generate

__all__ = ["CompileError", "compile_protos", "differences", "generate", "write"]
