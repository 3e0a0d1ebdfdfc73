"""The protos of this directory, compiled once and importable as the package ``shop_generated``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from orbit_net.compiler import compile_protos, write

PROTOS = Path(__file__).parent / "protos"


@pytest.fixture(scope="session")
def protos() -> Path:
    """The directory of the protos that these tests compile."""
    return PROTOS


@pytest.fixture(scope="session")
def generated() -> dict[str, str]:
    """Every generated file, from path to text."""
    return compile_protos(sorted(map(str, PROTOS.rglob("*.proto"))), [PROTOS])


@pytest.fixture(scope="session")
def load(generated: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ModuleType]]:
    """Import a module of the generated package."""
    directory = tmp_path_factory.mktemp("generated")
    write(generated, directory / "shop_generated")
    sys.path.insert(0, str(directory))
    yield lambda name: importlib.import_module(f"shop_generated.{name}")
    sys.path.remove(str(directory))
    for name in [name for name in sys.modules if name.startswith("shop_generated")]:
        del sys.modules[name]


@pytest.fixture
def shop(load: Callable[[str], ModuleType]) -> ModuleType:
    """The messages of acme.shop.v1."""
    return load("acme.shop.v1")


@pytest.fixture
def services(load: Callable[[str], ModuleType]) -> ModuleType:
    """The stubs and bases of acme.shop.v1."""
    return load("acme.shop.v1.services")
