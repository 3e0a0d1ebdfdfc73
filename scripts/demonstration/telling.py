"""What the processes that tell the demo's stories have in common."""

from __future__ import annotations


class Surprise(Exception):
    """Something did not happen as it should."""


def expect(condition: bool, what: str) -> None:
    """Stop the demo unless ``condition`` holds."""
    if not condition:
        raise Surprise(what)


def tell(text: str) -> None:
    """Say what happened."""
    print(f"  {text}", flush=True)
