"""``orbit-net gen``, and the generated code of orbit_net itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orbit_net.cli import main
from orbit_net.compiler import CompileError, compile_protos

ROOT = Path(__file__).parents[2]


def _gen(protos: Path, out: Path, *options: str) -> int:
    files = sorted(map(str, protos.rglob("*.proto")))
    return main(["gen", f"--proto-path={protos}", f"--out={out}", *options, *files])


def test_committed_code_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """What is committed under orbit_net/proto is what the protos give today."""
    assert _gen(ROOT / "protos", ROOT / "orbit_net" / "proto", "--prune", "--check") == 0, capsys.readouterr().err


def test_second_run_writes_nothing(protos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run names the files that it changes, and the next one changes none."""
    assert _gen(protos, tmp_path) == 0
    names = set(capsys.readouterr().out.split())
    assert str(tmp_path / "acme" / "shop" / "v1" / "services.py") in names
    assert _gen(protos, tmp_path) == 0
    assert capsys.readouterr().out == ""


def test_check_writes_nothing(protos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--check`` fails with the names of stale files and leaves them as they are."""
    assert _gen(protos, tmp_path) == 0
    stale = tmp_path / "acme" / "common" / "__init__.py"
    stale.write_text("stale", encoding="utf-8")
    assert _gen(protos, tmp_path, "--check") == 1
    assert capsys.readouterr().err == f"orbit-net gen: out of date below {tmp_path}: acme/common/__init__.py\n"
    assert stale.read_text("utf-8") == "stale"


def test_prune_removes_other_files(protos: Path, tmp_path: Path) -> None:
    """Only ``--prune`` removes files that were not generated."""
    other = tmp_path / "acme" / "other.py"
    other.parent.mkdir()
    other.touch()
    assert _gen(protos, tmp_path) == 0
    assert other.exists()
    assert _gen(protos, tmp_path, "--check", "--prune") == 1
    assert _gen(protos, tmp_path, "--prune") == 0
    assert not other.exists()


def test_errors_of_protoc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that protoc refuses ends in protoc's words and status 1, and nothing is written."""
    broken = tmp_path / "broken.proto"
    broken.write_text('syntax = "proto3"; message M { Unknown field = 1; }', encoding="utf-8")
    assert _gen(tmp_path, tmp_path / "out") == 1
    assert '"Unknown" is not defined' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_errors_of_the_plugin(protos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that no module can have ends in status 1, and nothing is written."""
    assert _gen(protos, tmp_path / "out", "--module=not-a-name") == 1
    assert "module='not-a-name'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_file_outside_the_proto_paths(tmp_path: Path) -> None:
    """A file that is in none of the proto paths is refused."""
    (tmp_path / "in").mkdir()
    (tmp_path / "a.proto").write_text('syntax = "proto3";', encoding="utf-8")
    with pytest.raises(CompileError, match=r"a\.proto"):
        compile_protos([str(tmp_path / "a.proto")], [tmp_path / "in"])


def test_same_text_from_anywhere(protos: Path, tmp_path: Path, generated: dict[str, str]) -> None:
    """Neither the working directory nor what lies in it, nor the hash seed, changes what is generated."""
    (tmp_path / "ruff.toml").write_text("line-length = 40\nindent-width = 2\n", encoding="utf-8")
    (tmp_path / "__init__.py").touch()
    files = sorted(path.relative_to(protos).as_posix() for path in protos.rglob("*.proto"))
    subprocess.run(
        [sys.executable, "-m", "orbit_net.cli", "gen", "-I", protos, "--out", "out", *files],
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "1234"},
        check=True,
        capture_output=True,
    )
    out = tmp_path / "out"
    written = {path.relative_to(out).as_posix(): path.read_text("utf-8") for path in out.rglob("*") if path.is_file()}
    assert written == generated


def test_generated_code_needs_no_compiler() -> None:
    """The generated packages of orbit_net import neither the compiler, nor grpcio, nor google.protobuf."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "orbit_net" / "proto").rglob("*.py"))
    ]
    assert "orbit_net.proto.orbit.shared.services" in modules
    script = (
        f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
        "print([name for name in ('betterproto2_compiler', 'grpc', 'google.protobuf') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=os.sep, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
