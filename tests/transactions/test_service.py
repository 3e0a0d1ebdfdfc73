"""TransactionService, asked as any peer asks: messages in, responses out."""

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from orbit_net import __version__
from orbit_net.errors import TransactionInDoubt, TransactionRefused
from orbit_net.model import AddressableReference, Int64Key, NodeId, NoKey, StringKey
from orbit_net.proto.orbit.transactions import (
    BroadcastMessageRequest,
    HealthCheckRequest,
    HealthCheckResponseStatus,
    PrepareMessage,
    Target,
    TransactionMessageProto,
    TransactionMessageRequest,
    TransactionStatusRequest,
)
from orbit_net.transactions import (
    Abort,
    Acknowledge,
    Commit,
    DurableParticipants,
    ParticipantRegistry,
    Prepare,
    QueryStatus,
    StateKind,
    StatusResponse,
    TransactionId,
    TransactionIdConverter,
    TransactionMessageConverter,
    TransactionOperation,
    TransactionService,
    TransactionState,
    TransactionVote,
    Vote,
    VoteKind,
    coordinator_of,
)
from orbit_net.transactions.report import Report
from txnet import BankAccount

pytestmark = pytest.mark.anyio

HERE, THERE = NodeId("here"), NodeId("there")
A, B = (AddressableReference("Account", StringKey(name)) for name in "ab")
ID = TransactionId.generate(THERE, now_ms=7)


class Recorder:
    """A participant that records; ``fails`` is raised by every order."""

    def __init__(self, fails=None):
        self.heard = []
        self.fails = fails

    async def _note(self, *what):
        self.heard.append(what)
        if self.fails is not None:
            raise self.fails

    async def prepare(self, transaction_id, operations, timeout):
        await self._note("prepare", [operation.operation_id for operation in operations], timeout)
        return TransactionVote.yes()

    async def commit(self, transaction_id):
        await self._note("commit")

    async def abort(self, transaction_id, reason):
        await self._note("abort", reason)

    async def get_transaction_state(self, transaction_id):
        return TransactionState(StateKind.PREPARED) if self.heard else None


class Outbox:
    """A sender that keeps what it is given."""

    def __init__(self):
        self.sent = []

    async def send_message(self, target, message, *, node=None, timeout=None):
        self.sent.append((target, node, message))

    async def broadcast_message(self, targets, message, *, node=None, timeout=None):
        self.sent.append((tuple(targets), node, message))


class Coordinator:
    """A coordinator that records, and knows one transaction."""

    serving = True

    def __init__(self, state=StateKind.COMMITTING, fails=None):
        self.heard = []
        self.state = TransactionState(state)
        self.fails = fails

    async def receive(self, message, sender):
        self.heard.append((message, sender))
        if self.fails is not None:
            raise self.fails

    async def get_transaction_state(self, transaction_id):
        if self.fails is not None:
            raise self.fails
        return self.state

    def report(self, transaction_id):
        return Report(self.state, (A, B), 9) if transaction_id.created_at == 7 else None


def request(message, target=A, *, inline=True):
    return TransactionMessageRequest(
        sender_node_id=str(THERE),
        target_actor_type=target.addressable_type,
        target_actor_key=str(target.key),
        message=TransactionMessageConverter.to_proto(message),
        inline_reply=inline,
    )


def broadcast(message, *targets, inline=True):
    return BroadcastMessageRequest(
        sender_node_id=str(THERE),
        targets=[Target(actor_type=target.addressable_type, actor_key=str(target.key)) for target in targets],
        message=TransactionMessageConverter.to_proto(message),
        inline_reply=inline,
    )


def serving(*participants, **options):
    registry = ParticipantRegistry()
    for reference, participant in participants:
        registry.add(reference, participant)
    return TransactionService(HERE, registry, **options)


def reply_of(response):
    return TransactionMessageConverter.from_proto(response.reply)


def operation(name, target=A, amount=1, kind="credit"):
    return TransactionOperation(name, target, kind, {"amount": amount})


