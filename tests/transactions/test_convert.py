"""Messages and their converters: inverse for every value, strict about every broken message."""

import json
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_net.codec import Codec
from orbit_net.errors import ConfigurationError, DecodeError
from orbit_net.model import AddressableReference, Int32Key, Int64Key, NodeId, NoKey, StringKey
from orbit_net.proto.orbit import transactions as wire
from orbit_net.transactions import (
    Abort,
    Acknowledge,
    Commit,
    Prepare,
    QueryStatus,
    StateKind,
    StatusResponse,
    TargetConverter,
    TransactionId,
    TransactionIdConverter,
    TransactionMessageConverter,
    TransactionOperation,
    TransactionOperationConverter,
    TransactionState,
    TransactionStateConverter,
    TransactionVote,
    TransactionVoteConverter,
    Vote,
    VoteKind,
    as_text,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
words = text.filter(bool)
plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="():"), max_size=8)
keys = st.one_of(st.builds(StringKey, text.filter(lambda key: key != "no-key")), st.builds(NoKey))
actors = st.builds(AddressableReference, words, keys)
nodes = st.builds(NodeId, plain.filter(bool), plain)
ids = st.builds(TransactionId, st.uuids().map(str), nodes, st.integers(0, (1 << 63) - 1))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
operations = st.builds(TransactionOperation, words, actors, words, json_values, json_values)
votes = st.builds(TransactionVote, st.sampled_from(VoteKind), st.none() | text)
states = st.builds(TransactionState, st.sampled_from(StateKind), st.none() | text)
messages = st.one_of(
    st.builds(
        Prepare,
        ids,
        st.lists(operations, max_size=3).map(tuple),
        st.integers(0, 2**40).map(lambda ms: ms / 1_000),
    ),
    st.builds(Vote, ids, actors, votes),
    st.builds(Commit, ids),
    st.builds(Abort, ids, text),
    st.builds(Acknowledge, ids, actors, st.booleans(), st.none() | text),
    st.builds(QueryStatus, ids),
    st.builds(StatusResponse, ids, states),
)
CASES = {
    TargetConverter: actors,
    TransactionIdConverter: ids,
    TransactionOperationConverter: operations,
    TransactionVoteConverter: votes,
    TransactionStateConverter: states,
    TransactionMessageConverter: messages,
}
UUID = "123e4567-e89b-42d3-a456-426614174000"
ID = TransactionId(UUID, NodeId("n1"), 5)
ACTOR = AddressableReference("Account", StringKey("1"))


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [
        (0.0, 0),
        (0.0001, 1),
        (0.1, 100),
        (0.3, 300),
        (1.001, 1_001),
        (1.0011, 1_002),
        (1_099_511_627.775, 1_099_511_627_775),
    ],
)
def test_a_timeout_is_rounded_up_but_not_by_the_error_of_a_float(seconds, milliseconds):
    """0.1 is a little more than a tenth, and still 100 ms; what is between two milliseconds gets the longer time."""
    assert TransactionMessageConverter.to_proto(Prepare(ID, (), seconds)).prepare.timeout_ms == milliseconds


@pytest.mark.parametrize("converter", CASES, ids=lambda converter: converter.__name__)
def test_conversion_is_inverse(converter):
    """Any value comes back from its message, and from the bytes of its message."""
    codec = Codec()

    @given(CASES[converter])
    def check(value):
        message = converter.to_proto(value)
        assert converter.from_proto(message) == value
        assert converter.from_proto(codec.decode(codec.encode(message, type(message)), type(message))) == value

    check()


@given(st.sampled_from([Int32Key(42), Int64Key(42), StringKey("42")]))
def test_the_kind_of_a_key_is_lost(key):
    """A number is the same as its text; that form is what comes back."""
    target = TargetConverter.to_proto(AddressableReference("Account", key))
    assert (target.actor_type, target.actor_key) == ("Account", "42")
    assert TargetConverter.from_proto(target) == as_text(AddressableReference("Account", key))
    assert TargetConverter.from_proto(target).key == StringKey("42")


