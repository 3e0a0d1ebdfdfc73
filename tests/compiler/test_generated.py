"""What a generated module of stubs is like for those who import it."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline

from orbit_net.client import ClientStream, MetadataLike, ResponseStream, Stub
from orbit_net.server import ServerStream, Service

GOLDEN = Path(__file__).parent / "golden" / "acme_shop_v1_services.txt"


def test_text_is_as_reviewed(generated: dict[str, str]) -> None:
    """The generated text is the reviewed one; ORBIT_NET_GOLDEN=write makes today's text the reviewed one."""
    text = generated["acme/shop/v1/services.py"]
    if os.environ.get("ORBIT_NET_GOLDEN") == "write":
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_package_without_services_has_messages_only(generated: dict[str, str]) -> None:
    """A package gets a module of stubs only if it has services."""
    assert "acme/common/__init__.py" in generated
    assert "acme/common/services.py" not in generated


def test_messages_bring_no_services_of_their_own(generated: dict[str, str]) -> None:
    """betterproto2 generates messages and nothing that calls or serves."""
    text = generated["acme/shop/v1/__init__.py"]
    assert "class ShopStub" not in text
    assert "class ShopBase" not in text
    assert "grpc" not in text


def test_comments_of_google_are_left_out(generated: dict[str, str]) -> None:
    """Google's own types come along without their documentation."""
    assert "class Timestamp(betterproto2.Message):" in generated["google/protobuf/__init__.py"]
    assert "leap" not in generated["google/protobuf/__init__.py"].lower()


def test_exports_stubs_and_bases(services: ModuleType) -> None:
    """``__all__`` names a stub and a base for each service, and nothing else."""
    assert services.__all__ == ["IdleBase", "IdleStub", "OddBase", "OddStub", "ShopBase", "ShopStub"]
    for name in services.__all__:
        assert issubclass(getattr(services, name), Stub if name.endswith("Stub") else Service)


def test_routes_cardinalities_and_types(
    services: ModuleType, shop: ModuleType, load: Callable[[str], ModuleType]
) -> None:
    """The mapping of a service has each route with its cardinality and its message classes."""
    mapping = services.ShopBase().__mapping__()
    money = load("acme.common").Money
    assert {route: tuple(handler)[1:] for route, handler in mapping.items()} == {
        "/acme.shop.v1.Shop/Find": (Cardinality.UNARY_UNARY, shop.Item, shop.Item),
        "/acme.shop.v1.Shop/ListOffers": (Cardinality.UNARY_STREAM, shop.Item, shop.ItemOffer),
        "/acme.shop.v1.Shop/SumUp": (Cardinality.STREAM_UNARY, shop.Item, shop.Receipt),
        "/acme.shop.v1.Shop/Haggle": (Cardinality.STREAM_STREAM, shop.ItemOfferCondition, money),
    }


def test_clashing_names_reach_the_right_messages(
    services: ModuleType, shop: ModuleType, load: Callable[[str], ModuleType]
) -> None:
    """Messages called like our own imports, like the module's classes, or like each other are told apart."""
    mapping = services.OddBase().__mapping__()
    google = load("google.protobuf")
    assert {route.rpartition("/")[2]: tuple(handler)[2:] for route, handler in mapping.items()} == {
        "Import": (google.Empty, google.Timestamp),
        "float": (shop.Status, load("acme.common").Status),
        "GetHTTPStatus2": (shop.Stub, shop.ResponseStream),
        "Metadata": (shop.Status, shop.Status),
        "_unary_unary": (shop.OddStub, shop.OddStub),
    }


def test_rpcs_leave_the_attributes_of_stubs_alone(services: ModuleType) -> None:
    """An rpc called like a keyword, or like what each stub and service has anyway, gets an underscore."""
    methods = {name for name in vars(services.OddStub) if not name.startswith("__")}
    assert methods == {"import_", "float", "get_http_status_2", "metadata_", "_unary_unary_"}


