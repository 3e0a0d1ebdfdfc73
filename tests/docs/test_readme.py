"""The README's programs run as they stand there, but for the address."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

README = Path(__file__).parents[2] / "README.md"
SERVER, CLIENT = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_the_client_talks_to_the_server(tmp_path):
    """Both programs of the README work together, and SIGTERM ends the server with exit code 0."""
    socket = tmp_path / "socket"
    for name, text in (("server.py", SERVER), ("client.py", CLIENT)):
        assert '"127.0.0.1:50051"' in text
        (tmp_path / name).write_text(text.replace('"127.0.0.1:50051"', f'"unix:{socket}"'), "utf-8")
    server = subprocess.Popen([sys.executable, str(tmp_path / "server.py")])
    try:
        deadline = time.monotonic() + 10
        while not socket.exists():
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)  # another process: its socket file is the only sign of life
        client = [sys.executable, str(tmp_path / "client.py")]
        done = subprocess.run(client, capture_output=True, text=True, timeout=15, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == 'health: SERVING\nanswer 1 ["hello"]\n'
        server.terminate()
        assert server.wait(timeout=10) == 0
    finally:
        if server.poll() is None:
            server.kill()
        server.wait()
