"""Generated stubs call generated services, over all four kinds of call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from orbit_net.client import Channel
from orbit_net.server import Server

pytestmark = pytest.mark.anyio


def _shop(services: ModuleType, shop: ModuleType, haggle: Any) -> Any:
    class Shop(services.ShopBase):  # type: ignore[misc, name-defined]
        async def find(self, request: Any) -> Any:
            return shop.Item(name=request.name.upper())

        async def list_offers(self, request: Any) -> AsyncIterator[Any]:
            for cents in range(3):
                yield shop.ItemOffer(cents=cents)

        async def sum_up(self, requests: AsyncIterator[Any]) -> Any:
            return shop.Receipt(count=len([item async for item in requests]))

    Shop.haggle = haggle
    return Shop()


@pytest.mark.parametrize("form", ["coroutine", "generator"])
async def test_four_kinds(services: ModuleType, shop: ModuleType, load: Any, form: str) -> None:
    """Each kind of call carries its messages, full duplex in either form that a base accepts."""
    money = load("acme.common").Money

    async def on_stream(self: Any, stream: Any) -> None:
        async for condition in stream:
            await stream.send_message(money(currency=condition.text))

    async def replies(self: Any, stream: Any) -> AsyncIterator[Any]:
        async for condition in stream:
            yield money(currency=condition.text)

    served = _shop(services, shop, on_stream if form == "coroutine" else replies)
    async with Server([served]) as server:
        [address] = await server.listen("127.0.0.1:0")
        async with Channel(address) as channel:
            stub = services.ShopStub(channel)
            assert await stub.find(shop.Item(name="lamp")) == shop.Item(name="LAMP")
            assert [offer.cents async for offer in stub.list_offers(shop.Item())] == [0, 1, 2]
            assert await stub.sum_up([shop.Item()] * 4) == shop.Receipt(count=4)
            async with stub.haggle() as stream:
                for text in ("a", "b"):
                    await stream.send_message(shop.ItemOfferCondition(text=text))
                    assert await stream.recv_message() == money(currency=text)
                await stream.end()
                assert await stream.recv_message() is None


async def test_base_alone_answers_unimplemented(services: ModuleType, shop: ModuleType) -> None:
    """A service that overrides nothing answers UNIMPLEMENTED to every kind of call."""
    async with Server([services.ShopBase()]) as server:
        [address] = await server.listen("127.0.0.1:0")
        async with Channel(address) as channel:
            stub = services.ShopStub(channel)
            for call in (
                lambda: stub.find(shop.Item()),
                lambda: _all(stub.list_offers(shop.Item())),
                lambda: stub.sum_up([]),
                lambda: _enter(stub.haggle()),
            ):
                with pytest.raises(GRPCError, match="is not implemented") as caught:
                    await call()
                assert caught.value.status is Status.UNIMPLEMENTED


async def _all(replies: Any) -> None:
    async for _ in replies:
        pass


async def _enter(stream: Any) -> None:
    async with stream:
        await stream.send_request(end=True)
        await stream.recv_message()
