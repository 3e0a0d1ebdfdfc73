"""Which orbit_net the suite tests."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest

import orbit_net


@pytest.mark.skipif(not os.environ.get("ORBIT_NET_INSTALLED"), reason="only make promises an installed wheel")
def test_tests_see_the_installed_wheel() -> None:
    """Under make, the package under test is the one that was built and installed, not the tree."""
    package = Path(orbit_net.__file__).resolve().parent
    assert package.parent == Path(sysconfig.get_path("purelib")).resolve()
    assert (package / "py.typed").is_file()
    assert (package / "proto" / "orbit" / "shared" / "services.py").is_file()
