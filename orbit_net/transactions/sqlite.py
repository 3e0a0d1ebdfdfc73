"""Logs in SQLite: WAL, synchronous=FULL, one transaction a batch."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from orbit_net.errors import ConfigurationError, StorageError
from orbit_net.model import AddressableReference, Int32Key, Int64Key, NodeId, NoKey, StringKey, key_from_text
from orbit_net.transactions.identity import TransactionId
from orbit_net.transactions.participation import Stored
from orbit_net.transactions.records import Applied, Decided, Failed, Finished, Pruned, Undone, Voted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orbit_net.transactions.records import DecisionRecord, VoteRecord

__all__ = ["SqliteLog", "SqliteVoteLog"]

T = TypeVar("T")
Statement: TypeAlias = "tuple[str, tuple[Any, ...]]"

_VERSION: Final = 1


class _Database:
    """One file, locked against a second process as long as it is open. The first error ends it.

    After a failed write nobody knows what the disk holds, so every later call raises :class:`StorageError`; another
    object on the same file, after this one is closed, finds out.
    """

    def __init__(self, path: Path | str, schema: str) -> None:
        self.path = Path(path)
        self._schema = schema
        self._connection: sqlite3.Connection | None = None
        self._failure: Exception | None = None

    def open(self) -> None:
        """Open the file, made with its folder where it is missing. Raises :class:`StorageError`."""
        self.guard(self._open)

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=0.0, isolation_level=None, check_same_thread=False)
        self._connection = connection
        # Exclusive: no other process writes, and no shared memory is needed beside the WAL.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        [(version,)] = connection.execute("PRAGMA user_version")
        if version not in (0, _VERSION):
            raise StorageError(f"{self.path} has version {version}; this software reads {_VERSION}")
        connection.executescript(f"BEGIN IMMEDIATE; {self._schema} PRAGMA user_version = {_VERSION}; COMMIT;")

    def read(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows."""
        return self.guard(lambda: list(self._opened().execute(query)))

    def write(self, statements: Iterable[Statement]) -> None:
        """Do all of these in one transaction, and return when the disk has them."""
        self.guard(lambda: self._write(statements))

    def _write(self, statements: Iterable[Statement]) -> None:
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        for statement, values in statements:
            connection.execute(statement, values)
        connection.execute("COMMIT")

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StorageError(f"{self.path} is not open: load it first")
        return self._connection

    def guard(self, action: Callable[[], T]) -> T:
        """Run one operation; after an error there is no other."""
        if self._failure is not None:
            raise StorageError(f"{self.path} failed before: {self._failure}") from self._failure
        try:
            return action()
        except (sqlite3.Error, OSError, ValueError, ConfigurationError) as error:
            self._failure = error
            raise StorageError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Close the file, whatever state it is in."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class SqliteLog:
    """The decisions of one coordinator in the file ``path``: a row from the decision until all have carried it out.

    ``writes`` counts the batches, each of which waits for the disk once: decisions divided by this is the batching.
    """

    blocking = True

    def __init__(self, path: Path | str) -> None:
        self.writes = 0
        self._database = _Database(
            path,
            "CREATE TABLE IF NOT EXISTS decisions (id TEXT PRIMARY KEY, coordinator TEXT NOT NULL, "
            "created_at INTEGER NOT NULL, participants TEXT NOT NULL, failure TEXT) WITHOUT ROWID;",
        )

    def load(self) -> Sequence[Decided | Failed]:
        """Open the file and return the decisions that are not finished. Raises :class:`StorageError`."""
        self._database.open()
        rows = self._database.read("SELECT id, coordinator, created_at, participants, failure FROM decisions")
        return self._database.guard(lambda: [_decision(*row) for row in rows])

    def write(self, records: Sequence[DecisionRecord]) -> None:
        """Keep or forget decisions, for good when this returns. Raises :class:`StorageError`."""
        self.writes += 1
        self._database.write(map(_decision_statement, records))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __repr__(self) -> str:
        return f"<SqliteLog {self._database.path}, {self.writes} writes>"


def _decision_statement(record: DecisionRecord) -> Statement:
    identity = record.transaction_id
    match record:
        case Decided(_, participants):
            names = json.dumps([_reference_to_json(reference) for reference in participants])
            values = (identity.id, str(identity.coordinator), identity.created_at, names)
            return "INSERT INTO decisions VALUES (?, ?, ?, ?, NULL)", values
        case Finished():
            return "DELETE FROM decisions WHERE id = ?", (identity.id,)
        case Failed(_, reason):
            return "UPDATE decisions SET failure = ? WHERE id = ?", (reason, identity.id)


