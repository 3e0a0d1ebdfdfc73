"""The measured process: ``python -m benchmarks.codecs.worker IMPLEMENTATION FOLDER``; one line of JSON per question.

{"package", "name", "data": hexadecimal, "seconds"} → {"encode", "decode": microseconds of CPU for one message}
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .classes import load

_BURSTS = 5

FAMILIES = {
    "orbit_net": "ours",
    "betterproto2": "ours",
    "betterproto 2.0.0b7": "older",
    "protobuf, pure Python": "google",
    "protobuf, upb": "google",
}


def _verbs(implementation: str, cls: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    if implementation == "orbit_net":
        from orbit_net.codec import Codec

        codec = Codec()
        return lambda message: codec.encode(message, cls), lambda data: codec.decode(data, cls)
    if FAMILIES[implementation] == "google":
        from google.protobuf.internal import api_implementation

        expected = "python" if "pure" in implementation else "upb"
        if api_implementation.Type() != expected:
            raise RuntimeError(f"google.protobuf runs on {api_implementation.Type()}, not on {expected}")
        return cls.SerializeToString, cls.FromString
    return bytes, lambda data: cls().parse(data)


def _microseconds(verb: Callable[[Any], Any], argument: Any, seconds: float) -> float:
    """Return the CPU time of one call: the best of some bursts, so that a pause of the machine does not count."""
    calls = 1
    while (spent := _spent(verb, argument, calls)) < seconds / _BURSTS / 4:
        calls *= 4
    calls = max(1, round(calls * seconds / _BURSTS / max(spent, 1e-9)))
    return min(_spent(verb, argument, calls) for _ in range(_BURSTS)) / calls * 1e6


def _spent(verb: Callable[[Any], Any], argument: Any, calls: int) -> float:
    started = time.process_time()
    for _ in range(calls):
        verb(argument)
    return time.process_time() - started


def main(implementation: str, folder: str) -> None:
    """Answer until standard input ends."""
    family = FAMILIES[implementation]
    sys.path.insert(0, str(Path(folder) / family if family == "google" else folder))
    for line in sys.stdin:
        question = json.loads(line)
        data = bytes.fromhex(question["data"])
        encode, decode = _verbs(implementation, load(family, question["package"], question["name"]))
        message = decode(data)
        if len(encode(message)) != len(data):
            raise RuntimeError(f"{implementation} writes {question['name']} otherwise")
        seconds = question["seconds"]
        answer = {
            "encode": _microseconds(encode, message, seconds),
            "decode": _microseconds(decode, data, seconds),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
