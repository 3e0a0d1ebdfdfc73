"""Small stories with all that is said in them; ``pytest tests/raft/test_transcripts.py --record`` writes them anew.

A line that begins with ``>`` is what came out; the others are commands, or comments after ``#``.
"""

from pathlib import Path

import pytest

from orbit_net.raft import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    Entry,
    InstallSnapshot,
    Membership,
    TimeoutNow,
    VoteRequest,
)
from raftnet import Net

pytestmark = pytest.mark.once

STORIES = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


def told(message):
    """Return one line about a message."""
    route = f"{message.sender}→{message.target} term {message.term}"
    match message:
        case AppendEntriesRequest():
            entries = ", ".join(map(told_entry, message.entries)) or "nothing"
            after = f"{message.prev_log_term}/{message.prev_log_index}"
            return f"{route} append after {after}: {entries}; commit {message.leader_commit}"
        case AppendEntriesResponse(success=True):
            return f"{route} have up to {message.match}"
        case AppendEntriesResponse():
            return f"{route} refuse {message.rejected}; may agree at {message.match_term}/{message.match}"
        case VoteRequest():
            kind = "would you vote" if message.pre_vote else "vote"
            return f"{route} {kind} for me, my log ends at {message.last_log_term}/{message.last_log_index}"
        case InstallSnapshot():
            return f"{route} snapshot of {message.snapshot.term}/{message.snapshot.index}"
        case TimeoutNow():
            return f"{route} stand for election"
    kind = "would vote" if message.pre_vote else "vote"
    return f"{route} {kind}: {'yes' if message.granted else 'no'}"


def told_entry(entry):
    what = entry.command.decode() or "no-op"
    if entry.membership is not None:
        now, old = sorted(entry.membership.voters), sorted(entry.membership.outgoing)
        what = f"members {' '.join(now)}" + (f" with {' '.join(old)}" if old else "")
    return f"{entry.term}/{entry.index} {what}"


class Story:
    """Runs the commands of a transcript."""

    def __init__(self):
        self.logs = {}
        self.net = None

    def run(self, line):
        """Run one command; return what is said about it."""
        quiet = line.startswith("quiet ")
        name, *words = line.removeprefix("quiet ").split()
        if self.net is not None:
            self.net.log.clear()
        lines = getattr(self, f"do_{name}")(*words) or []
        if self.net is not None and not quiet:
            lines = [told(message) for message in self.net.log] + lines
        return lines

    def do_log(self, name, *terms):
        self.logs[name] = tuple(Entry(int(term), index, b"%d" % index) for index, term in enumerate(terms, 1))

    def do_nodes(self, *names):
        highest = max((log[-1].term for log in self.logs.values()), default=0)
        self.net = Net(len(names), logs=[self.logs.get(n, ()) for n in names], terms=[highest] * len(names))

    def do_timeout(self, name):
        core = self.net[name]
        while core.role.value == "follower":
            core.tick()

    def do_tick(self, times, name):
        for _ in range(int(times)):
            self.net[name].tick()

    def do_settle(self):
        self.net.settle()

    def do_propose(self, name, command):
        self.net[name].propose(command.encode())

    def do_members(self, name, *voters):
        for voter in voters:
            if voter not in self.net.nodes:
                self.net.add(voter)
        self.net[name].propose_membership(Membership.of(voters))

    def do_cut(self, name):
        self.net.isolate(name)

    def do_heal(self):
        self.net.heal()

    def do_compact(self, name):
        self.net.nodes[name].compact()

    def do_transfer(self, name, target):
        self.net[name].transfer_leadership(target)

    def do_show(self):
        return [f"{core!r}" for core in (self.net[name] for name in self.net.nodes)]


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_story_is_told_as_before(path, request):
    """The same commands lead to the same messages, in the same order."""
    story, lines = Story(), []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith(">"):
            continue
        lines.append(line)
        if line and not line.startswith("#"):
            lines += [f"> {said}" for said in story.run(line)]
    text = "\n".join(lines) + "\n"
    if request.config.getoption("--record"):
        path.write_text(text, "utf-8")
    assert path.read_text("utf-8") == text