def test_service_without_rpcs(services: ModuleType) -> None:
    """A service without rpcs is an empty mapping."""
    assert services.IdleBase().__mapping__() == {}


OPTIONS = {
    "timeout": float | None,
    "deadline": Deadline | None,
    "metadata": MetadataLike | None,
    "compression": str | None,
}


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(function)


def test_stub_signatures(services: ModuleType, shop: ModuleType, load: Callable[[str], ModuleType]) -> None:
    """Stub methods are typed by cardinality, and take timeout, deadline, metadata and compression by keyword only."""
    stub, item, offer = services.ShopStub, shop.Item, shop.ItemOffer
    money = load("acme.common").Money
    assert _hints(stub.find) == {"request": item, **OPTIONS, "return": item}
    assert _hints(stub.list_offers) == {"request": item, **OPTIONS, "return": ResponseStream[offer]}
    assert _hints(stub.sum_up) == {
        "requests": Iterable[item] | AsyncIterable[item],
        **OPTIONS,
        "return": shop.Receipt,
    }
    assert _hints(stub.haggle) == {**OPTIONS, "return": ClientStream[shop.ItemOfferCondition, money]}
    for method in (stub.find, stub.list_offers, stub.sum_up, stub.haggle):
        parameters = inspect.signature(method).parameters
        assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in OPTIONS)
        assert all(parameters[name].default is None for name in OPTIONS)


def test_base_signatures(services: ModuleType, shop: ModuleType, load: Callable[[str], ModuleType]) -> None:
    """Base methods are typed by cardinality; a full duplex one may be a coroutine function or an async generator."""
    base, item, money = services.ShopBase, shop.Item, load("acme.common").Money
    assert _hints(base.find) == {"request": item, "return": item}
    assert _hints(base.list_offers) == {"request": item, "return": AsyncIterator[shop.ItemOffer]}
    assert _hints(base.sum_up) == {"requests": AsyncIterator[item], "return": shop.Receipt}
    assert _hints(base.haggle) == {
        "stream": ServerStream[shop.ItemOfferCondition, money],
        "return": Awaitable[None] | AsyncIterator[money],
    }


@pytest.mark.parametrize("owner", ["ShopStub", "ShopBase"])
def test_docstrings_are_the_comments(services: ModuleType, owner: str) -> None:
    """Comments before, behind and in blocks become docstrings, letter for letter."""
    shop = getattr(services, owner)
    assert inspect.getdoc(shop) == (
        'Sells things.\n\nSays "hello" first, and its paths look like C:\\shop; quotes as in """this""" do no harm.'
    )
    assert inspect.getdoc(shop.find) == "Finds one item by its name."
    assert inspect.getdoc(shop.list_offers) == 'One offer after the other, "cheapest first"'
    assert inspect.getdoc(shop.sum_up) == "Counts what it gets:\n- the items,\n- the money."


def test_docstrings_without_comments_tell_the_route(services: ModuleType) -> None:
    """Without a comment, a docstring says which service and route is meant."""
    assert inspect.getdoc(services.OddStub) == "Calls the service ``acme.shop.v1.Odd``."
    assert inspect.getdoc(services.OddStub.import_) == "Call ``/acme.shop.v1.Odd/Import``."
    assert inspect.getdoc(services.OddBase.import_) == "Answer ``/acme.shop.v1.Odd/Import``."


@pytest.mark.anyio
async def test_methods_are_unimplemented_until_overridden(services: ModuleType, shop: ModuleType) -> None:
    """A method of a base raises UNIMPLEMENTED and names its route."""
    base = services.ShopBase()
    with pytest.raises(GRPCError, match=r"/acme\.shop\.v1\.Shop/Find is not implemented") as caught:
        await base.find(shop.Item())
    assert caught.value.status is Status.UNIMPLEMENTED
    for method in (base.list_offers, base.haggle):
        with pytest.raises(GRPCError) as caught:
            method(shop.Item())
        assert caught.value.status is Status.UNIMPLEMENTED
