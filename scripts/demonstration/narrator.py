"""The narrating process: invokes actors on three nodes, has one of them leave, and counts.

python narrator.py BACKEND DIRECTORY
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import anyio
from member import list_of_nodes
from telling import Surprise, expect, tell

from orbit_net.directory import EtcdNodeResolver, StaticNodeResolver
from orbit_net.errors import OrbitError
from orbit_net.messaging import ActorNode
from orbit_net.model import NodeId, NodeStatus

ACCOUNTS = 30
NODES = ("ada", "bob", "cyd")


def spread(hosts: dict[int, str]) -> str:
    """Say how many accounts each node hosts."""
    counted = Counter(hosts.values())
    return ", ".join(f"{counted[name]} on {name}" for name in NODES if counted[name])


async def places(node: ActorNode) -> dict[int, str]:
    """Invoke every account once and return which node answered."""
    return {key: (await node.ref("Account", key).invoke("turn", number=0))[0] for key in range(ACCOUNTS)}


async def story(node: ActorNode, directory: Any) -> None:
    """Tell the story."""
    before = await places(node)
    expect(set(before.values()) == set(NODES), f"accounts on three nodes, not {spread(before)}")
    tell(f"actors          {ACCOUNTS} accounts were activated by their first invocation: {spread(before)}")
    answered, over, wrong, twice = Counter[str](), False, 0, 0

    async def customer(key: int) -> None:
        nonlocal wrong, twice
        number, last = 0, ("", 0)
        while not over:
            number += 1
            host, echoed, turns = await node.ref("Account", key).invoke("turn", number=number)
            wrong += echoed != number
            # The activation counts its turns: one that ran twice, or without an answer, leaves a gap.
            twice += bool(last[0]) and turns != (last[1] + 1 if host == last[0] else 1)
            last = host, turns
            answered[host] += 1
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as tasks:
        for key in range(ACCOUNTS):
            tasks.start_soon(customer, key)
        await anyio.sleep(0.5)
        await node.ref("Operator-ada", 1).invoke("drain")
        tell("drain           ada was told to leave while every account is being invoked")
        with anyio.fail_after(20):
            while any(info.id.key == "ada" and info.status is NodeStatus.ACTIVE for info in directory.nodes):
                await anyio.sleep(0.02)
        mark = answered["bob"] + answered["cyd"]
        await anyio.sleep(0.5)
        over = True
    total = sum(answered.values())
    expect(not wrong, "every value to belong to its question")
    expect(not twice, "every invocation to run once")
    expect(answered["bob"] + answered["cyd"] > mark, "invocations to go on")
    tell(f"nothing lost    {total:,} invocations during all this, {total:,} values: no error, no timeout, none twice")
    after = await places(node)
    expect("ada" not in after.values(), "no account on ada any more")
    moved = sum(before[key] != after[key] for key in before)
    expect(moved == sum(host == "ada" for host in before.values()), "only ada's accounts to move")
    tell(f"moved           {moved} accounts moved, no other did: {spread(after)}")


async def run(where: str) -> None:
    """Join the cluster as a node that hosts nothing, and tell the story."""
    async with AsyncExitStack() as stack:
        directory: Any = StaticNodeResolver([], local=NodeId("narrator"))
        if where == "static":
            for info in await list_of_nodes():
                directory.add(info)
        else:
            directory = await stack.enter_async_context(EtcdNodeResolver([where]))
        node = await stack.enter_async_context(ActorNode(NodeId("narrator"), directory))
        if where == "static":
            # A wrong list on purpose: ada's accounts are believed to be elsewhere, so that they must be rerouted.
            lost = next(key for key in range(ACCOUNTS) if owner(directory, node, key) == "ada")
            reference = node.ref("Account", lost).reference
            directory.disowned(reference, NodeId("ada"))
            asked = owner(directory, node, lost)
            host = (await node.ref("Account", lost).invoke("turn", number=0))[0]
            expect(host == "ada", f"ada to have the account, not {host}")
            tell(f"rerouted        the account {lost} was looked for on {asked}, which sent the question on to ada")
            directory.node_status(NodeId("ada"), NodeStatus.DRAINING)
            directory.node_status(NodeId("ada"), NodeStatus.ACTIVE)
        await story(node, directory)


def owner(directory: Any, node: ActorNode, key: int) -> str:
    """Return the name of the node that the list gives an account to."""
    found = directory.cached_owner(node.ref("Account", key).reference)
    return "" if found is None else found.key


if __name__ == "__main__":
    try:
        anyio.run(run, sys.argv[2], backend=sys.argv[1])
    except* (Surprise, OrbitError) as group:
        print(f"  SURPRISE        {group.exceptions[0]}", flush=True)
        sys.exit(1)
