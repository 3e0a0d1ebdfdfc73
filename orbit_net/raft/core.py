"""Raft as a pure state machine: messages and ticks in, ``Ready`` out. No clock, no I/O, nothing to await.

    FOLLOWER ──timeout──▶ PRE_CANDIDATE ──majority──▶ CANDIDATE ──majority──▶ LEADER
       ▲ ◀──refused, leader heard──┘ ◀──refused, leader heard──┘                 │
       └───────────────────── higher term, majority lost, removed ◀──────────────┘

The driver's loop: ``step`` each message, ``tick`` at a steady rate, then, while ``has_ready``, do what ``ready`` says.
Sections (§) are those of Ongaro and Ousterhout's paper, in the extended version; "thesis" is Ongaro's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orbit_net.errors import NotLeader, ProposalDropped
from orbit_net.raft import quorum
from orbit_net.raft.config import CoreConfig
from orbit_net.raft.messages import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    CoreStatus,
    Entry,
    HardState,
    InstallSnapshot,
    Message,
    Ready,
    Role,
    Snapshot,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from orbit_net.raft.progress import Progress, Replication
from orbit_net.raft.quorum import Verdict
from orbit_net.raft.reads import ReadQueue, Rounds

if TYPE_CHECKING:
    from random import Random

    from orbit_net.raft.log import RaftLog
    from orbit_net.raft.membership import Membership

__all__ = ["RaftCore"]


class RaftCore:
    """One member's part in the consensus.

    ``log`` and ``hard_state`` are what storage has. ``random`` spreads the election timeouts. The attributes are for
    reading.

    Invariants: ``term`` never falls; in one term the vote goes to one candidate and the leader is one node; a leader
    never changes or removes an entry of its log; what is committed stays.
    """

    def __init__(
        self, node_id: str, log: RaftLog, hard_state: HardState, *, config: CoreConfig | None = None, random: Random
    ) -> None:
        self.id = node_id
        self.log = log
        self.config = config or CoreConfig()
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.role = Role.FOLLOWER
        self.leader: str | None = None
        self.progress: dict[str, Progress] = {}
        """The other members, and those that were just removed, while this node leads."""
        self.transferee: str | None = None
        self._random = random
        self._durable = hard_state  # what storage has
        self._persisting: HardState | None = None  # what is on its way there
        self._votes: dict[str, bool] = {}
        self._forced = False  # this candidacy was asked for by the leader
        self._elapsed = 0  # ticks since the leader was heard, a vote was granted, or the leader looked for its majority
        # A vote refused before the crash must stay refused: a lease may still count on it.
        self._lease_until = self.config.election_ticks if self.config.lease_reads else 0
        self._clock = 0
        self._patience = self._random_patience()
        self._since_heartbeat = 0
        self._term_start = 0  # the leader's first entry
        self._uncommitted = 0  # bytes
        self._reads = ReadQueue()
        self._early_reads: list[int] = []  # came before anything of this term was committed
        self._fresh_reads: list[int] = []  # wait for the next round to begin
        self._rounds = Rounds(self.config.election_ticks)
        self._lease_lost = False
        self._dirty = False  # the leader may have something to send
        self._messages: list[Message] = []
        self._after_persist: list[Message] = []

    # --- intentions ------------------------------------------------------------------------------

    def propose(self, command: bytes, *, timestamp: int = 0) -> int:
        """Append a command and return its index.

        It is committed if an entry with this index *and this term* comes out of :meth:`ready`. Raises
        :class:`NotLeader`, or :class:`ProposalDropped` when the command is empty or larger than ``max_bytes``, when
        more than ``max_uncommitted`` bytes wait already, or while leadership is being transferred. Nothing was
        appended then.
        """
        self._require_leader()
        size = len(command)
        if not 0 < size <= self.config.max_bytes:
            raise ProposalDropped(f"the command has {size} bytes; 1 to {self.config.max_bytes} are allowed")
        if self._uncommitted + size > self.config.max_uncommitted:
            raise ProposalDropped(f"{self._uncommitted} bytes wait to be committed; try again later")
        self._uncommitted += size
        return self._append(command, None, timestamp)

    def propose_membership(self, target: Membership, *, command: bytes = b"", timestamp: int = 0) -> int:
        """Begin to change the members to ``target`` and return the index of the first entry.

        It is in force from that entry on (§6). More than one voter at a time takes two entries; the second follows by
        itself. ``command`` is stored with the first. Raises :class:`NotLeader`, or :class:`ProposalDropped` while an
        earlier change, or the first entry of this term, is not committed (thesis §4.1 and its erratum), or when
        ``target`` has no voter.
        """
        self._require_leader()
        if self.log.membership_index > self.log.commit or self.log.membership.joint:
            raise ProposalDropped("the last change of the members is not committed yet")
        if self.log.commit < self._term_start:
            raise ProposalDropped("nothing of this term is committed yet")
        if not target.voters or target.joint:
            raise ProposalDropped("the new members need a voter, and cannot be joint")
        return self._append(command, self.log.membership.towards(target), timestamp)

    def read_index(self, token: int) -> None:
        """Ask for a linearizable read (thesis §6.4): ``Ready.reads`` answers. Raises :class:`NotLeader`."""
        if self.role is not Role.LEADER:
            raise NotLeader(self.leader)
        (self._early_reads if self.log.commit < self._term_start else self._fresh_reads).append(token)

    def transfer_leadership(self, target: str) -> None:
        """Hand leadership over to a voter (thesis §3.10): it catches up, and then stands for election at once.

        Proposals are refused meanwhile, for an election timeout at the most; after that this node goes on leading.
        Raises :class:`NotLeader`, or :class:`ProposalDropped` when ``target`` is no other voter.
        """
        self._require_leader()
        if target == self.id or not self.log.membership.is_voter(target):
            raise ProposalDropped(f"{target} is not another voter")
        self.transferee = target
        self._elapsed = 0
        self._dirty = True
        self._finish_transfer(target)

    def report_unreachable(self, peer: str) -> None:
        """Take note that messages to ``peer`` were lost: what was sent ahead is sent again once it answers."""
        progress = self.progress.get(peer)
        if progress is not None:
            progress.probe()
            progress.active = False
            self._dirty = True

    def compact(self, snapshot: Snapshot, *, keep: int) -> None:
        """Adopt a durable snapshot of this node's own state machine, and keep ``keep`` entries before it."""
        self.log.compact(snapshot, keep)

    def _require_leader(self) -> None:
        if self.role is not Role.LEADER:
            raise NotLeader(self.leader)
        if self.transferee is not None:
            raise ProposalDropped(f"leadership is being transferred to {self.transferee}")

    def _append(self, command: bytes, membership: Membership | None, timestamp: int = 0) -> int:
        """Append to the leader's own log."""
        entry = Entry(self.term, self.log.last_index + 1, command, membership, timestamp)
        self.log.append((entry,))
        if membership is not None:
            self._track_members()
        self._dirty = True
        return entry.index

    # --- time ------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Let one unit of time pass."""
        self._clock += 1
        self._elapsed += 1
        if self.role is Role.LEADER:
            self._tick_leader()
        elif self._elapsed >= self._patience and self.log.membership.is_voter(self.id):
            self._campaign()

    def _tick_leader(self) -> None:
        self._since_heartbeat += 1
        if self._since_heartbeat >= self.config.heartbeat_ticks:
            self._send_heartbeats()
        for progress in self.progress.values():
            if progress.give_up_snapshot(self.config.election_ticks):
                self._dirty = True
        if self._elapsed >= self.config.election_ticks:
            self._elapsed = 0
            self.transferee = None
            self._check_quorum()

    def _check_quorum(self) -> None:
        """Step down without a majority (thesis §6.2); forget those who were removed and had time to hear of it."""
        active = {peer for peer, progress in self.progress.items() if progress.active} | {self.id}
        for progress in self.progress.values():
            progress.active = False
        if self.config.check_quorum and not quorum.majority_active(self.log.membership, active):
            self._become_follower(self.term, None)
        elif self.log.membership_index <= self.log.commit:
            for peer in self.progress.keys() - self.log.membership.members:
                del self.progress[peer]

    def _random_patience(self) -> int:
        return self.config.election_ticks + self._random.randrange(self.config.election_spread)

    # --- roles -----------------------------------------------------------------------------------

    def _become_follower(self, term: int, leader: str | None) -> None:
        if self.role is Role.LEADER:
            self._reads.fail(self._early_reads + self._fresh_reads)
            self._early_reads, self._fresh_reads = [], []
            self.progress = {}
            self.transferee = None
            self._dirty = False
        if self.role is not Role.FOLLOWER:
            self._elapsed = 0
            self._patience = self._random_patience()
        if term > self.term:
            self.term, self.vote = term, None
        self.role, self.leader = Role.FOLLOWER, leader

    def _campaign(self, *, forced: bool = False) -> None:
        """Stand for election (§5.2); first only ask whether it could be won (thesis §9.6), unless ``forced``."""
        self._elapsed = 0
        self._patience = self._random_patience()
        self.leader = None
        self._forced = forced
        if self.config.pre_vote and not forced:
            self.role = Role.PRE_CANDIDATE
            self._votes = {}
            self._request_votes(self.term + 1, self._messages)
            self._count_vote(self.id, granted=True)
        else:
            self._stand()

    def _stand(self) -> None:
        self.role = Role.CANDIDATE
        self.term += 1
        self.vote = self.id
        # Its own vote counts once it is durable: see advance.
        self._votes = {}
        self._request_votes(self.term, self._after_persist)

    def _request_votes(self, term: int, outbox: list[Message]) -> None:
        log, membership = self.log, self.log.membership
        pre_vote = self.role is Role.PRE_CANDIDATE
        outbox += [
            VoteRequest(term, self.id, peer, log.last_index, log.last_term, pre_vote, transfer=self._forced)
            for peer in sorted((membership.voters | membership.outgoing) - {self.id})
        ]

    def _count_vote(self, voter: str, *, granted: bool) -> None:
        self._votes.setdefault(voter, granted)
        verdict = quorum.verdict(self.log.membership, self._votes)
        if verdict is Verdict.LOST:
            self._become_follower(self.term, None)
        elif verdict is Verdict.WON:
            if self.role is Role.PRE_CANDIDATE:
                self._stand()
            else:
                self._become_leader()

    def _become_leader(self) -> None:
        self.role, self.leader = Role.LEADER, self.id
        self._elapsed = 0
        self._uncommitted = 0
        self._rounds = Rounds(self.config.election_ticks)
        self._lease_lost = False
        self.progress = {}
        self._track_members()
        # §8: a no-op of the new term, which commits what earlier leaders left.
        self._term_start = self._append(b"", None)
        self._since_heartbeat = 0

    def _track_members(self) -> None:
        for peer in sorted(self.log.membership.members - self.progress.keys() - {self.id}):
            self.progress[peer] = Progress(self.log.last_index + 1, self.config.max_inflight)

    # --- messages in -----------------------------------------------------------------------------

    def step(self, message: Message) -> None:
        """Take in a message from another node. Any message may be lost, late, repeated or out of order."""
        if message.term > self.term:
            if isinstance(message, VoteRequest):
                if self._lease_forbids(message):
                    self._answer_vote(message, granted=False)
                    return
                if not message.pre_vote:
                    self._become_follower(message.term, None)
            elif not (isinstance(message, VoteResponse) and message.pre_vote and message.granted):
                from_leader = isinstance(message, AppendEntriesRequest | InstallSnapshot | TimeoutNow)
                self._become_follower(message.term, message.sender if from_leader else None)
        elif message.term < self.term:
            self._refuse_stale(message)
            return
        match message:
            case AppendEntriesRequest():
                self._hear_leader(message.sender)
                self._on_append(message)
            case AppendEntriesResponse():
                self._on_append_response(message)
            case VoteRequest():
                self._on_vote_request(message)
            case VoteResponse():
                self._on_vote_response(message)
            case InstallSnapshot():
                self._hear_leader(message.sender)
                self._on_snapshot(message)
            case _:  # TimeoutNow
                if self.role is not Role.LEADER and self.log.membership.is_voter(self.id):
                    self._campaign(forced=True)

    def _lease_forbids(self, request: VoteRequest) -> bool:
        """Whether a leader may still count on this node: it was heard within the shortest election timeout (§6)."""
        if not self.config.check_quorum or request.transfer:
            return False
        if self._clock < self._lease_until:
            return True
        return self.leader is not None and self._elapsed < self.config.election_ticks

    def _refuse_stale(self, message: Message) -> None:
        """Tell a leader or candidate of an old term that it is one (§5.1)."""
        if isinstance(message, VoteRequest):
            self._answer_vote(message, granted=False)
        elif isinstance(message, AppendEntriesRequest | InstallSnapshot):
            self._answer_append(message, success=False)

    def _on_vote_request(self, request: VoteRequest) -> None:
        free = self.vote == request.sender or (self.vote is None and self.leader is None)
        granted = (free or (request.pre_vote and request.term > self.term)) and self.log.up_to_date(
            request.last_log_index, request.last_log_term
        )
        if granted and not request.pre_vote:
            self.vote = request.sender
            self._elapsed = 0
        self._answer_vote(request, granted=granted)

    def _answer_vote(self, request: VoteRequest, *, granted: bool) -> None:
        # A granted pre-vote is about the candidate's next term; everything else tells our own.
        term = request.term if granted else self.term
        self._after_persist.append(
            VoteResponse(term, self.id, request.sender, granted, request.pre_vote, request.context)
        )

    def _on_vote_response(self, response: VoteResponse) -> None:
        asked = Role.PRE_CANDIDATE if response.pre_vote else Role.CANDIDATE
        # A pre-vote that was granted for another term than the next is an old answer.
        current = not (response.pre_vote and response.granted) or response.term == self.term + 1
        if self.role is asked and current:
            self._count_vote(response.sender, granted=response.granted)

    def _hear_leader(self, leader: str) -> None:
        if self.role is not Role.FOLLOWER:
            self._become_follower(self.term, leader)
        self.leader = leader
        self._elapsed = 0

    def _on_append(self, request: AppendEntriesRequest) -> None:
        log = self.log
        prev = request.prev_log_index
        if prev < log.commit:
            # What is committed agrees (§5.4.3), and may be compacted: go on from there.
            known = log.commit - prev
            entries, prev = request.entries[known:], log.commit
        elif log.term(prev) != request.prev_log_term:
            self._reject(request)
            return
        else:
            entries = request.entries
        log.accept(prev, entries)
        last = prev + len(entries)
        log.commit_to(min(request.leader_commit, last))
        self._answer_append(request, success=True, match=last, last_log_index=log.last_index)

    def _reject(self, request: AppendEntriesRequest) -> None:
        log = self.log
        hint = log.conflict(request.prev_log_index, request.prev_log_term)
        self._answer_append(
            request,
            success=False,
            match=hint,
            match_term=log.term(hint) or 0,
            rejected=request.prev_log_index,
            last_log_index=log.last_index,
        )

    def _answer_append(self, request: AppendEntriesRequest | InstallSnapshot, **fields: Any) -> None:
        self._after_persist.append(
            AppendEntriesResponse(self.term, self.id, request.sender, context=request.context, **fields)
        )

    def _on_snapshot(self, request: InstallSnapshot) -> None:
        snapshot, log = request.snapshot, self.log
        if snapshot.index > log.commit:
            if log.term(snapshot.index) == snapshot.term:
                log.commit_to(snapshot.index)  # §7: retain what is there already
            else:
                log.restore(snapshot)
        self._answer_append(request, success=True, match=log.commit, last_log_index=log.last_index)

    def _on_append_response(self, response: AppendEntriesResponse) -> None:
        progress = self.progress.get(response.sender)
        if progress is None:
            return
        progress.active = True
        progress.acked = max(progress.acked, response.context)
        if self._reads:
            self._reads.confirm(self._answered_round())
        if not response.success:
            hint = self.log.conflict(response.match, response.match_term)
            if progress.reject(response.rejected, hint):
                self._dirty = True
            return
        self._dirty = True
        if progress.acknowledge(response.match):
            self._maybe_commit()
        if response.sender == self.transferee:
            self._finish_transfer(response.sender)

    # --- the leader's work -----------------------------------------------------------------------

    def _maybe_commit(self) -> None:
        """Commit what a majority has, if it is of this term (§5.4.2); what is before it is committed with it."""
        log = self.log
        matches = {peer: progress.match for peer, progress in self.progress.items()}
        matches[self.id] = log.stable
        index = quorum.agreed(log.membership, matches)
        if index <= log.commit or log.term(index) != self.term:
            return
        for entry in log.slice(log.commit + 1, index):
            self._uncommitted -= min(self._uncommitted, len(entry.command))
        log.commit_to(index)
        self._dirty = True
        if self._early_reads and index >= self._term_start:
            self._fresh_reads += self._early_reads
            self._early_reads = []
        if log.membership_index <= index:
            self._after_membership(log.membership)

    def _after_membership(self, membership: Membership) -> None:
        """The latest membership is committed: end a joint one, or step down if it is without this node (§6)."""
        if membership.joint:
            self._append(b"", membership.leave_joint())
        elif self.id not in membership.voters:
            self._flush()  # the others learn of it before this node falls silent
            self._become_follower(self.term, None)

    def _answered_round(self) -> int:
        """Return the last round that a majority has answered, this node included."""
        answered = {peer: progress.acked for peer, progress in self.progress.items()}
        answered[self.id] = self._rounds.number
        return quorum.agreed(self.log.membership, answered)

    def _begin_reads(self) -> None:
        """Start a round for the reads that came since the last, or answer them from the lease."""
        tokens, self._fresh_reads = self._fresh_reads, []
        lease = self.config.lease_reads and not self._lease_lost
        lease = lease and self._rounds.lease_holds(self._answered_round(), self._clock)
        if not lease:
            self._send_heartbeats()
        for token in tokens:
            self._reads.add(token, self.log.commit, self._rounds.number)
        self._reads.confirm(self._rounds.number if lease else self._answered_round())

    def _finish_transfer(self, target: str) -> None:
        if self.progress[target].match == self.log.last_index:
            self._messages.append(TimeoutNow(self.term, self.id, target))
            self._lease_lost = True  # voters will not respect the lease in the election that follows

    def _send_heartbeats(self) -> None:
        """Ask every member whether this node still leads; the answer also tells whether requests were lost."""
        self._since_heartbeat = 0
        round_ = self._rounds.begin(self._clock)
        log = self.log
        for peer, progress in self.progress.items():
            prev = progress.next - 1
            term = None if progress.state is Replication.SNAPSHOT else log.term(prev)
            if term is None:
                prev = term = 0
            self._messages.append(
                AppendEntriesRequest(self.term, self.id, peer, prev, term, (), min(log.commit, prev), round_)
            )

    def _flush(self) -> None:
        """Send each member what it may have now."""
        self._dirty = False
        for peer, progress in self.progress.items():
            while not progress.paused and self._send_append(peer, progress):
                pass

    def _send_append(self, peer: str, progress: Progress) -> bool:
        """Send the next entries, or a newer commit index; return whether more may follow."""
        log = self.log
        prev = progress.next - 1
        term = log.term(prev)
        if term is None:
            self._send_snapshot(peer, progress)
            return False
        entries = log.batch(progress.next, self.config.max_entries, self.config.max_bytes)
        if not entries and progress.sent_commit >= log.commit:
            return False
        progress.sent_commit = log.commit
        self._messages.append(
            AppendEntriesRequest(self.term, self.id, peer, prev, term, entries, log.commit, self._rounds.number)
        )
        if entries:
            progress.sent(entries[-1].index)
        return bool(entries)

    def _send_snapshot(self, peer: str, progress: Progress) -> None:
        """What the member needs next is compacted (§7). One that does not answer is not sent snapshots."""
        if progress.active:
            snapshot = self.log.snapshot
            progress.sent_snapshot(snapshot.index)
            self._messages.append(InstallSnapshot(self.term, self.id, peer, snapshot, self._rounds.number))

    # --- results out -----------------------------------------------------------------------------

    @property
    def hard_state(self) -> HardState:
        """Term and vote now."""
        return HardState(self.term, self.vote)

    @property
    def has_ready(self) -> bool:
        """Whether :meth:`ready` has something to do."""
        return bool(
            self._dirty
            or self._messages
            or self._fresh_reads
            or self._reads.answers
            or self.log.applied < self.log.applicable
            or (self._persisting is None and (self._after_persist or self._must_persist()))
        )

    def _must_persist(self) -> bool:
        durable = self._durable
        return self.term != durable.term or self.vote != durable.vote or self.log.unstable

    def ready(self) -> Ready:
        """Hand out what has to be done now; see :class:`Ready` for the order."""
        if self._fresh_reads:
            self._begin_reads()
        if self._dirty:
            self._flush()
        messages, self._messages = self._messages, []
        committed = self.log.take_committed() if self.log.applied < self.log.applicable else ()
        reads = self._reads.take() if self._reads.answers else ()
        if self._persisting is not None:
            return Ready(messages=tuple(messages), committed=committed, reads=reads)
        after, self._after_persist = self._after_persist, []
        if not self._must_persist():
            return Ready(
                messages=tuple(messages), messages_after_persist=tuple(after), committed=committed, reads=reads
            )
        self._persisting = now = self.hard_state
        snapshot, entries = self.log.persist()
        return Ready(
            hard_state=now if now != self._durable else None,
            entries=entries,
            snapshot=snapshot,
            messages=tuple(messages),
            messages_after_persist=tuple(after),
            committed=committed,
            reads=reads,
        )

    def advance(self) -> None:
        """Take note that what the last Ready had to persist is durable. Its later messages may be sent from now on."""
        if self._persisting is None:
            return
        self._durable, self._persisting = self._persisting, None
        self.log.persisted()
        if self.role is Role.LEADER:
            self._maybe_commit()
        elif self.role is Role.CANDIDATE and self._durable == self.hard_state:
            self._count_vote(self.id, granted=True)

    def status(self) -> CoreStatus:
        """Return what this node knows."""
        matches = {peer: progress.match for peer, progress in self.progress.items()}
        log = self.log
        return CoreStatus(
            self.role, self.term, self.leader, log.last_index, log.commit, log.applied, log.membership, matches
        )

    def __repr__(self) -> str:
        return f"<RaftCore {self.id} {self.role.value} of term {self.term}, {self.log!r}>"
