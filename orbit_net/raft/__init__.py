"""Raft: replicated state machines that survive the loss of a minority of their nodes."""

from orbit_net.raft.config import CoreConfig
from orbit_net.raft.core import RaftCore
from orbit_net.raft.log import RaftLog
from orbit_net.raft.membership import Membership
from orbit_net.raft.messages import Entry, HardState, Message, Ready, Role, Snapshot

__all__ = [
    "CoreConfig",
    "Entry",
    "HardState",
    "Membership",
    "Message",
    "RaftCore",
    "RaftLog",
    "Ready",
    "Role",
    "Snapshot",
]
