"""The contract of Storage, for both kinds; and what the disk may do to the durable one."""

import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit_net.errors import DecodeError, StorageError
from orbit_net.raft import DurableStorage, Entry, HardState, Membership, MemoryStorage, Snapshot
from orbit_net.raft import durable as durable_module
from orbit_net.raft.encoding import decode_entries, decode_membership, encode_entries

MEMBERS = Membership.of(["a", "b"], ["c"], {"a": "http://a:1"})


def entry(index, term=1, command=None, membership=None):
    return Entry(term, index, b"%d" % index if command is None else command, membership, 1_700_000_000_000 + index)


@pytest.fixture(params=["memory", "durable"])
def reopen(request, tmp_path):
    """Give a function that opens the same storage again, as a restart does."""
    opened = []

    def again():
        if request.param == "memory":
            opened[:] = opened or [MemoryStorage()]
        else:
            for storage in opened:
                storage.close()
            opened[:] = [DurableStorage(tmp_path / "raft")]
        return opened[0]

    yield again
    opened[0].close()


def test_what_was_never_used_is_empty(reopen):
    """A new storage says so: only then are the first members taken from the settings."""
    stored = reopen().load()
    assert stored.empty
    assert (stored.hard_state, stored.snapshot, stored.entries) == (HardState(), Snapshot(), ())


def test_everything_is_there_again(reopen):
    """Hard state, entries, memberships and timestamps come back as they were; a vote survives a restart (§5.2)."""
    storage = reopen()
    storage.load()
    entries = (entry(1, command=b""), entry(2, membership=MEMBERS), entry(3))
    storage.persist(HardState(1, "b"), None, entries[:2])
    storage.persist(None, None, entries[2:])
    storage = reopen()
    stored = storage.load()
    assert (stored.hard_state, stored.entries, stored.empty) == (HardState(1, "b"), entries, False)


def test_later_entries_replace_those_at_their_index_and_above(reopen):
    """A conflict: what was stored from there on is gone (§5.3)."""
    storage = reopen()
    storage.load()
    storage.persist(HardState(2), None, [entry(n) for n in range(1, 6)])
    storage.persist(None, None, [entry(3, term=2)])
    stored = reopen().load()
    assert [(e.index, e.term) for e in stored.entries] == [(1, 1), (2, 1), (3, 2)]


def test_an_installed_snapshot_replaces_the_log(reopen):
    """What came from the leader stands for everything before, and the log goes on after it (§7)."""
    storage = reopen()
    storage.load()
    storage.persist(HardState(3), None, [entry(n) for n in range(1, 6)])
    snapshot = Snapshot(100, 3, MEMBERS, b"\x00state\n")
    storage.persist(None, snapshot, [entry(101, term=3)])
    storage = reopen()
    stored = storage.load()
    assert (stored.snapshot, [e.index for e in stored.entries]) == (snapshot, [101])


def test_compaction_keeps_what_follows(reopen):
    """The node's own snapshot stands beside the entries after it."""
    storage = reopen()
    storage.load()
    storage.persist(HardState(1), None, [entry(n) for n in range(1, 11)])
    storage.compact(Snapshot(6, 1, MEMBERS, b"six"), 5)
    stored = reopen().load()
    assert stored.snapshot.data == b"six"
    assert [e.index for e in stored.entries][-4:] == [7, 8, 9, 10]


def test_a_segment_that_is_covered_is_removed(tmp_path, monkeypatch):
    """The log on disk does not grow for ever."""
    monkeypatch.setattr(durable_module, "_SEGMENT_BYTES", 200)
    storage = DurableStorage(tmp_path)
    storage.load()
    storage.persist(HardState(1), None, ())
    for n in range(1, 41):
        storage.persist(None, None, [entry(n)])
    before = len(list(tmp_path.glob("log-*")))
    storage.compact(Snapshot(30, 1, MEMBERS, b""), 25)
    after = len(list(tmp_path.glob("log-*")))
    assert 0 < after <= before / 2
    storage.close()
    storage = DurableStorage(tmp_path)
    stored = storage.load()
    assert stored.entries[0].index <= 25
    assert stored.entries[-1].index == 40
    storage.persist(None, None, [entry(41)])
    storage.close()


