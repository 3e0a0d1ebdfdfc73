"""The tasks that run handlers: reused, yet each handler in a context and a cancel scope of its own."""

from contextvars import ContextVar

import anyio
import anyio.lowlevel
import pytest

from echo import Echo
from memory import in_memory
from orbit_net.errors import LocalProtocolError, RpcError
from orbit_net.server import current_call
from orbit_net.server.workers import _MAX_IDLE, Workers
from orbit_net.status import Status
from settle import assert_no_leaks, turns, until

pytestmark = pytest.mark.anyio

variable = ContextVar("variable", default="unset")


class Job:
    """Notes what happened to it."""

    def __init__(self, work=None):
        self.scope = None
        self.cancelled = False
        self.closed = 0
        self.begun = False
        self.work = work
        self.task = None

    async def run(self):
        self.begun = True
        self.task = anyio.get_current_task().id
        if self.work is not None:
            await self.work()

    def close(self):
        self.closed += 1


@pytest.fixture
async def workers():
    """Workers in a task group of their own."""
    async with anyio.create_task_group() as tasks:
        yield Workers(tasks)
        tasks.cancel_scope.cancel()


async def test_a_worker_is_reused(workers):
    """The next job runs in the task of the one before."""
    jobs = [Job() for _ in range(5)]
    for job in jobs:
        workers.submit(job)
        await until(lambda job=job: job.closed)
    assert len({job.task for job in jobs}) == 1
    assert repr(workers) == "<Workers 0 busy, 1 idle>"


async def test_many_jobs_at_once(workers):
    """Each job has a task; only so many of them are kept."""
    gate = anyio.Event()
    jobs = [Job(gate.wait) for _ in range(_MAX_IDLE + 50)]
    for job in jobs:
        workers.submit(job)
    await until(lambda: all(job.begun for job in jobs))
    assert workers.busy == len(jobs)
    gate.set()
    await until(lambda: all(job.closed for job in jobs))
    await turns(3)
    assert repr(workers) == f"<Workers 0 busy, {_MAX_IDLE} idle>"


async def test_a_cancelled_worker_retires(workers):
    """Cancelling a job's scope ends its task; the next job gets a new one."""
    first, second = Job(anyio.sleep_forever), Job()
    workers.submit(first)
    await until(lambda: first.begun)
    first.scope.cancel()
    await until(lambda: first.closed)
    assert repr(workers) == "<Workers 0 busy, 0 idle>"
    workers.submit(second)
    await until(lambda: second.closed)
    assert second.task != first.task
    assert first.closed == second.closed == 1


async def test_a_scope_that_is_cancelled_after_the_job(workers):
    """A job that ended leaves no scope to cancel: the worker that it had is not disturbed."""
    first, second = Job(), Job(anyio.sleep_forever)
    workers.submit(first)
    await until(lambda: first.closed)
    assert first.scope is None
    workers.submit(second)
    await until(lambda: second.begun)
    second.scope.cancel()
    await until(lambda: second.closed)


async def test_a_job_that_is_cancelled_before_it_begins(workers):
    """It is closed and never run."""
    job = Job()
    workers.submit(job)
    job.cancelled = True
    await until(lambda: job.closed)
    assert not job.begun


@pytest.mark.parametrize("resting", [False, True])
async def test_the_end_of_the_group(resting):
    """Jobs that were handed in and not begun when the group is cancelled are closed, with new and resting workers."""
    job = Job(anyio.sleep_forever)
    async with anyio.create_task_group() as tasks:
        workers = Workers(tasks)
        if resting:
            other = Job()
            workers.submit(other)
            await until(lambda: other.closed)
        workers.submit(job)
        tasks.cancel_scope.cancel()
    assert job.closed == 1
    assert workers.busy == 0


class Contextual(Echo):
    """Sets a context variable and says what it was before."""

    async def unary(self, request):
        before = variable.get()
        variable.set(request.decode())
        await anyio.lowlevel.checkpoint()
        assert variable.get() == request.decode()
        return before.encode()


async def test_contexts_are_isolated():
    """A context variable that one handler sets is not seen by the next, though both run in one task."""
    async with in_memory(Contextual()) as (server, _, stub):
        for number in range(5):
            assert await stub.unary(b"%d" % number) == b"unset"
        assert len(server._workers._idle) == 1


async def test_contexts_of_handlers_that_alternate():
    """Two handlers that take turns keep their own values."""

    class Alternating(Echo):
        async def chat(self, stream):
            async for message in stream:
                before = variable.get()
                variable.set(message.decode())
                await stream.send_message(before.encode())

    async with in_memory(Alternating()) as (_, _, stub), stub.chat() as one, stub.chat() as two:
        for call, message, before in [
            (one, b"a", b"unset"),
            (two, b"b", b"unset"),
            (one, b"c", b"a"),
            (two, b"d", b"b"),
        ]:
            await call.send_message(message)
            assert await call.recv_message() == before
        await one.end()
        await two.end()


async def test_current_call():
    """It is the handler's stream, also in a task of the handler, and raises outside."""
    seen = []

    class Looking(Echo):
        async def chat(self, stream):
            async def look():
                seen.append(current_call() is stream)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(look)
            seen.append(current_call() is stream)
            call = current_call()
            seen.append((call.method, call.metadata["x-key"], call.deadline is None, call.user_agent[:21]))

    with pytest.raises(LocalProtocolError, match="no call is being handled"):
        current_call()
    async with in_memory(Looking()) as (server, channel, stub):
        async with stub.chat(metadata={"x-key": "1"}) as call:
            await call.send_request(end=True)
            assert await call.recv_message() is None
        await assert_no_leaks(server, channel)
    assert seen == [True, True, ("/test.Echo/Chat", "1", True, "grpc-python-orbit-net")]


async def test_trailing_metadata_by_the_current_call():
    """set_trailing_metadata holds for a good end and for a bad one."""

    class Trailing(Echo):
        async def unary(self, request):
            current_call().set_trailing_metadata({"x-trailer": request.decode()})
            if request == b"bad":
                current_call().abort(Status.ABORTED, "as asked")
            return request

    async with in_memory(Trailing()) as (_, channel, stub):
        with pytest.raises(RpcError) as raised:
            await stub.unary(b"bad")
        assert dict(raised.value.trailing_metadata) == {"x-trailer": "bad"}
        from grpclib.const import Cardinality

        async with channel.request("/test.Echo/Unary", Cardinality.UNARY_UNARY, bytes, bytes) as call:
            await call.send_message(b"good")
            assert await call.recv_message() == b"good"
            await call.recv_trailing_metadata()
            assert dict(call.trailing_metadata) == {"x-trailer": "good"}
