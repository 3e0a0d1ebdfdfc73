"""RaftConsensus over real sockets: proposals, reads, members, leaders, failures; and peers that only know Orbit-RS."""

import errno
import json
from contextlib import AsyncExitStack
from dataclasses import replace

import anyio
import pytest

from orbit_net.client import Channel
from orbit_net.errors import (
    ConfigurationError,
    EncodeError,
    NodeNotFound,
    NotLeader,
    OutcomeUnknown,
    ProposalDropped,
    RaftError,
    RpcError,
    StorageError,
)
from orbit_net.model import NodeId
from orbit_net.proto.orbit.consensus import (
    AppendEntriesRequestProto,
    AppendEntriesResponseProto,
    LogEntryProto,
    PeerMessageProto,
    VoteRequestProto,
    VoteResponseProto,
)
from orbit_net.proto.orbit.consensus.services import RaftConsensusBase, RaftConsensusStub
from orbit_net.raft import (
    AppendEntriesRequest,
    DurableStorage,
    GrpcRaftTransport,
    HeartBeat,
    KeyValueStore,
    MemoryStorage,
    NodeJoin,
    NodeLeave,
    RaftConfig,
    RaftConsensus,
    RaftEventHandler,
    ReplicatedKeyValue,
    UserCommand,
    VoteRequest,
    start_raft_server,
)
from orbit_net.server import Server
from orbit_net.status import Status
from raftmembers import CONFIG, running, stand
from settle import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


async def test_what_is_proposed_is_applied_on_every_node():
    """propose returns the index and what the state machine returned; all nodes come to the same state."""
    async with running() as cluster:
        leader = await cluster.leader()
        assert await leader.kv.put("x", 1) > 1
        assert await leader.kv.compare_and_set("x", 1, 2)
        assert not await leader.kv.compare_and_set("x", 1, 3)
        assert await leader.kv.get("x") == 2
        assert await leader.kv.delete("x") == 2
        assert (await leader.consensus.propose(HeartBeat())).result is None
        await leader.kv.put("y", [1])
        await until(lambda: all(m.store.values == {"y": [1]} for m in cluster))
        assert leader.consensus.get_cluster_nodes() == [NodeId("a"), NodeId("b"), NodeId("c")]
        assert leader.consensus.get_leader() == leader.consensus.node_id
        assert leader.consensus.get_current_term() == leader.consensus.status().term
        assert "leader of term" in repr(leader.consensus)


async def test_a_follower_refuses_with_the_leaders_name():
    """NotLeader names the leader, for proposals, reads, transfers and members."""
    async with running() as cluster:
        leader = await cluster.leader()
        follower = next(m for m in cluster if m is not leader)
        assert await follower.consensus.wait_leader() == leader.consensus.node_id
        for attempt in (
            follower.kv.put("x", 1),
            follower.kv.get("x"),
            follower.consensus.transfer_leadership(NodeId("a")),
            follower.consensus.remove_node(NodeId("a")),
        ):
            with pytest.raises(NotLeader) as caught:
                await attempt
            assert caught.value.leader == str(leader.consensus.node_id)


async def test_many_proposals_share_the_disk(tmp_path):
    """With durable storage, proposals that come together share a sync, and are there after a restart."""
    storage = DurableStorage(tmp_path)
    async with running("a", storage=storage) as cluster:
        leader = await cluster.leader()
        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(leader.kv.put, str(number), number)
        assert storage.syncs < 100
    async with running("a", storage=DurableStorage(tmp_path)) as cluster:
        leader = await cluster.leader()
        assert await leader.kv.get("199") == 199
        assert len(leader.store.values) == 200


async def test_the_log_is_compacted_and_a_new_node_gets_a_snapshot():
    """After snapshot_threshold entries; a node that comes later is sent the snapshot, in pieces."""
    config = replace(CONFIG, snapshot_threshold=20)
    async with running("ab", config=config) as cluster:
        leader = await cluster.leader()
        for number in range(50):
            await leader.kv.put(str(number), "x" * 20_000)
        await until(lambda: leader.consensus._driver.core.log.base > 20)
        joiner = await cluster.start("c", config=config)
        index = await leader.consensus.add_node(NodeId("c"), joiner.address)
        assert joiner.consensus._driver.core.log.snapshot.index >= 20
        await until(lambda: joiner.store.values == leader.store.values, seconds=30)
        assert index == leader.consensus.status().last_index
        assert leader.consensus.get_cluster_nodes() == [NodeId("a"), NodeId("b"), NodeId("c")]


