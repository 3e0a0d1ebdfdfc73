"""Starting worker processes, asking them, and ending them whatever happens."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

_SCRIPTS = Path(__file__).resolve().parents[1]
_GRACE_SECONDS = 5.0  # a runtime closes its connection in milliseconds; grpcio now and then takes a second
_TAIL_LINES = 15


class WorkerFailed(Exception):
    """A worker ended, kept silent for too long, or answered nonsense; the text has the end of its standard error."""


class Worker:
    """A child process that answers one line of JSON to each line of JSON; a context manager that always ends it."""

    def __init__(self, *arguments: str, command: tuple[str, ...] = ("-m", "benchmarks.worker")) -> None:
        self._name = " ".join(arguments)
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        # this tree before anything installed: what stands here is what is measured
        paths = [str(_SCRIPTS), str(_SCRIPTS.parent), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, *command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __repr__(self) -> str:
        state = "running" if self._process.poll() is None else f"ended with {self._process.returncode}"
        return f"<Worker {self._name} [pid {self._process.pid}, {state}]>"

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, *, limit: float, **command: Any) -> dict[str, Any]:
        """Send `command` and return the answer; raise `WorkerFailed` when there is none within `limit` seconds.

        The worker is told the limit and is given a moment to fail by itself, with a traceback that says where.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({**command, "limit": limit}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._failure(f"does not listen: {error}") from error
        return self.answer(limit=limit + _GRACE_SECONDS)

    def answer(self, *, limit: float) -> dict[str, Any]:
        """Wait at most `limit` seconds for the next answer; raise `WorkerFailed` when there is none."""
        try:
            line = self._lines.get(timeout=limit)
        except queue.Empty:
            raise self._failure(f"gave no answer in {limit:g} s") from None
        try:
            answer = json.loads(line)
        except ValueError:
            raise self._failure(f"answered {line!r}" if line else "ended early") from None
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        """End the process: by the end of its input, else by SIGTERM, else by SIGKILL. Idempotent."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):  # it is gone already, with what it was still to read
            self._process.stdin.close()
        for end in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(_GRACE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                end()
        self._process.wait(_GRACE_SECONDS)
        self._reader.join(_GRACE_SECONDS)
        self._process.stdout.close()
        self._errors.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _failure(self, what: str) -> WorkerFailed:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)  # if it is ending, its traceback is nearly written
        self._errors.seek(0)
        tail = self._errors.read().splitlines()[-_TAIL_LINES:]
        return WorkerFailed("\n    ".join([f"{self!r} {what}", *tail]))