async def test_each_order_reaches_its_participant():
    """With the operations that are for it; the answer stands in the response, with the time that it took."""
    one = Recorder()
    times = iter([0.0, 1.0, 1.25, 2.0, 2.0, 3.0, 3.0])
    service = serving((A, one), clock=lambda: next(times))
    prepare = Prepare(ID, (operation("1"), operation("2", B), operation("3")), 2.5)
    response = await service.send_transaction_message(request(prepare))
    assert (response.success, response.error_message, response.processing_time_ms) == (True, "", 250)
    assert reply_of(response) == Vote(ID, A, TransactionVote.yes())
    assert reply_of(await service.send_transaction_message(request(Commit(ID)))) == Acknowledge(ID, A)
    assert reply_of(await service.send_transaction_message(request(Abort(ID, "why")))) == Acknowledge(ID, A)
    assert one.heard == [("prepare", ["1", "3"], 2.5), ("commit",), ("abort", "why")]


async def test_participants_are_found_by_their_text():
    """A number by its digits, no key by its word."""
    one, single = Recorder(), Recorder()
    bank = AddressableReference("Bank", NoKey())
    service = serving((AddressableReference("Account", Int64Key(42)), one), (bank, single))
    await service.send_transaction_message(request(Commit(ID), AddressableReference("Account", StringKey("42"))))
    await service.send_transaction_message(request(Commit(ID), bank))
    assert len(one.heard) == len(single.heard) == 1
    service.participants.remove(bank)
    service.participants.remove(bank)
    assert service.participants.find(bank) is None
    assert repr(service.participants) == "<ParticipantRegistry of 1>"


async def test_who_is_not_here():
    """One message: NOT_FOUND. A broadcast: an error for each that is not."""
    service = serving((A, Recorder()))
    with pytest.raises(GRPCError) as raised:
        await service.send_transaction_message(request(Commit(ID), B))
    assert (raised.value.status, raised.value.message) == (
        Status.NOT_FOUND,
        "there is no Account/b on default:here",
    )
    with pytest.raises(GRPCError) as raised:
        await service.send_transaction_message(request(Acknowledge(ID, A), coordinator_of(HERE)))
    assert raised.value.status is Status.NOT_FOUND


async def test_a_broadcast_says_how_it_went_for_each():
    """Counts and errors as in Orbit, and a result for each target in their order."""
    service = serving((A, Recorder()), (B, Recorder(TransactionRefused("never prepared"))))
    other = AddressableReference("Account", StringKey("c"))
    response = await service.broadcast_transaction_message(broadcast(Commit(ID), B, A, other))
    assert (response.successful_sends, response.failed_sends) == (1, 2)
    assert response.errors == ["Account/b: never prepared", "Account/c: there is no Account/c on default:here"]
    assert [result.success for result in response.results] == [False, True, False]
    assert reply_of(response.results[0]) == Acknowledge(ID, B, success=False, error="never prepared")
    assert response.results[2].reply is None
    many = [AddressableReference("Account", StringKey(str(number))) for number in range(300)]
    response = await service.broadcast_transaction_message(broadcast(Commit(ID), *many, A))
    assert (response.successful_sends, response.failed_sends, response.results[-1].success) == (1, 300, True)
    assert response.errors[299].startswith("Account/299: ")
    empty = await service.broadcast_transaction_message(broadcast(Commit(ID)))
    assert (empty.successful_sends, empty.failed_sends, empty.results) == (0, 0, [])