async def test_members_come_and_go():
    """NodeJoin and NodeLeave change the members; a leader that removes itself is followed by another."""
    async with running("abc") as cluster:
        leader = await cluster.leader()
        joiner = await cluster.start("d")
        assert joiner.consensus.get_leader() is None
        await leader.consensus.add_node(NodeId("d"), joiner.address, learner=True)
        assert "default:d" in leader.consensus.status().membership.learners
        await leader.consensus.propose(NodeJoin(NodeId("d"), joiner.address))
        with pytest.raises(ProposalDropped, match="vote already"):
            await leader.consensus.add_node(NodeId("d"), joiner.address)
        with pytest.raises(ProposalDropped, match="not a member"):
            await leader.consensus.remove_node(NodeId("z"))
        await leader.consensus.propose(NodeLeave(leader.consensus.node_id))
        await until(lambda: not leader.consensus.is_leader())
        other = await cluster.leader()
        assert len(other.consensus.get_cluster_nodes()) == 3
        await other.kv.put("x", 1)


async def test_leadership_is_handed_over():
    """transfer_leadership returns when this node follows."""
    async with running() as cluster:
        leader = await cluster.leader()
        await leader.kv.put("x", 1)
        target = next(m for m in cluster if m is not leader)
        while leader.consensus.is_leader():
            try:
                await leader.consensus.transfer_leadership(target.consensus.node_id)
            except ProposalDropped:
                continue  # a machine that is overloaded may be too late once
        await cluster.leader()


class Listener(RaftEventHandler):
    """Keeps what it is told; raises each time, which must not matter."""

    def __init__(self):
        self.told = []

    async def on_leader_elected(self, leader, term):
        self.told.append(("elected", leader.key, term))
        raise ValueError("mine")

    async def on_leader_lost(self, leader, term):
        self.told.append(("lost", leader.key, term))

    async def on_term_changed(self, term):
        self.told.append(("term", term))


async def test_events_are_told_in_order():
    """Terms, then leaders; an exception of a handler goes no further."""
    listener = Listener()
    async with running("a", handlers=[listener, RaftEventHandler()]) as cluster:
        leader = await cluster.leader()
        await until(lambda: len(listener.told) == 2)
        assert listener.told == [("term", 1), ("elected", "a", 1)]
        leader.consensus._driver.core._become_follower(2, None)
        leader.consensus._on_turn()
        await until(lambda: len(listener.told) >= 4)
        assert listener.told[2:4] == [("lost", "a", 1), ("term", 2)]


class Failing(MemoryStorage):
    """A disk that gets full."""

    blocking = True
    full = False

    def persist(self, hard_state, snapshot, entries):
        if self.full:
            raise StorageError("raft: No space left on device") from OSError(errno.ENOSPC, "")
        super().persist(hard_state, snapshot, entries)


async def test_a_node_whose_disk_fails_stops_and_says_so():
    """What waits and what comes later fails; nothing is acknowledged."""
    storage = Failing()
    async with running("a", storage=storage) as cluster:
        node = await cluster.leader()
        await node.kv.put("x", 1)
        storage.full = True
        with pytest.raises(StorageError, match="No space left"):
            await node.kv.put("x", 2)
        with pytest.raises(StorageError, match="No space left"):
            await node.consensus.wait_stopped()
        with pytest.raises(RaftError, match="has stopped"):
            await node.kv.put("x", 3)
        assert (node.consensus.is_leader(), node.consensus.get_leader()) == (False, None)
        async with Channel(node.address) as channel:
            with pytest.raises(RpcError) as caught:
                await RaftConsensusStub(channel).request_vote(VoteRequestProto(term=9, candidate_id="b"))
            assert caught.value.status is Status.UNAVAILABLE


