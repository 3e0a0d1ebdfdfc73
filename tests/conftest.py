"""Fixtures and options of the whole suite."""

import pytest


def pytest_addoption(parser):
    """Add ``--record``."""
    parser.addoption("--record", action="store_true", help="write the transcripts of Raft anew")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Every async test runs on both event loops."""
    return request.param


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """An authority with a server and a client of it: see :class:`certificates.Site`."""
    from certificates import Site

    return Site(tmp_path_factory.mktemp("certificates"))
