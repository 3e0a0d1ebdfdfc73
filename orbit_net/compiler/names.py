"""Who is called what inside a generated module, and what it must import for that.

A name is given once, in this order: the classes that the module defines and their methods (an annotation inside a class
looks there first), the messages, what we import for ourselves. So stubs and messages keep the names that their users
know, and a message called ``Status`` or an rpc called ``float`` does no harm.
"""

from __future__ import annotations

import keyword
from typing import TYPE_CHECKING

from betterproto2_compiler.compile.naming import pythonize_class_name

from .errors import CompileError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .symbols import MessageClass

__all__ = ["Names"]


class Names:
    """The names of one generated module of a package."""

    def __init__(self, package: str, defined: Collection[str]) -> None:
        self._package = package
        self._taken = set(defined)
        self._messages: dict[MessageClass, str] = {}
        self._imports: dict[tuple[str, str], str] = {}

    def add_messages(self, messages: Iterable[MessageClass]) -> None:
        """Import these message classes: plainly where the name is free, else under one that tells their package."""
        own_first = sorted(set(messages), key=lambda message: (message.package != self._package, message))
        for message in own_first:
            qualified = f"{pythonize_class_name(message.package)}{message.name}"
            local = self._take(message.name, f"{message.name}Message" if qualified == message.name else qualified)
            self._messages[message] = local
            self._imports[self._relative(message.package), message.name] = local

    def message(self, message: MessageClass) -> str:
        """Return what the module calls a message class that was added."""
        return self._messages[message]

    def use(self, module: str, name: str) -> str:
        """Import a name for ourselves and return what the module calls it."""
        key = (module, name)
        if key not in self._imports:
            self._imports[key] = self._take(name, f"_{name}")
        return self._imports[key]

    def builtin(self, name: str) -> str:
        """Return what the module calls a builtin: its name, unless that is taken."""
        if name in self._taken:
            return self.use("builtins", name)
        return name

    def import_lines(self) -> list[str]:
        """Return the import statements: standard library, third parties, relative ones; a blank line in between."""
        lines: list[str] = []
        for group in (_is_standard, _is_third_party, _is_ours, _is_relative):
            found = sorted({module for module, _ in self._imports if group(module)}, key=_import_order)
            if found and lines:
                lines.append("")
            lines += [self._import_line(module) for module in found]
        return lines

    def _import_line(self, module: str) -> str:
        names = sorted((name, local) for (found, name), local in self._imports.items() if found == module)
        return f"from {module} import " + ", ".join(
            name if name == local else f"{name} as {local}" for name, local in names
        )

    def _take(self, name: str, otherwise: str) -> str:
        if name in self._taken:
            name = otherwise
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _relative(self, package: str) -> str:
        """Return the relative module from which this package imports the messages of that one."""
        here, there = _parts(self._package), _parts(package)
        if here != there and any(map(keyword.iskeyword, there)):
            raise CompileError(f"Python cannot import from package {package}: a part of its name is a keyword")
        shared = 0
        while shared < min(len(here), len(there)) and here[shared] == there[shared]:
            shared += 1
        return "." * (len(here) - shared + 1) + ".".join(there[shared:])


def _parts(package: str) -> list[str]:
    return package.split(".") if package else []


def _is_relative(module: str) -> bool:
    return module.startswith(".")


def _is_third_party(module: str) -> bool:
    return module.split(".")[0] == "grpclib"


def _is_ours(module: str) -> bool:
    return module.split(".")[0] == "orbit_net"


def _is_standard(module: str) -> bool:
    return not (_is_relative(module) or _is_third_party(module) or _is_ours(module))


def _import_order(module: str) -> tuple[int, str]:
    path = module.lstrip(".")
    return (len(path) - len(module), path)  # farthest package first
