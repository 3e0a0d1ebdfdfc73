"""The domain's values: what they refuse, and what a lease says of itself."""

from datetime import UTC, datetime, timedelta

import pytest

from orbit_net.errors import ConfigurationError
from orbit_net.model import (
    AddressableLease,
    AddressableReference,
    Int32Key,
    Int64Key,
    Invocation,
    Message,
    NodeCapabilities,
    NodeId,
    NodeInfo,
    NodeLease,
    NoKey,
    RoutedUnicast,
    StringKey,
    key_from_text,
    key_of,
)

NODE = NodeId("n1")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REFERENCE = AddressableReference("Account", StringKey("1"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Int32Key(1 << 31),
        lambda: Int32Key(True),
        lambda: Int64Key(-(1 << 63) - 1),
        lambda: StringKey(5),
        lambda: key_of(1.5),
        lambda: key_of(True),
        lambda: AddressableReference("", NoKey()),
        lambda: AddressableReference("A", "bare"),
        lambda: Invocation(REFERENCE, ""),
        lambda: Message(1 << 63, Invocation(REFERENCE, "m")),
        lambda: Message(1, Invocation(REFERENCE, "m"), attempts=-1),
        lambda: RoutedUnicast(()),
        lambda: NodeCapabilities(("A", "")),
        lambda: NodeCapabilities(max_addressables=-1),
        lambda: NodeInfo(NODE, "", 1),
        lambda: NodeInfo(NODE, "h", 0),
        lambda: NodeInfo(NODE, "h", 1, lease=NodeLease(NodeId("n2"), NOW, NOW)),
        lambda: NodeLease(NODE, NOW.replace(tzinfo=None), NOW),
        lambda: NodeLease(NODE, NOW, NOW + timedelta(seconds=1)),
        lambda: AddressableLease(REFERENCE, NODE, NOW, NOW + timedelta(seconds=1)),
    ],
)
def test_a_bad_value_is_refused(make):
    """Ranges and emptiness are checked when the value is made."""
    with pytest.raises(ConfigurationError):
        make()


def test_a_lease_knows_its_times():
    """It should be renewed from renew_at on and is void from expires_at on."""
    for lease in (
        NodeLease(NODE, NOW + timedelta(seconds=10), NOW, "secret"),
        AddressableLease(REFERENCE, NODE, NOW + timedelta(seconds=10), NOW),
    ):
        assert not lease.should_renew(NOW - timedelta(seconds=1))
        assert lease.should_renew(NOW)
        assert not lease.is_expired(NOW + timedelta(seconds=9))
        assert lease.is_expired(NOW + timedelta(seconds=10))
        assert "secret" not in repr(lease)


def test_keys_of_plain_values():
    """Text, numbers and None have their kinds; kinds differ even where their text is the same."""
    assert (key_of("a"), key_of(5), key_of(None)) == (StringKey("a"), Int64Key(5), NoKey())
    assert key_of(Int32Key(5)) == Int32Key(5) != Int64Key(5)
    assert str(Int64Key(42)) == str(StringKey("42")) == "42"


def test_a_key_of_a_transaction_is_text_but_for_no_key():
    """The kind is lost on that wire: a number becomes a StringKey with the same text."""
    assert key_from_text("no-key") == NoKey() == key_from_text(str(NoKey()))
    assert key_from_text(str(Int64Key(42))) == StringKey("42")


def test_a_node_has_a_target():
    """A channel takes it as it is, IPv6 included."""
    assert NodeInfo(NODE, "node1", 50_051).target == "node1:50051"
    assert NodeInfo(NODE, "::1", 1).target == "[::1]:1"
    assert NodeInfo(NODE, "http://node1", 1).target == "http://node1:1"


def test_capabilities_are_a_value():
    """Types are kept once each, tags cannot be changed from outside, equal ones hash alike."""
    tags = {"zone": "a"}
    first, second = NodeCapabilities(("A", "B", "A"), tags=tags), NodeCapabilities(("A", "B"), tags={"zone": "a"})
    tags["zone"] = "b"
    assert first == second
    assert hash(first) == hash(second)