def test_no_key():
    """``no-key`` is the key of a type with a single actor, whoever wrote it."""
    for key in (NoKey(), StringKey("no-key")):
        target = TargetConverter.to_proto(AddressableReference("Bank", key))
        assert target.actor_key == "no-key"
        assert TargetConverter.from_proto(target).key == NoKey()
        assert as_text(AddressableReference("Bank", key)).key == NoKey()


@pytest.mark.parametrize("form", ["default:n1", "(default:n1)", "n1"])
def test_every_form_of_a_node_is_read(form):
    """The coordinator may be written as Orbit-RS prints it."""
    message = wire.TransactionIdProto(id=UUID.upper(), coordinator_node=form, created_at=5)
    assert TransactionIdConverter.from_proto(message) == ID


def full():
    """Return a message of each kind, complete."""
    identity = TransactionIdConverter.to_proto(ID)
    operation = wire.TransactionOperationProto(
        operation_id="1", target_actor_type="A", target_actor_key="1", operation_type="debit", operation_data="{}"
    )
    return {
        "prepare": wire.PrepareMessage(transaction_id=identity, operations=[operation], timeout_ms=1),
        "vote": wire.VoteMessage(
            transaction_id=identity, participant_type="A", participant_key="1", vote=wire.TransactionVoteProto()
        ),
        "commit": wire.CommitMessage(transaction_id=identity),
        "abort": wire.AbortMessage(transaction_id=identity),
        "acknowledge": wire.AckMessage(transaction_id=identity, participant_type="A", participant_key="1"),
        "query_status": wire.QueryStatusMessage(transaction_id=identity),
        "status_response": wire.StatusResponseMessage(transaction_id=identity, state=wire.TransactionStateProto()),
    }


BROKEN = [
    (kind, change, where)
    for kind in ("prepare", "vote", "commit", "abort", "acknowledge", "query_status", "status_response")
    for change, where in [
        (lambda part: setattr(part, "transaction_id", None), "transaction_id: it is missing"),
        (lambda part: setattr(part.transaction_id, "id", "7"), "transaction_id.id: "),
        (lambda part: setattr(part.transaction_id, "coordinator_node", ""), "transaction_id.coordinator_node: "),
        (lambda part: setattr(part.transaction_id, "created_at", -1), "transaction_id.created_at: "),
    ]
] + [
    ("prepare", lambda part: setattr(part, "timeout_ms", -1), "timeout_ms: "),
    ("prepare", lambda part: setattr(part.operations[0], "operation_data", ""), r"operations\[0\].operation_data: it"),
    ("prepare", lambda part: setattr(part.operations[0], "operation_data", "[NaN]"), r"operations\[0\].operation_data"),
    (
        "prepare",
        lambda part: setattr(part.operations[0], "operation_data", "[" * 99_999),
        r"operations\[0\].operation_data",
    ),
    (
        "prepare",
        lambda part: setattr(part.operations[0], "compensation_data", "{"),
        r"operations\[0\].compensation_data: it",
    ),
    ("prepare", lambda part: setattr(part.operations[0], "operation_id", ""), r"operations\[0\].operation_id: "),
    ("prepare", lambda part: setattr(part.operations[0], "operation_type", ""), r"operations\[0\].operation_type: "),
    (
        "prepare",
        lambda part: setattr(part.operations[0], "target_actor_type", ""),
        r"operations\[0\].target_actor_type: ",
    ),
    ("vote", lambda part: setattr(part, "vote", None), "vote: it is missing"),
    ("vote", lambda part: setattr(part.vote, "vote_type", 7), "vote.vote_type: there is no value with the number 7"),
    ("vote", lambda part: setattr(part, "participant_type", ""), "participant_type: "),
    ("acknowledge", lambda part: setattr(part, "participant_type", ""), "participant_type: "),
    ("status_response", lambda part: setattr(part, "state", None), "state: it is missing"),
    ("status_response", lambda part: setattr(part.state, "state_type", 9), "state.state_type: there is no"),
]


