"""Names and values in etcd, and the transactions on them. Pure.

<prefix>/<namespace>/nodes/<key>              a NodeInfoProto; lives as long as the node's lease
<prefix>/<namespace>/actors/<type>/<kind><key>  the owner's id as text; lives as long as the owner's lease
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from orbit_net.codec import Codec
from orbit_net.errors import OrbitError
from orbit_net.model import (
    AddressableReference,
    Int32Key,
    Int64Key,
    NodeId,
    NodeInfo,
    NodeInfoConverter,
    NoKey,
    StringKey,
)
from orbit_net.proto.etcdserverpb import (
    Compare,
    CompareCompareResult,
    CompareCompareTarget,
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    TxnRequest,
)
from orbit_net.proto.orbit.shared import NodeInfoProto

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbit_net.model import Key
    from orbit_net.proto.mvccpb import KeyValue

__all__ = ["Keys", "Member", "decode_owner", "place", "read_member", "release", "write_member"]

_CODEC: Final = Codec()
_EQUAL: Final = CompareCompareResult.EQUAL


@dataclass(frozen=True, slots=True)
class Member:
    """A registered node: what it says of itself, its lease, and the revision of its last word."""

    info: NodeInfo
    lease: int
    revision: int


class Keys:
    """The keys of one namespace."""

    def __init__(self, prefix: str, namespace: str) -> None:
        self.root = f"{prefix}/{quote(namespace, safe='')}/".encode()
        self.nodes = self.root + b"nodes/"
        self.actors = self.root + b"actors/"

    def node(self, node_id: NodeId) -> bytes:
        """Return the key of a node."""
        return self.nodes + quote(node_id.key, safe="", errors="surrogatepass").encode()

    def actor(self, reference: AddressableReference) -> bytes:
        """Return the key of an actor."""
        name = quote(reference.addressable_type, safe="", errors="surrogatepass")
        return self.actors + f"{name}/{_key_text(reference.key)}".encode()

    def reference(self, key: bytes) -> AddressableReference | None:
        """Return the actor of a key, or None for a key of another form."""
        name, slash, text = key[len(self.actors) :].decode(errors="replace").partition("/")
        kind = _KINDS.get(text[:1])
        if not slash or kind is None:
            return None
        try:
            found = kind(unquote(text[1:], errors="surrogatepass"))
            return AddressableReference(unquote(name, errors="surrogatepass"), found)
        except (OrbitError, ValueError):
            return None


_KINDS: Final[dict[str, Callable[[str], Key]]] = {
    "s": StringKey,
    "i": lambda text: Int32Key(int(text)),
    "l": lambda text: Int64Key(int(text)),
    "n": lambda text: NoKey(),
}


def _key_text(key: Key) -> str:
    match key:
        case StringKey(value):
            return "s" + quote(value, safe="", errors="surrogatepass")
        case Int32Key(value):
            return f"i{value}"
        case Int64Key(value):
            return f"l{value}"
        case NoKey():
            return "n"


def read_member(pair: KeyValue) -> Member | None:
    """Return the node that is registered, or None for a value that is none."""
    try:
        info = NodeInfoConverter.from_proto(_CODEC.decode(pair.value, NodeInfoProto))
    except OrbitError:
        return None
    return Member(info, pair.lease, pair.mod_revision)


def decode_owner(value: bytes) -> NodeId | None:
    """Return the owner that an actor's value names, or None for a value that names nobody."""
    try:
        return NodeId.parse(value.decode())
    except (OrbitError, ValueError):
        return None


def write_member(key: bytes, info: NodeInfo, lease: int, *, held: int) -> TxnRequest:
    """Write a node under ``lease`` if its key has the lease ``held`` (0: is not there); else return the key."""
    compare = Compare(result=_EQUAL, target=CompareCompareTarget.LEASE, key=key, lease=held)
    if not held:
        compare = Compare(result=_EQUAL, target=CompareCompareTarget.CREATE, key=key, create_revision=0)
    value = _CODEC.encode(NodeInfoConverter.to_proto(info), NodeInfoProto)
    put = RequestOp(request_put=PutRequest(key=key, value=value, lease=lease))
    return TxnRequest(compare=[compare], success=[put], failure=[_read(key)])


def place(actor: bytes, node: bytes, member: Member) -> TxnRequest:
    """Give an actor that nobody owns to a node that has not changed since; else return the actor's key and the node's.

    Exactly one of any number of such transactions can succeed: each compares that the key is not there.
    """
    free = Compare(result=_EQUAL, target=CompareCompareTarget.CREATE, key=actor, create_revision=0)
    there = Compare(result=_EQUAL, target=CompareCompareTarget.MOD, key=node, mod_revision=member.revision)
    put = RequestOp(request_put=PutRequest(key=actor, value=str(member.info.id).encode(), lease=member.lease))
    return TxnRequest(compare=[free, there], success=[put], failure=[_read(actor), _read(node)])


def release(actor: bytes, owner: NodeId) -> TxnRequest:
    """Free an actor if ``owner`` owns it."""
    mine = Compare(result=_EQUAL, target=CompareCompareTarget.VALUE, key=actor, value=str(owner).encode())
    return TxnRequest(compare=[mine], success=[RequestOp(request_delete_range=DeleteRangeRequest(key=actor))])


def _read(key: bytes) -> RequestOp:
    return RequestOp(request_range=RangeRequest(key=key))