def test_everything_is_synced_before_it_is_acknowledged(tmp_path):
    """persist returns after the disk has the data: a file's content is synced after its last write, names as well."""
    synced = []

    def sync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append((os.path.basename(path), os.fstat(descriptor).st_size))

    storage = DurableStorage(tmp_path, sync=sync)
    storage.load()
    storage.persist(HardState(1, "a"), None, [entry(1)])
    names = [name for name, _ in synced]
    assert names == ["state.new", tmp_path.name, tmp_path.name, "log-000000000001"]
    size = (tmp_path / "log-000000000001").stat().st_size
    assert synced[-1][1] == size
    storage.persist(None, None, [entry(2), entry(3)])
    assert synced[-1] == ("log-000000000001", (tmp_path / "log-000000000001").stat().st_size)
    assert storage.syncs == 2
    storage.close()


def written(directory, batches=((1,), (2, 3), (4,))):
    storage = DurableStorage(directory)
    storage.load()
    storage.persist(HardState(1), None, ())
    sizes = []
    for batch in batches:
        storage.persist(None, None, [entry(n) for n in batch])
        sizes.append((directory / "log-000000000001").stat().st_size)
    storage.close()
    return directory / "log-000000000001", sizes


def test_a_torn_last_record_is_cut_at_every_byte(tmp_path):
    """Whatever part of the last write arrived, the records before it are there and the log can go on."""
    log, sizes = written(tmp_path / "whole")
    for size in range(sizes[1], sizes[2]):
        directory = tmp_path / f"at-{size}"
        shutil.copytree(tmp_path / "whole", directory)
        os.truncate(directory / log.name, size)
        storage = DurableStorage(directory)
        assert [e.index for e in storage.load().entries] == [1, 2, 3]
        storage.persist(None, None, [entry(4, command=b"again")])
        storage.close()
        storage = DurableStorage(directory)
        assert storage.load().entries[-1].command == b"again"
        storage.close()


def test_a_torn_record_of_garbage_is_cut(tmp_path):
    """The last record may have its length and lack its content."""
    log, sizes = written(tmp_path)
    data = bytearray(log.read_bytes())
    data[sizes[1] + 14 :] = bytes(len(data) - sizes[1] - 14)
    log.write_bytes(data)
    storage = DurableStorage(tmp_path)
    assert [e.index for e in storage.load().entries] == [1, 2, 3]
    storage.close()


def test_damage_before_the_end_is_refused_at_every_byte(tmp_path):
    """A flipped bit in what was acknowledged is an error with the place, never a shorter log."""
    log, sizes = written(tmp_path / "whole")
    whole = log.read_bytes()
    for place in range(sizes[1]):
        directory = tmp_path / "damaged"
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", directory)
        (directory / log.name).write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        storage = DurableStorage(directory)
        with pytest.raises(StorageError, match="damaged at byte"):
            storage.load()
        storage.close()


@pytest.mark.parametrize("name", ["state", "snapshot"])
def test_a_damaged_small_file_is_refused(tmp_path, name):
    """They are replaced whole, so damage is never a crash's doing."""
    storage = DurableStorage(tmp_path)
    storage.load()
    storage.persist(HardState(1), Snapshot(1, 1, MEMBERS, b"x"), ())
    storage.close()
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match=f"{name} is damaged"):
        DurableStorage(tmp_path).load()


