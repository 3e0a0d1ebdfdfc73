"""The conformance testee's dialogue, where the runner comes from, and the list of known failures."""

from __future__ import annotations

import io
import struct
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conformity import command, runner, testee

from orbit_net.proto.orbit.shared import NodeIdProto

LENGTH = struct.Struct("<I")


class _Format(IntEnum):
    PROTOBUF = 1
    JSON = 2


def _request(payload: bytes | None, *, kind: str = "node", output: int = 1) -> Any:
    return SimpleNamespace(message_type=kind, protobuf_payload=payload, requested_output_format=output)


def _ask(monkeypatch: pytest.MonkeyPatch, request: Any) -> dict[str, Any]:
    monkeypatch.setattr(testee.Orbit, "decode", _decode_request(request, testee.Orbit.decode))
    conformance = SimpleNamespace(ConformanceRequest=object, ConformanceResponse=dict, WireFormat=_Format)
    return testee.answer(testee.Orbit(), conformance, {"node": NodeIdProto}, b"")


def _decode_request(request: Any, decode: Any) -> Any:
    return lambda self, data, cls: request if cls is object else decode(self, data, cls)


def test_valid_bytes_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What parses is written again."""
    data = bytes(NodeIdProto(key="one"))
    assert _ask(monkeypatch, _request(data)) == {"protobuf_payload": data}


def test_broken_bytes_are_a_parse_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not parse is answered with the codec's words."""
    [(kind, text)] = _ask(monkeypatch, _request(b"\x0a\x05one")).items()
    assert kind == "parse_error"
    assert "5 bytes are announced and 3 are left" in text


@pytest.mark.parametrize("request_", [_request(None), _request(b"", output=2), _request(b"", kind="proto2")])
def test_everything_else_is_skipped(monkeypatch: pytest.MonkeyPatch, request_: Any) -> None:
    """JSON on either side and other messages are no business of the codec."""
    assert list(_ask(monkeypatch, request_)) == ["skipped"]


def test_no_failure_is_known_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner's own question for a list of failures has an empty answer."""
    assert _ask(monkeypatch, _request(None, kind="conformance.FailureSet")) == {"protobuf_payload": b""}


def test_dialogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer stands behind its length; the end of the input ends the program."""
    monkeypatch.setattr(testee, "answer", lambda codec, conformance, types, data: NodeIdProto(key=data.decode()))
    answers = io.BytesIO()
    testee.serve(None, None, {}, io.BytesIO(LENGTH.pack(3) + b"one" + LENGTH.pack(3) + b"two"), answers)
    assert answers.getvalue() == b"".join(LENGTH.pack(5) + b"\x0a\x03" + key for key in (b"one", b"two"))


def test_runner_of_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PROTOBUF_CONFORMANCE_RUNNER names a program, with its protos beside its folder."""
    program = tmp_path / "bin" / "runner"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PROTOBUF_CONFORMANCE_RUNNER", str(program))
    found = runner.find(tmp_path / "unused")
    assert found == runner.Runner((str(program),), tmp_path / "include")


def test_a_machine_without_npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Where the runner cannot be had, one line says what would help; only CI may demand it."""
    monkeypatch.delenv("PROTOBUF_CONFORMANCE_RUNNER", raising=False)
    monkeypatch.setattr(runner.shutil, "which", lambda name: None)
    monkeypatch.setattr(command, "_FOLDER", tmp_path)
    assert command.main([]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert "npm is not here" in line
    assert "PROTOBUF_CONFORMANCE_RUNNER" in line
    monkeypatch.setenv("CONFORMANCE_REQUIRED", "1")
    assert command.main([]) == 1


def test_known_failures_have_a_reason(tmp_path: Path) -> None:
    """The list begins with its reason, and the runner gets the bare names; no required case is among them."""
    text = command._FAILURES.read_text()
    assert text.startswith("#")
    names = command._known_failures(tmp_path).read_text().split()
    assert len(names) == len(set(names)) == 29
    assert all(name.startswith("Recommended.Proto3.") for name in names)
