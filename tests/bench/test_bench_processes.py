"""Worker processes: answered, refused, silent, dead; always ended."""

from __future__ import annotations

import pytest
from benchmarks.processes import Worker, WorkerFailed

_ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
_DEAF = "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('{}', flush=True)\nwhile True: signal.pause()"
_SILENT = "import sys\nfor line in sys.stdin: pass"


def _worker(program: str) -> Worker:
    return Worker("example", command=("-c", program))


def test_worker_answers_a_command() -> None:
    """A command goes out with its limit, and the answer comes back; leaving ends the process."""
    with _worker(_ECHO) as worker:
        assert worker.ask(limit=10.0, do="cpu") == {"do": "cpu", "limit": 10.0}
        assert "running" in repr(worker)
    assert "ended with 0" in repr(worker)


def test_silent_worker_fails_by_its_limit() -> None:
    """No answer within the limit is an error that names the worker."""
    with _worker(_SILENT) as worker, pytest.raises(WorkerFailed, match=r"example .* gave no answer"):
        worker.answer(limit=0.05)


def test_dead_worker_fails_with_its_last_words() -> None:
    """The end of a dead worker's standard error is part of the error."""
    with _worker("raise ValueError('no such peer')") as worker, pytest.raises(WorkerFailed, match="no such peer"):
        worker.answer(limit=10.0)


def test_worker_that_talks_nonsense_fails() -> None:
    """A line that is not JSON is an error, not an answer."""
    with _worker("print('hello', flush=True)") as worker, pytest.raises(WorkerFailed, match="hello"):
        worker.answer(limit=10.0)


def test_worker_that_ignores_the_end_of_its_input_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that hangs is terminated, and one that ignores that is killed."""
    monkeypatch.setattr("benchmarks.processes._GRACE_SECONDS", 0.2)
    with _worker(_DEAF) as worker:
        assert worker.answer(limit=10.0) == {}
    assert "ended with -9" in repr(worker)
