"""Raft: replicated state machines that survive the loss of a minority of their nodes.

:class:`RaftCore` is the algorithm, without I/O and without a clock; :class:`RaftConsensus` runs it with a
:class:`Storage` and a :class:`RaftTransport`.
"""

from orbit_net.raft.commands import (
    CoordinatorAssignment,
    ElectLeader,
    HeartBeat,
    NodeJoin,
    NodeLeave,
    RaftCommand,
    UserCommand,
    decode_command,
    encode_command,
)
from orbit_net.raft.config import CoreConfig
from orbit_net.raft.consensus import Applied, RaftConsensus
from orbit_net.raft.core import RaftCore
from orbit_net.raft.durable import DurableStorage
from orbit_net.raft.grpc_transport import GrpcRaftTransport
from orbit_net.raft.keyvalue import KeyValueStore, ReplicatedKeyValue
from orbit_net.raft.log import RaftLog
from orbit_net.raft.machine import RaftEventHandler, StateMachine
from orbit_net.raft.membership import Membership
from orbit_net.raft.messages import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    CoreStatus,
    Entry,
    HardState,
    InstallSnapshot,
    Message,
    ReadState,
    Ready,
    Role,
    Snapshot,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from orbit_net.raft.service import RaftService, start_raft_server
from orbit_net.raft.settings import RaftConfig
from orbit_net.raft.storage import MemoryStorage, Recovered, Storage
from orbit_net.raft.transport import RaftTransport, Receiver

__all__ = [
    "AppendEntriesRequest",
    "AppendEntriesResponse",
    "Applied",
    "CoordinatorAssignment",
    "CoreConfig",
    "CoreStatus",
    "DurableStorage",
    "ElectLeader",
    "Entry",
    "GrpcRaftTransport",
    "HardState",
    "HeartBeat",
    "InstallSnapshot",
    "KeyValueStore",
    "Membership",
    "MemoryStorage",
    "Message",
    "NodeJoin",
    "NodeLeave",
    "RaftCommand",
    "RaftConfig",
    "RaftConsensus",
    "RaftCore",
    "RaftEventHandler",
    "RaftLog",
    "RaftService",
    "RaftTransport",
    "ReadState",
    "Ready",
    "Receiver",
    "Recovered",
    "ReplicatedKeyValue",
    "Role",
    "Snapshot",
    "StateMachine",
    "Storage",
    "TimeoutNow",
    "UserCommand",
    "VoteRequest",
    "VoteResponse",
    "decode_command",
    "encode_command",
    "start_raft_server",
]
