"""hpack logs headers at DEBUG: not unless the user asks for it."""

import logging

import pytest

from orbit_net.net.redaction import quiet_hpack


@pytest.mark.parametrize(("before", "after"), [(logging.NOTSET, logging.INFO), (logging.DEBUG, logging.DEBUG)])
def test_the_level_of_hpack(monkeypatch, before, after):
    """It is INFO, whatever the root logger's, but a level that the user gave stays."""
    log = logging.getLogger("hpack")
    monkeypatch.setattr(log, "level", before)
    quiet_hpack()
    assert log.level == after
    log.setLevel(logging.INFO)
