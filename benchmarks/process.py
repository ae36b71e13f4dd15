"""A program in a process of its own: its seconds, its processor seconds and its peak memory."""

import dataclasses
import subprocess
import sys
from collections.abc import Sequence

# Started from a small process: what a large one occupies would count as the peak of its child.
_LAUNCHER = """
import os, sys, time
null = os.open(os.devnull, os.O_WRONLY)
started = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 2)])
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - started
print(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status), file=sys.stderr)
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended.

    Attributes:
        seconds: from its start to its end.
        processor_s: that it used, of all its threads.
        memory_mb: the most resident.
        printed: on standard output.

    """

    seconds: float
    processor_s: float
    memory_mb: float
    printed: str


def run(command: Sequence[str], allowed: Sequence[int] = (0,)) -> Finished:
    """Run a program to its end; one that ends with another exit code than those `allowed` ends this one."""
    done = subprocess.run([sys.executable, "-c", _LAUNCHER, *command], capture_output=True, text=True, check=True)
    seconds, processor_s, kilobytes, code = done.stderr.split()
    if int(code) not in allowed:
        raise SystemExit(f"failed: {' '.join(command)}")
    return Finished(float(seconds), float(processor_s), int(kilobytes) / 1024, done.stdout)
