"""The options of the plugin: what protoc passes on from ``--orbit_net_opt``."""

from __future__ import annotations

import keyword
from dataclasses import dataclass

from .errors import CompileError

__all__ = ["Parameters"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """How the plugin is to generate."""

    # One name for all packages, so that an import of stubs can be guessed; not a name that betterproto2 writes.
    module: str = "services"

    @classmethod
    def parse(cls, text: str) -> Parameters:
        """Read ``module=NAME``, or nothing. Raises CompileError for anything else."""
        values: dict[str, str] = {}
        for option in filter(None, text.split(",")):
            key, _, value = option.partition("=")
            if key != "module":
                raise CompileError(f"unknown option {option!r}; known is module=NAME")
            if key in values:
                raise CompileError(f"option {key!r} is given twice")
            values[key] = value
        parameters = cls(**values)
        parameters._check()
        return parameters

    def _check(self) -> None:
        if not self.module.isidentifier() or keyword.iskeyword(self.module):
            raise CompileError(f"module={self.module!r} is not a name that Python can import")
        if self.module in ("__init__", "message_pool"):
            raise CompileError(f"module={self.module!r} would overwrite a file of the messages")
