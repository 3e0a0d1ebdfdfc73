"""Logs in memory and on disk: what was written is read again, by another object and after a process was killed."""

import sqlite3
import subprocess
import sys
import threading
from functools import partial

import anyio
import pytest

from orbit_net.errors import StorageError
from orbit_net.model import AddressableReference, Int32Key, Int64Key, NodeId, NoKey, StringKey
from orbit_net.transactions import MemoryLog, MemoryVoteLog, SqliteLog, SqliteVoteLog, Stored, TransactionId
from orbit_net.transactions.records import Applied, Decided, Failed, Finished, Pruned, Undone, Voted
from orbit_net.transactions.step import Step
from orbit_net.transactions.writer import Writer
from settle import until

N1, N2 = NodeId("n1"), NodeId("n2", "space")
A = AddressableReference("Account", StringKey("a"))
SINGLE = AddressableReference("Bank", NoKey())
NAMES = (A, SINGLE, AddressableReference("X", Int32Key(-7)), AddressableReference("X", Int64Key(1 << 40)))


def id_at(created_at=1, node=N1):
    return TransactionId.generate(node, now_ms=created_at)


@pytest.fixture(params=["memory", "sqlite"])
def again(request, tmp_path):
    """Return ``again(kind, log)``: a log with the same content, opened anew."""

    def make(kind, log=None):
        if log is not None:
            log.close()
        if request.param == "memory":
            return log or (MemoryLog() if kind == "decisions" else MemoryVoteLog())
        return (SqliteLog if kind == "decisions" else SqliteVoteLog)(tmp_path / "deeper" / f"{kind}.db")

    return make


def test_decisions(again):
    """A decision is there until it is finished, with the kinds of its participants' keys; a failed one stays."""
    log = again("decisions")
    assert list(log.load()) == []
    one, two, three = Decided(id_at(), NAMES), Decided(id_at(5, N2), (A,)), Decided(id_at(), (A,))
    log.write([one, two])
    log.write([three, Finished(two.transaction_id), Failed(three.transaction_id, "why")])
    log = again("decisions", log)
    found = {record.transaction_id: record for record in log.load()}
    assert found == {one.transaction_id: one, three.transaction_id: Failed(three.transaction_id, "why")}
    log.write([Finished(one.transaction_id)])
    log = again("decisions", log)
    assert len(log.load()) == 1
    log.close()


def test_votes(again):
    """A vote ends in a state or in nothing; what was applied is known until it is pruned, and what is pruned too."""
    log = again("votes")
    assert log.load() == Stored()
    ids = [id_at(number) for number in range(5)]
    other = id_at(0, N2)
    log.write([Voted(A, ids[0], "1"), Voted(SINGLE, ids[0], "2"), Voted(A, other, "0")])
    log.write([Applied(A, other), Applied(A, ids[0]), Undone(SINGLE, ids[0])])
    for identity in ids[1:3]:
        log.write([Voted(A, identity, identity.id), Applied(A, identity)])
    log.write([Voted(SINGLE, ids[3], "3")])
    log = again("votes", log)
    stored = log.load()
    assert dict(stored.states) == {A: ids[2].id}
    assert list(stored.votes) == [Voted(SINGLE, ids[3], "3")]
    assert set(stored.applied) == {(A, other), (A, ids[0]), (A, ids[1]), (A, ids[2])}
    assert dict(stored.horizons) == {}
    log.write([Pruned(N1, 1)])
    log = again("votes", log)
    stored = log.load()
    assert set(stored.applied) == {(A, other), (A, ids[2])}
    assert dict(stored.horizons) == {N1: 1}
    log.close()


@pytest.mark.parametrize("kind", [SqliteLog, SqliteVoteLog])
def test_a_file_has_one_user(tmp_path, kind):
    """A second object, as of another process, is refused as long as the first is open."""
    first, second = kind(tmp_path / "log.db"), kind(tmp_path / "log.db")
    first.load()
    with pytest.raises(StorageError, match="locked"):
        second.load()
    second.close()
    first.close()
    third = kind(tmp_path / "log.db")
    third.load()
    third.close()


def test_it_waits_for_the_disk(tmp_path):
    """WAL, and a commit that is synced."""
    log = SqliteLog(tmp_path / "log.db")
    log.load()
    read = log._database.read
    assert read("PRAGMA journal_mode") == [("wal",)]
    assert read("PRAGMA synchronous") == [(2,)]
    assert repr(log) == f"<SqliteLog {tmp_path / 'log.db'}, 0 writes>"
    log.close()


def test_what_is_no_log(tmp_path):
    """Garbage, the file of a later version, a folder, and a log that is not open: StorageError that names the file."""
    (tmp_path / "garbage").write_bytes(b"x" * 5_000)
    with sqlite3.connect(tmp_path / "later") as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    for name in ("garbage", "later", "."):
        log = SqliteVoteLog(tmp_path / name)
        with pytest.raises(StorageError, match=name):
            log.load()
        log.close()
    with pytest.raises(StorageError, match="not open"):
        SqliteLog(tmp_path / "new").write([Finished(id_at())])