async def test_what_a_state_machine_raises_is_the_proposers():
    """And the node goes on."""

    class Picky(KeyValueStore):
        def apply(self, index, command):
            if command == UserCommand("bad"):
                raise TimeoutError("mine")
            return super().apply(index, command)

    async with RaftConsensus(NodeId("a"), [NodeId("a")], CONFIG, state_machine=Picky()) as consensus:
        await consensus.start(GrpcRaftTransport(NodeId("a"), {}))
        stand(consensus)
        await consensus.wait_leader()
        with pytest.raises(TimeoutError, match="mine"):
            await consensus.propose(UserCommand("bad"))
        with pytest.raises(EncodeError, match="JSON"):
            await consensus.propose(UserCommand({1, 2}))
        assert (await consensus.propose(UserCommand("good"))).result is None


async def test_a_proposal_without_a_majority_has_no_known_outcome():
    """It ends by its time."""
    async with running("ab") as cluster:
        leader = await cluster.leader()
        await leader.kv.put("x", 1)
        other = next(m for m in cluster if m is not leader)
        other.consensus._driver._scope.cancel()
        with pytest.raises(OutcomeUnknown):
            await leader.consensus.propose(UserCommand("x"), timeout=0.05)


async def test_wrong_uses_are_told():
    """Before anything begins."""
    node = NodeId("a")
    with pytest.raises(ConfigurationError, match="not among"):
        RaftConsensus(node, [NodeId("b")])
    consensus = RaftConsensus(node, [node])
    with pytest.raises(ConfigurationError, match="start needs"):
        await consensus.start(GrpcRaftTransport(node, {}))
    with pytest.raises(ConfigurationError, match="was not started"):
        await consensus.propose(HeartBeat())
    assert (consensus.is_leader(), consensus.get_leader()) == (False, None)
    async with consensus:
        await consensus.start(GrpcRaftTransport(node, {}))
        with pytest.raises(ConfigurationError, match="started once"):
            await consensus.start(GrpcRaftTransport(node, {}))
    for settings in (
        {"tick": 0.2},
        {"snapshot_threshold": 0},
        {"proposal_timeout": 0},
        {"election_timeout": (0.3, 0.2)},
    ):
        with pytest.raises(ConfigurationError):
            RaftConfig(**settings)
    with pytest.raises(ConfigurationError, match="request_timeout"):
        GrpcRaftTransport(node, {}, 1.0, 0)


# --- Orbit-RS ------------------------------------------------------------------------------------


class OldPeer(RaftConsensusBase):
    """A node that only has the two calls, and fields below 100; it keeps a log as the paper says."""

    def __init__(self, name):
        self.name, self.term, self.vote, self.log, self.votes = name, 0, None, [], 0

    async def request_vote(self, request):
        assert not request.pre_vote
        if request.term > self.term:
            self.term, self.vote = request.term, None
        granted = request.term == self.term and self.vote in (None, request.candidate_id)
        if granted:
            self.vote = request.candidate_id
            self.votes += 1
        return VoteResponseProto(term=self.term, vote_granted=granted, voter_id=self.name)

    async def append_entries(self, request):
        assert not request.packed_entries
        self.term = max(self.term, request.term)
        fits = request.prev_log_index <= len(self.log)
        if fits:
            self.log[request.prev_log_index :] = request.entries
        return AppendEntriesResponseProto(
            term=self.term, success=fits, follower_id=self.name, last_log_index=len(self.log)
        )


async def test_a_cluster_works_with_peers_that_only_have_the_two_calls():
    """Two of three are old: they elect us without pre-vote, and hold what is committed."""
    async with AsyncExitStack() as stack:
        addresses, peers = {}, []
        for name in "bc":
            peer = OldPeer(f"(default:{name})")
            server = await stack.enter_async_context(Server([peer]))
            [addresses[NodeId(name)]] = await server.listen("127.0.0.1:0")
            peers.append(peer)
        node, store = NodeId("a"), KeyValueStore()
        consensus = RaftConsensus(node, [node, *addresses], CONFIG, state_machine=store)
        await stack.enter_async_context(consensus)
        await consensus.start(GrpcRaftTransport(node, addresses))
        stand(consensus)
        await until(consensus.is_leader, seconds=40)
        kv = ReplicatedKeyValue(consensus, store)
        await kv.put("x", 1)
        assert await kv.get("x") == 1
        assert any(
            [json.loads(e.command) for e in p.log] == ["HeartBeat", {"Put": {"key": "x", "value": 1}}] for p in peers
        )