async def test_a_participant_that_fails_is_not_a_refusal(caplog):
    """It is no acknowledgement, so the order is tried again; the peer hears that it failed, not how."""
    service = serving((A, Recorder(RuntimeError("secret"))))
    response = await service.send_transaction_message(request(Commit(ID)))
    assert (response.success, response.error_message, response.reply) == (False, "Account/a failed", None)
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("broken", "where"),
    [
        (lambda r: setattr(r, "message", None), "Request.message: it is missing"),
        (lambda r: setattr(r, "message", TransactionMessageProto()), "message.message_type: none of its kinds is set"),
        (
            lambda r: setattr(r, "message", TransactionMessageProto(prepare=PrepareMessage())),
            "message.prepare.transaction_id: it is missing",
        ),
        (lambda r: setattr(r, "sender_node_id", ""), "Request.sender_node_id: "),
    ],
)
async def test_what_says_nothing_is_invalid(broken, where):
    """INVALID_ARGUMENT with the path of what is wrong."""
    service = serving((A, Recorder()))
    for call, asked in (
        (service.send_transaction_message, request(Commit(ID))),
        (service.broadcast_transaction_message, broadcast(Commit(ID), A)),
    ):
        broken(asked)
        with pytest.raises(GRPCError) as raised:
            await call(asked)
        assert raised.value.status is Status.INVALID_ARGUMENT
        assert where in raised.value.message
    with pytest.raises(GRPCError, match=r"Target\.actor_type"):
        await service.broadcast_transaction_message(
            BroadcastMessageRequest(
                sender_node_id="n", targets=[Target()], message=TransactionMessageConverter.to_proto(Commit(ID))
            )
        )


async def test_votes_and_acknowledgements_reach_the_coordinator():
    """Whatever target they name, with the node that they come from; a refusal is told."""
    coordinator = Coordinator()
    service = serving(coordinator=coordinator)
    for message in (Vote(ID, A, TransactionVote.yes()), Acknowledge(ID, A)):
        response = await service.send_transaction_message(request(message, coordinator_of(HERE)))
        assert (response.success, response.reply) == (True, None)
        assert coordinator.heard.pop() == (message, THERE)
    coordinator.fails = TransactionRefused("takes no part")
    response = await service.send_transaction_message(request(Acknowledge(ID, A), coordinator_of(HERE)))
    assert (response.success, response.error_message) == (False, "takes no part")


async def test_questions():
    """A coordinator is asked by its own name, a participant by its."""
    one = Recorder()
    service = serving((A, one), coordinator=Coordinator())
    answer = reply_of(await service.send_transaction_message(request(QueryStatus(ID), coordinator_of(HERE))))
    assert answer == StatusResponse(ID, TransactionState(StateKind.COMMITTING))
    response = await service.send_transaction_message(request(QueryStatus(ID)))
    assert (response.success, response.error_message) == (False, f"Account/a knows nothing of {ID}")
    await service.send_transaction_message(request(Commit(ID)))
    answer = reply_of(await service.send_transaction_message(request(QueryStatus(ID))))
    assert answer == StatusResponse(ID, TransactionState(StateKind.PREPARED))
    ours = TransactionId.generate(HERE)
    answer = reply_of(await service.send_transaction_message(request(QueryStatus(ours), B)))
    assert answer.state.kind is StateKind.COMMITTING


async def test_an_answer_to_a_participants_question():
    """A decision is carried out and acknowledged; what decides nothing changes nothing."""
    one = Recorder()
    service = serving((A, one))

    async def tell(kind, details=None):
        message = StatusResponse(ID, TransactionState(kind, details))
        return await service.send_transaction_message(request(message))

    for kind in (StateKind.PREPARING, StateKind.PREPARED, StateKind.FAILED):
        response = await tell(kind)
        assert (response.success, response.reply, one.heard) == (True, None, [])
    assert reply_of(await tell(StateKind.COMMITTED)) == Acknowledge(ID, A)
    assert reply_of(await tell(StateKind.TIMED_OUT, "late")) == Acknowledge(ID, A)
    assert one.heard == [("commit",), ("abort", "late")]


async def test_peers_that_do_not_take_answers_in_the_response():
    """They get votes and acknowledgements as messages to the coordinator, states as messages to who takes part."""
    outbox = Outbox()
    service = serving((A, Recorder()), coordinator=Coordinator(), sender=outbox)
    for message, answer in (
        (Prepare(ID, (operation("1"),)), Vote(ID, A, TransactionVote.yes())),
        (Commit(ID), Acknowledge(ID, A)),
    ):
        response = await service.send_transaction_message(request(message, inline=False))
        assert (response.success, response.reply) == (True, None)
        assert outbox.sent.pop() == (coordinator_of(THERE), THERE, answer)
    await service.send_transaction_message(request(QueryStatus(ID), coordinator_of(HERE), inline=False))
    assert outbox.sent.pop() == ((A, B), None, StatusResponse(ID, TransactionState(StateKind.COMMITTING)))
    unknown = TransactionId.generate(HERE)
    response = await service.send_transaction_message(request(QueryStatus(unknown), coordinator_of(HERE), inline=False))
    assert not response.success
    assert "nobody here knows whom to tell" in response.error_message
    response = await serving((A, Recorder())).send_transaction_message(request(Commit(ID), inline=False))
    assert response.error_message == "default:here has no sender to answer with"


