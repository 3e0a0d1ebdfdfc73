"""Between the core's messages and ``orbit.consensus``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orbit_net.errors import ConfigurationError, DecodeError
from orbit_net.model import NodeId
from orbit_net.proto.orbit.consensus import (
    AppendEntriesRequestProto,
    AppendEntriesResponseProto,
    LogEntryProto,
    PeerMessageProto,
    TimeoutNowProto,
    VoteRequestProto,
    VoteResponseProto,
)
from orbit_net.raft.encoding import decode_entries, decode_membership, encode_entries, encode_membership
from orbit_net.raft.messages import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    Entry,
    InstallSnapshot,
    Message,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "append_from_proto",
    "append_response_from_proto",
    "append_response_to_proto",
    "append_to_proto",
    "message_from_proto",
    "message_to_proto",
    "vote_from_proto",
    "vote_response_from_proto",
    "vote_response_to_proto",
    "vote_to_proto",
]

_NO_OP: Final = '"HeartBeat"'
_ANY_TERM: Final = 2**63


def node_name(text: str) -> str:
    """Return the core's name of a node, whichever of its forms a peer writes; raises :class:`DecodeError`."""
    try:
        return str(NodeId.parse(text))
    except ConfigurationError as error:
        raise DecodeError(f"{text!r} is not a node: {error}") from error


def vote_to_proto(request: VoteRequest) -> VoteRequestProto:
    """Return the message for a vote request."""
    return VoteRequestProto(
        term=request.term,
        candidate_id=request.sender,
        last_log_index=request.last_log_index,
        last_log_term=request.last_log_term,
        pre_vote=request.pre_vote,
        transfer=request.transfer,
        context=request.context,
    )


def vote_from_proto(message: VoteRequestProto, target: str) -> VoteRequest:
    """Return the vote request that came to ``target``."""
    return VoteRequest(
        message.term,
        node_name(message.candidate_id),
        target,
        message.last_log_index,
        message.last_log_term,
        message.pre_vote,
        message.transfer,
        message.context,
    )


def vote_response_to_proto(response: VoteResponse) -> VoteResponseProto:
    """Return the message for the answer to a vote request."""
    return VoteResponseProto(
        term=response.term,
        vote_granted=response.granted,
        voter_id=response.sender,
        pre_vote=response.pre_vote,
        context=response.context,
    )


def vote_response_from_proto(message: VoteResponseProto, target: str) -> VoteResponse:
    """Return the answer that came to ``target``."""
    sender = node_name(message.voter_id)
    return VoteResponse(message.term, sender, target, message.vote_granted, message.pre_vote, message.context)


def append_to_proto(request: AppendEntriesRequest, *, packed: bool = False) -> AppendEntriesRequestProto:
    """Return the message for an append; ``packed`` only for peers of this kind."""
    return AppendEntriesRequestProto(
        term=request.term,
        leader_id=request.sender,
        prev_log_index=request.prev_log_index,
        prev_log_term=request.prev_log_term,
        entries=[] if packed else [_entry_to_proto(entry) for entry in request.entries],
        leader_commit=request.leader_commit,
        context=request.context,
        packed_entries=encode_entries(request.entries) if packed else b"",
    )


def append_from_proto(message: AppendEntriesRequestProto, target: str) -> AppendEntriesRequest:
    """Return the append that came to ``target``; raises :class:`DecodeError` for entries that do not follow."""
    entries: Sequence[Entry] = decode_entries(message.packed_entries)
    if message.entries:
        entries = [_entry_from_proto(entry) for entry in message.entries]
    for place, entry in enumerate(entries, message.prev_log_index + 1):
        if entry.index != place:
            raise DecodeError(f"entry {entry.index} stands where {place} should be")
    return AppendEntriesRequest(
        message.term,
        node_name(message.leader_id),
        target,
        message.prev_log_index,
        message.prev_log_term,
        tuple(entries),
        message.leader_commit,
        message.context,
    )


def append_response_to_proto(response: AppendEntriesResponse) -> AppendEntriesResponseProto:
    """Return the message for the answer to an append."""
    return AppendEntriesResponseProto(
        term=response.term,
        success=response.success,
        follower_id=response.sender,
        last_log_index=response.last_log_index,
        match_index=response.match,
        match_term=response.match_term,
        rejected_index=response.rejected,
        context=response.context,
        hinted=True,
    )


def append_response_from_proto(
    message: AppendEntriesResponseProto, target: str, request: AppendEntriesRequest | None = None
) -> AppendEntriesResponse:
    """Return the answer that came to ``target``.

    A peer without our fields only says yes or no; what that means is known from the ``request`` that it answers.
    """
    match, term = message.match_index, message.match_term
    rejected, context = message.rejected_index, message.context
    if not message.hinted:
        if request is None:
            raise DecodeError("an answer without hints can only be read beside its request")
        context, rejected, term = request.context, request.prev_log_index, _ANY_TERM
        match = rejected + len(request.entries) if message.success else min(rejected, message.last_log_index + 1) - 1
    return AppendEntriesResponse(
        message.term,
        node_name(message.follower_id),
        target,
        message.success,
        max(match, 0),
        term,
        rejected,
        message.last_log_index,
        context,
    )


def message_to_proto(message: Message) -> PeerMessageProto:
    """Return what goes over ``Exchange``."""
    match message:
        case VoteRequest():
            return PeerMessageProto(vote_request=vote_to_proto(message))
        case VoteResponse():
            return PeerMessageProto(vote_response=vote_response_to_proto(message))
        case AppendEntriesRequest():
            return PeerMessageProto(append_request=append_to_proto(message, packed=True))
        case AppendEntriesResponse():
            return PeerMessageProto(append_response=append_response_to_proto(message))
        case TimeoutNow():
            return PeerMessageProto(timeout_now=TimeoutNowProto(term=message.term, leader_id=message.sender))
        case InstallSnapshot():
            raise DecodeError("a snapshot has an rpc of its own")


def message_from_proto(message: PeerMessageProto, target: str) -> Message:
    """Return the message that came to ``target``; raises :class:`DecodeError` for one that says nothing."""
    if message.append_request is not None:
        return append_from_proto(message.append_request, target)
    if message.append_response is not None:
        return append_response_from_proto(message.append_response, target)
    if message.vote_request is not None:
        return vote_from_proto(message.vote_request, target)
    if message.vote_response is not None:
        return vote_response_from_proto(message.vote_response, target)
    if message.timeout_now is not None:
        return TimeoutNow(message.timeout_now.term, node_name(message.timeout_now.leader_id), target)
    raise DecodeError("the message is of no known kind")


def _entry_to_proto(entry: Entry) -> LogEntryProto:
    no_op = not entry.command
    return LogEntryProto(
        term=entry.term,
        index=entry.index,
        command=_NO_OP if no_op else entry.command.decode("utf-8", "surrogateescape"),
        timestamp=entry.timestamp,
        membership=encode_membership(entry.membership),
        no_op=no_op,
    )


def _entry_from_proto(message: LogEntryProto) -> Entry:
    command = b"" if message.no_op else message.command.encode()
    return Entry(message.term, message.index, command, decode_membership(message.membership), message.timestamp)
