"""The next step of a message, decided without any I/O."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_net.messaging.routing import MAX_DELIVERIES, Deliver, Forward, Refuse, route
from orbit_net.model import InfoRequest, Message, NodeId, RoutedUnicast, Unicast

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")


def step(target, *, attempts=0, here=A):
    """Route a message with this target."""
    return route(here, Message(1, InfoRequest(), B, target, attempts))


@pytest.mark.parametrize("target", [None, Unicast(A), RoutedUnicast((A,))])
def test_a_message_for_this_node_is_delivered(target):
    """Without a target, by name, or at the end of its route."""
    assert step(target) == Deliver()


def test_a_message_for_another_node_goes_there():
    """Straight, or to the next node of its route, with what is left of the way."""
    assert step(Unicast(B)) == Forward(B, Unicast(B))
    assert step(RoutedUnicast((A, B, C))) == Forward(B, RoutedUnicast((B, C)))
    assert step(RoutedUnicast((A, B))) == Forward(B, Unicast(B))
    assert step(RoutedUnicast((B, C))) == Forward(B, RoutedUnicast((B, C)))


@pytest.mark.parametrize(
    "targets", [(A, B, A), (B, A), (B, C, B), (A, A), tuple(NodeId(str(number)) for number in range(33))]
)
def test_a_loop_is_refused(targets):
    """A route that comes back, names a node twice or is absurdly long ends here."""
    assert isinstance(step(RoutedUnicast(targets)), Refuse)


def test_deliveries_are_bounded():
    """A message that was tried so often goes nowhere any more."""
    assert isinstance(step(Unicast(B), attempts=MAX_DELIVERIES), Refuse)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40))
def test_every_route_ends(hops):
    """Followed from node to node, any route is delivered or refused after at most as many steps as it has nodes."""
    nodes = [NodeId(str(hop)) for hop in hops]
    here, target = NodeId("start"), RoutedUnicast(tuple(nodes))
    for _ in range(len(nodes) + 1):
        decision = step(target, here=here)
        if not isinstance(decision, Forward):
            break
        here, target = decision.node, decision.target
    assert isinstance(decision, Refuse) or (decision == Deliver() and here == nodes[-1])