def _decision(id_: str, coordinator: str, created_at: int, participants: str, failure: str | None) -> Decided | Failed:
    identity = TransactionId(id_, NodeId.parse(coordinator), created_at)
    if failure is not None:
        return Failed(identity, failure)
    return Decided(identity, tuple(_reference_from_json(*name) for name in json.loads(participants)))


_KEYS: Final[dict[str, type[StringKey | Int32Key | Int64Key]]] = {"s": StringKey, "i": Int32Key, "l": Int64Key}


def _reference_to_json(reference: AddressableReference) -> list[Any]:
    """The kind of the key is kept: the directory may place actors by it."""
    key = reference.key
    if isinstance(key, NoKey):
        return [reference.addressable_type, "n", None]
    kind = next(name for name, key_type in _KEYS.items() if isinstance(key, key_type))
    return [reference.addressable_type, kind, key.value]


def _reference_from_json(addressable_type: str, kind: str, value: Any) -> AddressableReference:
    return AddressableReference(addressable_type, NoKey() if kind == "n" else _KEYS[kind](value))


_VOTE_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS states (actor TEXT, key TEXT, state TEXT NOT NULL, PRIMARY KEY (actor, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS votes (actor TEXT, key TEXT, id TEXT, coordinator TEXT NOT NULL, created_at INTEGER NOT NULL,
  state TEXT NOT NULL, PRIMARY KEY (actor, key, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS applied (coordinator TEXT, created_at INTEGER, id TEXT, actor TEXT, key TEXT,
  PRIMARY KEY (coordinator, created_at, id, actor, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS horizons (coordinator TEXT PRIMARY KEY, created_at INTEGER NOT NULL) WITHOUT ROWID;
"""


_APPLY: Final = (
    "INSERT OR REPLACE INTO states SELECT actor, key, state FROM votes WHERE actor = ? AND key = ? AND id = ?"
)


class SqliteVoteLog:
    """The votes and the states of one node's participants in the file ``path``.

    A commit is one transaction of the file: the new state, the memory of it, and the end of the vote. ``writes`` counts
    the batches, each of which waits for the disk once.
    """

    blocking = True

    def __init__(self, path: Path | str) -> None:
        self.writes = 0
        self._database = _Database(path, _VOTE_SCHEMA)

    def load(self) -> Stored:
        """Open the file and return what it holds. Raises :class:`StorageError`."""
        self._database.open()
        return self._database.guard(self._load)

    def _load(self) -> Stored:
        read = self._database.read
        states = {_actor(actor, key): state for actor, key, state in read("SELECT * FROM states")}
        votes = [
            Voted(_actor(actor, key), TransactionId(id_, NodeId.parse(node), created_at), state)
            for actor, key, id_, node, created_at, state in read("SELECT * FROM votes")
        ]
        applied = [
            (_actor(actor, key), TransactionId(id_, NodeId.parse(node), created_at))
            for node, created_at, id_, actor, key in read("SELECT * FROM applied")
        ]
        horizons = {NodeId.parse(node): created_at for node, created_at in read("SELECT * FROM horizons")}
        return Stored(states, tuple(votes), tuple(applied), horizons)

    def write(self, records: Sequence[VoteRecord]) -> None:
        """Keep what the records say, for good when this returns. Raises :class:`StorageError`."""
        self.writes += 1
        self._database.write(statement for record in records for statement in _vote_statements(record))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __repr__(self) -> str:
        return f"<SqliteVoteLog {self._database.path}, {self.writes} writes>"


def _actor(addressable_type: str, key: str) -> AddressableReference:
    return AddressableReference(addressable_type, key_from_text(key))


def _vote_statements(record: VoteRecord) -> Sequence[Statement]:
    if isinstance(record, Pruned):
        pruned = (str(record.coordinator), record.created_at)
        return (
            ("DELETE FROM applied WHERE coordinator = ? AND created_at <= ?", pruned),
            ("INSERT OR REPLACE INTO horizons VALUES (?, ?)", pruned),
        )
    identity = record.transaction_id
    coordinator = str(identity.coordinator)
    actor = (record.actor.addressable_type, str(record.actor.key))
    drop: Statement = ("DELETE FROM votes WHERE actor = ? AND key = ? AND id = ?", (*actor, identity.id))
    match record:
        case Voted(_, _, state):
            values = (*actor, identity.id, coordinator, identity.created_at, state)
            return (("INSERT OR REPLACE INTO votes VALUES (?, ?, ?, ?, ?, ?)", values),)
        case Applied():
            return (
                (_APPLY, (*actor, identity.id)),
                (
                    "INSERT INTO applied VALUES (?, ?, ?, ?, ?)",
                    (coordinator, identity.created_at, identity.id, *actor),
                ),
                drop,
            )
        case Undone():
            return (drop,)