@pytest.mark.parametrize(("kind", "change", "where"), BROKEN, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_wrong_is_named(kind, change, where):
    """A broken message is refused with the path of the field."""
    part = full()[kind]
    TransactionMessageConverter.from_proto(wire.TransactionMessageProto(**{kind: part}))
    change(part)
    with pytest.raises(DecodeError, match=rf"^TransactionMessageProto\.{kind}\.{where}"):
        TransactionMessageConverter.from_proto(wire.TransactionMessageProto(**{kind: part}))


def test_a_message_says_something():
    """One without a kind is refused."""
    with pytest.raises(DecodeError, match="none of its kinds is set"):
        TransactionMessageConverter.from_proto(wire.TransactionMessageProto())


def test_operations_are_values_of_their_own():
    """What the caller does with his data afterwards changes nothing, and JSON's types are what counts."""
    data = {"amounts": (1, 2), 3: "x"}
    operation = TransactionOperation("1", ACTOR, "debit", data)
    data["amounts"] = ()
    assert operation.data == {"amounts": [1, 2], "3": "x"} == json.loads(operation.data_text)
    with pytest.raises(ConfigurationError, match=r"TransactionOperation.data is .* must be a JSON value"):
        TransactionOperation("1", ACTOR, "debit", {"when": timedelta(1)})
    with pytest.raises(ConfigurationError, match="compensation"):
        TransactionOperation("1", ACTOR, "debit", {}, float("nan"))
    with pytest.raises(ConfigurationError, match="operation_id"):
        TransactionOperation("", ACTOR, "debit")


def test_compensations():
    """What makes up for a committed operation is an operation of another transaction."""
    operation = TransactionOperation("1", ACTOR, "debit", {"amount": 5}, {"action": "credit", "amount": 5})
    assert operation.compensating("2") == TransactionOperation("2", ACTOR, "credit", {"amount": 5})
    with pytest.raises(ConfigurationError, match="no compensation"):
        operation.compensating("2").compensating("3")


def test_ids():
    """An id names its coordinator and its time; chance and clock may be given."""
    one = TransactionId.generate(NodeId("n1"), now_ms=7, random=Random(1))
    assert one == TransactionId.generate(NodeId("n1"), now_ms=7, random=Random(1))
    assert (one.coordinator, one.created_at) == (NodeId("n1"), 7)
    assert TransactionId.generate(NodeId("n1")).created_at > 1_700_000_000_000
    assert str(ID) == f"{UUID}@default:n1"
    for bad in ((UUID, "n1", 5), ("x", NodeId("n1"), 5), (UUID, NodeId("n1"), -1), (UUID, NodeId("n1"), True)):
        with pytest.raises(ConfigurationError, match="TransactionId"):
            TransactionId(*bad)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "1", True, None])
def test_timeouts_are_seconds(timeout):
    """A Prepare has a time of at least 0 seconds, as a number or a timedelta."""
    assert Prepare(ID, (), timedelta(seconds=2)).timeout == 2.0
    with pytest.raises(ConfigurationError, match=r"Prepare.timeout"):
        Prepare(ID, (), timeout)


def test_a_prepare_for_some():
    """Narrowed to some participants it has their operations only, in their order."""
    mine = [TransactionOperation(str(n), AddressableReference("A", Int64Key(1)), "x") for n in range(2)]
    other = TransactionOperation("2", AddressableReference("A", Int64Key(2)), "x")
    prepare = Prepare(ID, (mine[0], other, mine[1]), 1.0)
    assert prepare.narrowed([AddressableReference("A", StringKey("1"))]).operations == tuple(mine)
    assert prepare.narrowed([operation.target for operation in prepare.operations]) is prepare
