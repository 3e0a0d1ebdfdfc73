"""What a measurement ran on: enough to judge a number, nothing that names the machine."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """The processor, how many cores of it this process may use, the interpreter and the system."""

    cpu: str
    cores: int
    python: str
    system: str

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores; {self.python}; {self.system}"


def this_machine() -> Machine:
    """Look at the machine that runs this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        cpu=_cpu_model(),
        cores=cores,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.machine()}",
    )


def _cpu_model() -> str:
    # platform.processor() is empty or only the architecture on most Linux systems
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()
