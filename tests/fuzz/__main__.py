"""`python -m fuzz [--seconds N] [TARGET [FILE...]]`: the whole corpus, then changes of it until the time is over."""

import argparse
import hashlib
import random
import sys
import time
import traceback
from pathlib import Path

from fuzz.mutate import mutate
from fuzz.targets import TARGETS

FINDINGS = Path("artifacts/fuzz")
SLOW_S = 5.0  # of processor time, for files of at most a megabyte


def main() -> int:
    """The exit code: 1 if there is a finding."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", choices=TARGETS, help="one parser; all of them, if none is given")
    parser.add_argument("files", nargs="*", type=Path, help="run these only, as they are")
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    arguments = parser.parse_args()
    names = [arguments.target] if arguments.target else list(TARGETS)
    findings = 0
    for name in names:
        if arguments.files:
            findings += sum(run(name, path.read_bytes()) for path in arguments.files)
        else:
            findings += fuzz(name, arguments.seconds / len(names), arguments.seed)
    return 1 if findings else 0


def fuzz(name: str, seconds: float, seed: int) -> int:
    """Fuzz one target; how many findings there are."""
    rng, corpus = random.Random(seed), TARGETS[name].corpus()
    findings, runs, end = sum(run(name, data) for data in corpus), len(corpus), time.monotonic() + seconds
    while time.monotonic() < end and findings < 10:
        findings += run(name, mutate(rng.choice(corpus), rng.choice(corpus), rng))
        runs += 1
    print(f"{name}: {runs} files, {findings} findings (seed {seed})")
    return findings


def run(name: str, data: bytes) -> bool:
    """Whether one file is a finding; it is kept then."""
    started = time.process_time()
    try:
        TARGETS[name].run(data)
        seconds = time.process_time() - started
        if seconds < SLOW_S:
            return False
        problem = f"took {seconds:.1f} s"
    except Exception:  # noqa: BLE001 - whatever it is, it is a finding
        problem = traceback.format_exc(limit=-3)
    FINDINGS.mkdir(parents=True, exist_ok=True)
    path = FINDINGS / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    print(f"{problem}\n{name}: {len(data)} bytes; again: python -m fuzz {name} {path}", file=sys.stderr)
    return True


if __name__ == "__main__":
    sys.exit(main())
