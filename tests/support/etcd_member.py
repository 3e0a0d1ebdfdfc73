"""A node of actors as a process: ``etcd_member.py BACKEND NAME ENDPOINT LEASE``; prints a line once it has joined."""

import sys
from dataclasses import replace

import anyio

from etcd_server import FAST
from orbit_net.directory import EtcdNodeResolver
from orbit_net.messaging import ActorNode
from orbit_net.model import NodeCapabilities, NodeId, NodeInfo
from orbit_net.server import Server


class Where:
    """Tells which node it lives on."""

    def __init__(self, reference):
        self.turns = 0

    async def turn(self):
        """Return the node's name and how often this activation was asked."""
        self.turns += 1
        return [sys.argv[2], self.turns]


async def main(name, endpoint, lease):
    """Serve until killed."""
    async with EtcdNodeResolver([endpoint], settings=replace(FAST, lease=int(lease))) as directory:
        node = ActorNode(NodeId(name), directory)
        node.register(Where)
        async with node, Server([node.service]) as server:
            [target] = await server.listen("127.0.0.1:0")
            port = int(target.rpartition(":")[2])
            await directory.join(NodeInfo(node.node_id, "127.0.0.1", port, NodeCapabilities(("Where",))))
            print("joined", flush=True)
            await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[2:], backend=sys.argv[1])