async def test_health():
    """SERVING with version and uptime; not while the coordinator does not serve."""
    times = iter([10.0, 12.5, 13.0, 14.0])
    coordinator = Coordinator()
    service = serving(coordinator=coordinator, clock=lambda: next(times))
    answer = await service.transaction_health_check(HealthCheckRequest(node_id="n"))
    assert (answer.status, answer.version, answer.uptime_ms) == (HealthCheckResponseStatus.SERVING, __version__, 2_500)
    coordinator.serving = False
    answer = await service.transaction_health_check(HealthCheckRequest())
    assert answer.status is HealthCheckResponseStatus.NOT_SERVING
    coordinator.serving, service.participants = True, DurableParticipants(HERE)  # whose log is not read
    answer = await service.transaction_health_check(HealthCheckRequest())
    assert answer.status is HealthCheckResponseStatus.NOT_SERVING


async def test_the_status_of_a_transaction():
    """By the coordinator of the node for its own, by a participant for another's, and what is not found is not."""
    ours = TransactionId.generate(HERE, now_ms=7)
    one = Recorder()
    service = serving((A, one), coordinator=Coordinator())

    async def ask(identity):
        asked = TransactionStatusRequest(transaction_id=TransactionIdConverter.to_proto(identity))
        return await service.get_transaction_status(asked)

    answer = await ask(ours)
    assert answer.found
    assert int(answer.state.state_type) == StateKind.COMMITTING
    assert answer.participants == ["Account/a", "Account/b"]
    assert (answer.created_at, answer.updated_at) == (7, 9)
    assert not (await ask(TransactionId.generate(HERE, now_ms=8))).found
    assert not (await ask(ID)).found
    await one.commit(ID)
    answer = await ask(ID)
    assert (answer.found, int(answer.state.state_type)) == (True, StateKind.PREPARED)
    service.coordinator.fails = TransactionInDoubt("the log failed")
    with pytest.raises(GRPCError) as raised:
        await ask(ours)
    assert raised.value.status is Status.UNAVAILABLE
    with pytest.raises(GRPCError) as raised:
        await service.get_transaction_status(TransactionStatusRequest())
    assert raised.value.status is Status.INVALID_ARGUMENT


async def test_duplicates_and_impossible_orders_of_durable_participants():
    """Any message twice does what it does once; what cannot be is refused with the reason."""
    async with DurableParticipants(HERE) as participants:
        participants.register("Account", BankAccount())
        service = TransactionService(HERE, participants)

        async def say(message):
            return await service.send_transaction_message(request(message))

        prepare = Prepare(ID, (operation("1", amount=40, kind="debit"),))
        for _ in range(2):
            assert reply_of(await say(prepare)).vote.kind is VoteKind.YES
        for _ in range(2):
            assert reply_of(await say(Commit(ID))) == Acknowledge(ID, A)
        assert reply_of(await say(prepare)).vote.kind is VoteKind.YES
        assert participants.state(A) == {"balance": 60}
        refused = await say(Abort(ID))
        assert not refused.success
        assert "cannot abort" in refused.error_message
        never = TransactionId.generate(THERE)
        refused = await say(Commit(never))
        assert not refused.success
        assert (
            reply_of(refused).error
            == refused.error_message
            == f"Account/a cannot commit {never}: to it that is unknown"
        )
        for _ in range(2):
            assert reply_of(await say(Abort(never, "x"))) == Acknowledge(never, A)
        assert participants.state(A) == {"balance": 60}
        assert participants.find(A).state == {"balance": 60}
        assert [str(participant.reference) for participant in participants.knowing(ID)] == ["Account/a"]
        assert participants.serving
    assert not participants.serving