async def test_an_old_peer_can_lead_us():
    """Its calls have no fields of ours, and are answered; entries are stored, timestamps included."""
    async with running("a") as cluster:
        node = await cluster.start("z")
        async with Channel(node.address) as channel:
            stub = RaftConsensusStub(channel)
            vote = await stub.request_vote(VoteRequestProto(term=3, candidate_id="(default:old)"), timeout=10)
            assert (vote.term, vote.vote_granted, vote.voter_id) == (3, True, "default:z")
            entry = LogEntryProto(term=3, index=1, command='{"Put":{"key":"k","value":5}}', timestamp=77)
            request = AppendEntriesRequestProto(term=3, leader_id="old", entries=[entry], leader_commit=1)
            answer = await stub.append_entries(request, timeout=10)
            assert (answer.term, answer.success, answer.last_log_index) == (3, True, 1)
            assert node.store.values == {"k": 5}
            assert node.consensus.get_leader() == NodeId("old")
            gap = AppendEntriesRequestProto(term=3, leader_id="old", prev_log_index=9, prev_log_term=3)
            assert not (await stub.append_entries(gap, timeout=10)).success
            for wrong in (
                AppendEntriesRequestProto(term=3, leader_id=""),
                AppendEntriesRequestProto(term=3, leader_id="old", entries=[LogEntryProto(term=3, index=7)]),
            ):
                with pytest.raises(RpcError) as caught:
                    await stub.append_entries(wrong, timeout=10)
                assert caught.value.status is Status.INVALID_ARGUMENT


async def test_the_calls_of_orbit_rs_can_be_made():
    """send_vote_request, send_append_entries and broadcast_heartbeat ask and return the answers."""
    async with running("abc") as cluster:
        leader = await cluster.leader()
        other = next(m for m in cluster if m is not leader)
        target, transport = other.consensus.node_id, leader.transport
        name, term = str(leader.consensus.node_id), leader.consensus.get_current_term()
        vote = await transport.send_vote_request(target, VoteRequest(1, name, str(target), 0, 0))
        assert vote.sender == str(target)
        heartbeat = AppendEntriesRequest(term, name, str(target), 0, 0)
        assert (await transport.send_append_entries(target, heartbeat)).term >= term
        transport.update_node_address(NodeId("gone"), "127.0.0.1:1")
        nodes = [m.consensus.node_id for m in cluster if m is not leader]
        assert len(await transport.broadcast_heartbeat([*nodes, NodeId("gone"), NodeId("nobody")], heartbeat)) == 2
        with pytest.raises(NodeNotFound):
            await transport.send_vote_request(NodeId("nobody"), VoteRequest(1, name, "", 0, 0))
        assert "default:gone" in repr(transport)


async def test_a_node_that_moves_is_found_again():
    """update_node_address replaces the connection."""
    async with running("ab") as cluster:
        leader = await cluster.leader()
        await leader.kv.put("x", 1)
        other = next(m for m in cluster if m is not leader)
        [address] = await cluster.tasks.start(start_raft_server, other.consensus, "127.0.0.1:0")
        link = leader.transport._links[str(other.consensus.node_id)]
        before = link.connections
        leader.transport.update_node_address(other.consensus.node_id, address)
        await until(lambda: link.connections > before, seconds=30)
        assert address in repr(link)
        leader = await cluster.leader()
        await leader.kv.put("x", 2)


async def test_malformed_messages_end_their_call():
    """INVALID_ARGUMENT for what cannot be read; the node goes on."""
    async with running("a") as cluster:
        node = await cluster.leader()
        async with Channel(node.address) as channel:
            stub = RaftConsensusStub(channel)
            for wrong in (PeerMessageProto(), PeerMessageProto(append_request=AppendEntriesRequestProto(term=1))):
                with pytest.raises(RpcError) as caught:
                    async with stub.exchange(timeout=10) as stream:
                        await stream.send_message(wrong)
                        await stream.recv_message()
                assert caught.value.status is Status.INVALID_ARGUMENT
            with pytest.raises(RpcError) as caught:
                await stub.install_snapshot([], timeout=10)
            assert caught.value.status is Status.INVALID_ARGUMENT
        await node.kv.put("x", 1)
