"""Deliberate bugs, each of which the suite must notice: a list of what the tests are able to see."""

import gc
import importlib.util
import inspect
import textwrap
from pathlib import Path

import pytest

from orbit_net.errors import OrbitError
from orbit_net.raft import RaftCore, RaftLog, quorum
from orbit_net.raft import durable as durable_module
from orbit_net.raft import segments as segments_module
from orbit_net.raft.progress import Progress
from orbit_net.raft.segments import Segment
from raftsim import simulate

pytestmark = pytest.mark.stress

HERE = Path(__file__).parent


def load(name):
    spec = importlib.util.spec_from_file_location(f"mutated_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CORE, STORAGE = load("test_core"), load("test_storage")


def simulated(tmp_path):
    """Let the simulation find it."""
    for seed in range(1, 60):
        simulate(seed, 8_000)


MUTANTS = {
    "vote twice in a term": (
        (RaftCore, "_on_vote_request", "free = self.vote == request.sender", "free = True or self.vote"),
        lambda tmp: CORE.test_one_vote_a_term_first_come_first_served(),
    ),
    "vote twice in a term, simulated": (
        (RaftCore, "_on_vote_request", "free = self.vote == request.sender", "free = True or self.vote"),
        simulated,
    ),
    "forget the vote in a crash": (
        (RaftCore, "ready", "hard_state=now if now != self._durable else None", "hard_state=None"),
        lambda tmp: CORE.test_a_vote_survives_a_restart(),
    ),
    "vote for a stale log": (
        (RaftLog, "up_to_date", "(term, index) >= (self.last_term, self.last_index)", "True"),
        lambda tmp: CORE.test_candidates_with_stale_logs_lose(9, 1, granted=False),
    ),
    "vote for a stale log, simulated": (
        (RaftLog, "up_to_date", "(term, index) >= (self.last_term, self.last_index)", "True"),
        simulated,
    ),
    "commit an old term's entry by counting": (
        (RaftCore, "_maybe_commit", " or log.term(index) != self.term", ""),
        lambda tmp: CORE.test_entries_of_earlier_terms_are_not_committed_by_counting(),
    ),
    "ignore the previous-entry check": (
        (RaftCore, "_on_append", "log.term(prev) != request.prev_log_term", "prev > log.last_index"),
        lambda tmp: CORE.test_the_previous_entry_must_match(),
    ),
    "ignore the previous-entry check, simulated": (
        (RaftCore, "_on_append", "log.term(prev) != request.prev_log_term", "prev > log.last_index"),
        simulated,
    ),
    "remove entries for an old request": (
        (RaftLog, "accept", " or self.term(entry.index) == entry.term", ""),
        lambda tmp: CORE.test_an_old_request_removes_nothing(),
    ),
    "acknowledge before the disk has it": (
        (RaftCore, "_answer_append", "self._after_persist.append", "self._messages.append"),
        lambda tmp: CORE.test_a_followers_answer_waits_for_its_disk(),
    ),
    "acknowledge before the disk has it, simulated": (
        (RaftCore, "_answer_append", "self._after_persist.append", "self._messages.append"),
        simulated,
    ),
    "the leader counts what its disk has not": (
        (RaftCore, "_maybe_commit", "matches[self.id] = log.stable", "matches[self.id] = log.last_index"),
        lambda tmp: CORE.test_the_leaders_own_entry_counts_when_it_is_durable(),
    ),
    "commit beyond what the request proves": (
        (RaftCore, "_on_append", "min(request.leader_commit, last)", "min(request.leader_commit, log.last_index)"),
        lambda tmp: CORE.test_an_old_request_removes_nothing(),
    ),
    "one majority is enough in a joint change": (
        (quorum, "agreed", "if membership.outgoing:", "if False:"),
        lambda tmp: CORE.test_many_voters_are_changed_jointly(),
    ),
    "two changes of the members at once": (
        (RaftCore, "propose_membership", "self.log.membership_index > self.log.commit", "False"),
        lambda tmp: CORE.test_changes_come_one_at_a_time_and_after_an_entry_of_the_term(),
    ),
    "a candidate counts its vote before it is durable": (
        (
            RaftCore,
            "_stand",
            "self._request_votes(self.term, self._after_persist)",
            "self._request_votes(self.term, self._after_persist); self._count_vote(self.id, granted=True)",
        ),
        lambda tmp: CORE.test_a_candidates_own_vote_counts_when_it_is_durable(),
    ),
    "read without asking a majority": (
        (RaftCore, "_begin_reads", "self._rounds.number if lease else self._answered_round()", "self._rounds.number"),
        lambda tmp: CORE.test_a_read_waits_for_a_majority_of_a_round(),
    ),
    "read without asking a majority, simulated": (
        (RaftCore, "_begin_reads", "self._rounds.number if lease else self._answered_round()", "self._rounds.number"),
        simulated,
    ),
    "stay leader in an old term": (
        (RaftCore, "_become_follower", "self.role, self.leader = Role.FOLLOWER, leader", "self.leader = leader"),
        lambda tmp: CORE.test_reads_fail_with_leadership(),
    ),
    "disturb a leader that is heard": (
        (RaftCore, "_lease_forbids", "return self.leader is not None", "return False and self.leader"),
        lambda tmp: CORE.test_voters_that_hear_the_leader_refuse_others(),
    ),
    "pre-vote raises the term": (
        (RaftCore, "_campaign", "self._request_votes(self.term + 1", "self.term += 1; self._request_votes(self.term"),
        lambda tmp: CORE.test_a_node_that_was_cut_off_does_not_raise_the_term(),
    ),
    "trust a rejected window": (
        (Progress, "reject", "self.probe()", "pass"),
        lambda tmp: CORE.test_a_lost_append_is_found_by_the_next_heartbeat(),
    ),
    "skip fsync": (
        (Segment, "append", "sync(self._file.fileno())", "pass"),
        STORAGE.test_everything_is_synced_before_it_is_acknowledged,
    ),
    "do not check the checksum": (
        (segments_module, "_record_at", " and zlib.crc32(content, length) == checksum", ""),
        STORAGE.test_a_torn_record_of_garbage_is_cut,
    ),
    "replace a file without its name being durable": (
        (durable_module, "replace_file", "sync_directory(path.parent, sync)", "pass"),
        STORAGE.test_everything_is_synced_before_it_is_acknowledged,
    ),
}


def mutate(monkeypatch, owner, name, old, new):
    """Replace a function by itself with a bug."""
    original = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(original))
    assert source.count(old) == 1, f"{old!r} is not in {name} once: the mutant is out of date"
    namespace = {}
    exec("from __future__ import annotations\n" + source.replace(old, new), original.__globals__, namespace)
    monkeypatch.setattr(owner, name, namespace[name])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a test that fails leaves files open
@pytest.mark.parametrize("name", MUTANTS)
def test_each_bug_is_noticed(monkeypatch, tmp_path, name):
    """With the bug the named check fails; test_core, test_storage and test_simulation pass without it."""
    (owner, function, old, new), killer = MUTANTS[name]
    mutate(monkeypatch, owner, function, old, new)
    with pytest.raises((AssertionError, OrbitError, pytest.fail.Exception)):
        killer(tmp_path)
    gc.collect()
