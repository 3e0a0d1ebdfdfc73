"""Real processes over TCP, killed while clients write."""

import pytest
from raftcluster.killing import kill_leaders

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120), pytest.mark.stress]


async def test_no_acknowledged_write_is_lost_when_leaders_are_killed(tmp_path, anyio_backend_name):
    """Three nodes with durable storage: SIGKILL of the leader, three times, loses nothing that was acknowledged."""
    outcome = await kill_leaders(tmp_path, anyio_backend_name, 3)
    assert outcome.lost == []
    assert outcome.acknowledged >= 80
    assert len(outcome.elections) == 3