def test_the_first_error_is_the_last_word(tmp_path):
    """After a failed write nobody knows what is durable, so nothing is written any more; reopening tells."""
    log = SqliteVoteLog(tmp_path / "log.db")
    log.load()
    identity = id_at()
    log.write([Voted(A, identity, "1"), Applied(A, identity)])
    with pytest.raises(StorageError, match="UNIQUE"):
        log.write([Voted(A, identity, "1"), Applied(A, identity)])
    with pytest.raises(StorageError, match="failed before"):
        log.write([Voted(A, id_at(), "1")])
    log.close()
    log = SqliteVoteLog(tmp_path / "log.db")
    assert log.load().votes == ()
    log.close()


def test_a_killed_process_has_written_what_it_said(tmp_path):
    """What write() returned for is there; a batch is there whole or not at all."""
    program = f"""
import os, signal
from orbit_net.model import NodeId
from orbit_net.transactions import SqliteLog, TransactionId
from orbit_net.transactions.records import Decided
log = SqliteLog({str(tmp_path / "log.db")!r})
log.load()
for number in range(1, 21):
    log.write([Decided(TransactionId.generate(NodeId("n1"), now_ms=number), ()) for _ in range(number)])
    print(number, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=False)
    assert done.stdout.split()[-1] == "20"
    log = SqliteLog(tmp_path / "log.db")
    assert len(log.load()) == sum(range(1, 21))
    log.close()


class Slow:
    """A log whose writes wait in their thread until they are let go. ``batches`` are what was written."""

    blocking = True

    def __init__(self):
        self.batches = []
        self.gate = threading.Semaphore(0)
        self.waiting = 0
        self.failure = None
        self.closed = False

    def load(self):
        return ()

    def write(self, records):
        self.waiting += 1
        self.gate.acquire(timeout=10)
        if self.failure is not None:
            raise self.failure
        self.batches.append(list(records))

    def close(self):
        self.closed = True

    def __repr__(self):
        return "<Slow>"


def step(*records, lazy=()):
    return Step(records=records, lazy=tuple(lazy))


@pytest.mark.anyio
async def test_the_next_batch_gathers_while_one_is_written():
    """One wait for the disk for all that came meanwhile; what follows keeps the order, without records as well."""
    log, followed, failed = Slow(), [], []
    writer = Writer(log, failed.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        writer.submit(step(), partial(followed.append, "at once"))
        assert followed == ["at once"]
        writer.submit(step(1), partial(followed.append, "one"))
        await until(lambda: log.waiting == 1)
        writer.submit(step(2, lazy=["lazy"]), partial(followed.append, "two"))
        writer.submit(step(), partial(followed.append, "nothing"))
        writer.submit(step(3), partial(followed.append, "three"))
        assert followed == ["at once"]
        assert repr(writer) == "<Writer of <Slow>, 3 waiting, 0 lazy>"
        log.gate.release(2)
        await until(lambda: "three" in followed)
        assert followed == ["at once", "one", "two", "nothing", "three"]
        assert log.batches == [[1], [2, "lazy", 3]]
        tasks.cancel_scope.cancel()
    assert failed == []


@pytest.mark.anyio
async def test_lazy_records_wait_for_company():
    """They go before the next records, or when there are many, or at the end; a writer that is closed takes no more."""
    log = Slow()
    log.gate.release(100)
    writer = Writer(log, None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        writer.submit(step(lazy=[1, 2]), lambda: None)
        await writer.written(step(3))
        assert log.batches == [[1, 2, 3]]
        writer.submit(step(lazy=range(257)), lambda: None)
        await until(lambda: len(log.batches) == 2)
        writer.submit(step(lazy=["last"]), lambda: None)
        tasks.cancel_scope.cancel()
    await writer.close()
    assert log.batches[1:] == [list(range(257)), ["last"]]
    assert log.closed
    with pytest.raises(StorageError, match="is closed"):
        await writer.written(step(4))


@pytest.mark.anyio
@pytest.mark.parametrize("failure", [StorageError("the disk is gone"), RuntimeError("a bug")])
async def test_after_a_failure_nothing_follows(failure):
    """Whoever waits is told, what comes later too, and the log is closed all the same."""
    log, followed, failed = Slow(), [], []
    log.failure = failure
    writer = Writer(log, failed.append)
    errors = []

    async def wait(number):
        try:
            await writer.written(step(number))
        except StorageError as error:
            errors.append(str(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        for number in range(2):
            tasks.start_soon(wait, number)
        await until(lambda: log.waiting == 1)
        writer.submit(step(9), partial(followed.append, 9))
        log.gate.release(9)
        await until(lambda: len(errors) == 2)
    assert str(failure) in errors[0]
    await wait(3)
    assert len(errors) == 3
    assert (followed, len(failed), repr(writer)) == ([], 1, "<Writer of <Slow>, failed>")
    await writer.close()
    assert log.closed


@pytest.mark.anyio
async def test_the_loop_goes_on_while_the_disk_works():
    """A log that blocks is written in a thread."""
    log = Slow()
    writer = Writer(log, None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        tasks.start_soon(writer.written, step(1))
        await until(lambda: log.waiting == 1)
        log.gate.release()
        await until(lambda: log.batches)
        tasks.cancel_scope.cancel()
