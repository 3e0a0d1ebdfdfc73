"""Fixtures and options of the whole suite.

Properties are tested with the same examples every time. ``pytest --hypothesis-profile=search`` looks for others, and
prints how to repeat what it finds.
"""

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.register_profile("search", derandomize=False, max_examples=1_000, deadline=None, print_blob=True)
settings.load_profile("fixed")


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
