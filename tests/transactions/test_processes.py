"""Real processes over TCP with logs on disk, killed while clients move money."""

import pytest
from txcluster.dying import MOMENTS
from txcluster.killing import kill_nodes

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(150), pytest.mark.stress]


async def test_nothing_is_lost_when_nodes_are_killed(tmp_path, anyio_backend_name):
    """SIGKILL before and after a decision is written, after a vote and after a commit is: every transfer is whole."""
    outcome = await kill_nodes(tmp_path, anyio_backend_name, len(MOMENTS))
    assert outcome.wrong == []
    assert outcome.committed >= 20 * len(MOMENTS)
    assert set(outcome.kills.values()) == {1}
