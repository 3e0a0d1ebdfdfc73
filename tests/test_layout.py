"""The shape of the package: who may import whom, what the protocol core does without, and how large a module may be."""

import ast
from functools import wraps
from itertools import chain
from pathlib import Path

import pytest

import orbit_net

pytestmark = pytest.mark.once

ROOT = Path(orbit_net.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

RANKS = {
    "": 0,
    "context": 0,
    "errors": 0,
    "observe": 0,
    "proto": 0,
    "status": 0,
    "codec": 1,
    "interceptor": 1,
    "model": 1,
    "wire": 1,
    "details": 2,
    "net": 2,
    "client": 3,
    "server": 3,
    # The stubs and bases that are generated beside the messages stand on both sides, and below what uses them.
    "services": 3.5,
    "channelz": 4,
    "directory": 4,
    "health": 4,
    "interceptors": 4,
    "load": 4,
    "messaging": 4,
    "raft": 4,
    "reflection": 4,
    "telemetry": 4,
    "transactions": 4,
    "testing": 5,
    "compiler": 6,
    "node": 6,
    "cli": 7,
}
"""Imports point only down this list; modules of one name may import each other."""

IMPURE = {"anyio", "asyncio", "logging", "os", "random", "select", "socket", "ssl", "threading", "time", "trio"}
RAFT_CORE = ("config", "core", "log", "membership", "messages", "progress", "quorum", "reads")
TRANSACTIONS_CORE = ("coordination", "messages", "participation", "records", "settings", "step", "transaction")
ASYNCHRONOUS = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
LONGEST = 400
LONGEST_OF = {"raft/core.py": 600}


def name_of(path):
    """Return the dotted name of a module."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def component(name):
    """Return which entry of ``RANKS`` a module of orbit_net belongs to."""
    parts = name.split(".")[1:]
    if parts[:1] == ["proto"] and parts[-1] == "services":
        return "services"
    return parts[0] if parts else ""


def is_generated(path):
    """Whether a module is written by ``make gen``."""
    return "proto" in path.relative_to(ROOT).parts


def imports_of(path):
    """Yield ``(module, only_for_types)`` for every import of a module, wherever in its text it stands."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for node in chain.from_iterable(ast.walk(statement) for statement in block.body)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = _names_from(path, node)
        else:
            continue
        for name in names:
            yield name, id(node) in for_types


def _names_from(path, node):
    module = node.module or ""
    if node.level:
        package = name_of(path).split(".")
        package = package if path.name == "__init__.py" else package[:-1]
        module = ".".join([*package[: len(package) - node.level + 1], *module.split(".")]).rstrip(".")
    # "from orbit_net import errors" names a module of the package, not the package.
    submodules = [f"{module}.{alias.name}" for alias in node.names if _is_module(f"{module}.{alias.name}")]
    return submodules if len(submodules) == len(node.names) else [module, *submodules]


def _is_module(name):
    path = ROOT.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def paths(modules):
    """Check every one of ``modules`` in one test, and say which are not as they should be."""

    def decorate(check):
        @wraps(check)
        def test():
            wrong = []
            for path in modules:
                try:
                    check(path)
                except AssertionError as error:
                    wrong.append(f"{path.relative_to(ROOT)}: {error}")
            assert not wrong, "\n".join(wrong)

        del test.__wrapped__  # pytest would look for its parameter
        return test

    return decorate


@paths(MODULES)
def test_imports_point_down(path):
    """A module imports its own package and what stands below it; for types also what stands beside it."""
    mine = component(name_of(path))
    assert mine in RANKS, f"{mine} has no rank"
    wrong = []
    for name, only_for_types in imports_of(path):
        if name != "orbit_net" and not name.startswith("orbit_net."):
            continue
        theirs = component(name)
        if theirs in (mine, ""):
            continue
        if RANKS[theirs] > RANKS[mine] or (RANKS[theirs] == RANKS[mine] and not only_for_types):
            wrong.append(name)
    assert wrong == []


@paths(MODULES)
def test_no_event_loop_is_imported(path):
    """anyio is the only door to an event loop."""
    roots = {name.partition(".")[0] for name, _ in imports_of(path)}
    assert not roots & {"asyncio", "trio", "curio"}


@paths(sorted((ROOT / "wire").glob("*.py")))
def test_the_protocol_core_is_pure(path):
    """wire/ has no I/O, no clock, no randomness, no log, and nothing to await."""
    assert not {name.partition(".")[0] for name, _ in imports_of(path)} & IMPURE
    tree = ast.parse(path.read_text())
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ASYNCHRONOUS)] == []


@paths([ROOT / "raft" / f"{name}.py" for name in RAFT_CORE])
def test_the_core_of_raft_is_pure(path):
    """The core of Raft is handed its clock and its randomness as well."""
    assert not {name.partition(".")[0] for name, only_for_types in imports_of(path) if not only_for_types} & IMPURE
    tree = ast.parse(path.read_text())
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ASYNCHRONOUS)] == []


@paths([ROOT / "transactions" / f"{name}.py" for name in TRANSACTIONS_CORE])
def test_the_cores_of_transactions_are_pure(path):
    """So are the coordinator's and the participants'."""
    assert not {name.partition(".")[0] for name, only_for_types in imports_of(path) if not only_for_types} & IMPURE
    tree = ast.parse(path.read_text())
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ASYNCHRONOUS)] == []


@paths([path for path in MODULES if path.parent == ROOT / "net"])
def test_only_types_are_shared_with_the_layers_above(path):
    """net/ knows nothing of channels, servers, codecs or messages."""
    assert not {component(name) for name, _ in imports_of(path) if name.startswith("orbit_net")} & {
        "client",
        "codec",
        "model",
        "proto",
        "server",
    }


def test_only_net_opens_sockets():
    """Sockets are opened by net/ alone."""
    openers = set()
    for path in MODULES:
        if is_generated(path):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in {
                "connect_tcp",
                "connect_unix",
                "create_tcp_listener",
                "create_unix_listener",
            }:
                openers.add(component(name_of(path)))
    assert openers == {"net"}


@paths([path for path in MODULES if not is_generated(path)])
def test_public_names_are_sorted(path):
    """``__all__`` is a sorted list of names that exist; every package but the root has one."""
    tree = ast.parse(path.read_text())
    public = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    if path.name == "__init__.py" and path.parent != ROOT:
        assert public, "a package names what is public"
    for names in public:
        assert names == sorted(names, key=_order)
        assert len(names) == len(set(names))
        assert not [name for name in names if name.startswith("_") and not name.startswith("__")]
        defined = set(chain.from_iterable(map(_defined, tree.body)))
        assert set(names) <= defined


def _order(name):
    """Constants, then classes, then the rest, as ruff sorts them."""
    return not name.isupper(), not name[:1].isupper(), name


def _defined(node):
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign():
            return [target.id for target in node.targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name()):
            return [node.target.id]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name for alias in node.names]
        case ast.If() | ast.Try():
            return list(chain.from_iterable(map(_defined, ast.iter_child_nodes(node))))
    return []


@paths([path for path in MODULES if not is_generated(path)])
def test_modules_are_short(path):
    """At most 400 lines, and 600 for the core of Raft."""
    limit = LONGEST_OF.get(path.relative_to(ROOT).as_posix(), LONGEST)
    assert len(path.read_text().splitlines()) <= limit


@paths([path for path in MODULES if not is_generated(path)])
def test_modules_say_what_they_are(path):
    """Every module has a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_every_package_has_a_place():
    """Each package and module of the root has a rank, so a new one must be given its own."""
    names = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert names - {"__init__"} <= set(RANKS)