def test_a_missing_segment_is_refused(tmp_path, monkeypatch):
    """A hole in the log is an error."""
    monkeypatch.setattr(durable_module, "_SEGMENT_BYTES", 1)
    storage = DurableStorage(tmp_path)
    storage.load()
    for n in range(1, 4):
        storage.persist(HardState(1) if n == 1 else None, None, [entry(n)])
    storage.close()
    (tmp_path / "log-000000000002").unlink()
    with pytest.raises(StorageError, match="a segment is missing"):
        DurableStorage(tmp_path).load()


def test_a_missing_beginning_is_refused(tmp_path):
    """Entries that do not follow the snapshot are an error."""
    storage = DurableStorage(tmp_path)
    storage.load()
    storage.persist(HardState(1), None, [entry(5)])
    storage.close()
    with pytest.raises(StorageError, match="lacks the entries"):
        DurableStorage(tmp_path).load()


def test_a_lost_state_file_is_refused(tmp_path):
    """Entries of a term that the node does not know: its vote is lost, so it must not vote again."""
    written(tmp_path)
    (tmp_path / "state").unlink()
    with pytest.raises(StorageError, match="its state is older"):
        DurableStorage(tmp_path).load()


@pytest.mark.parametrize("keep", [True, False])
def test_a_crash_between_snapshot_and_clearing(tmp_path, keep):
    """The old log is dropped unless it agrees with the snapshot (§7)."""
    storage = DurableStorage(tmp_path)
    storage.load()
    storage.persist(HardState(2), None, [entry(1), entry(2), entry(3)])
    storage._write_snapshot(Snapshot(2, 1 if keep else 2, MEMBERS, b""))
    storage.close()
    storage = DurableStorage(tmp_path)
    assert [e.index for e in storage.load().entries] == ([1, 2, 3] if keep else [])
    storage.persist(None, None, [entry(4 if keep else 3, term=2)])
    storage.close()
    storage = DurableStorage(tmp_path)
    assert storage.load().entries[-1].term == 2
    storage.close()


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_first_error_of_the_disk_ends_the_storage(tmp_path, number):
    """A failed sync or write raises, and so does everything after it: nobody knows what the disk holds."""
    calls = 0

    def sync(descriptor):
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError(28, "No space left on device")

    storage = DurableStorage(tmp_path, sync=sync)
    storage.load()
    with pytest.raises(StorageError, match="No space left"):
        storage.persist(HardState(1), None, [entry(1)])
    with pytest.raises(StorageError, match="failed before"):
        storage.persist(None, None, [entry(1)])
    with pytest.raises(StorageError, match="failed before"):
        storage.compact(Snapshot(1, 1), 1)
    storage.close()


def test_two_processes_cannot_share_a_directory(tmp_path):
    """The second is refused, and the first goes on."""
    first = DurableStorage(tmp_path)
    first.load()
    with pytest.raises(StorageError, match="in use"):
        DurableStorage(tmp_path).load()
    first.persist(HardState(1), None, ())
    first.close()


def test_repr(tmp_path):
    """It says where it is and how busy it was."""
    assert repr(DurableStorage(tmp_path)) == f"<DurableStorage {tmp_path}, 0 segments, 0 syncs>"
    assert repr(MemoryStorage()) == "<MemoryStorage term 0, 0 entries>"


@given(
    st.lists(
        st.builds(
            Entry,
            st.integers(0, 2**64 - 1),
            st.integers(0, 2**64 - 1),
            st.binary(max_size=20),
            st.sampled_from([None, MEMBERS, Membership(frozenset("a"), outgoing=frozenset("b"))]),
            st.integers(-(2**63), 2**63 - 1),
        ),
        max_size=5,
    )
)
@settings(max_examples=60)
def test_entries_come_back_from_their_bytes(entries):
    """Any entry is read as it was written."""
    assert decode_entries(encode_entries(entries)) == entries


@given(st.binary(max_size=80))
@settings(max_examples=60)
def test_any_bytes_are_entries_or_an_error(data):
    """Garbage gives one kind of error."""
    for decode in (decode_entries, decode_membership):
        try:
            decode(data)
        except DecodeError:
            continue
