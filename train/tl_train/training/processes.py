"""The processes of a run: which one this is, starting the others, and what they tell each other.

The first process finds the images, writes and talks. The others run the same program from its beginning, are given
what the first one found, and take their share of each step and of the validation.

Lightning is imported only where several steps follow: it takes seconds, which a head on a frozen backbone does without.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import io
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from tl_train.config.choices import KnownPrecision
from tl_train.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# The others wait while the first one finds the images, fits a head or judges the network.
_PATIENCE = datetime.timedelta(days=7)

_others: list[subprocess.Popen[bytes]] = []  # that this process started; they live as long as it does


def is_first_process() -> bool:
    """Whether this process writes the run's folder and talks to the user.

    Source: torchrun's environment variables, which `with_others` sets too.
    """
    return os.environ.get("RANK", "0") == "0"


def check_processes(devices: int) -> None:
    """Say whether another program, as torchrun, started another number of processes.

    Raises:
        ConfigError: it did.

    """
    started = os.environ.get("WORLD_SIZE", "")
    if started.isdecimal() and int(started) != devices:
        raise ConfigError(f"devices: found {devices}, expected {started}, the processes that torchrun started")


@contextlib.contextmanager
def with_others(devices: int) -> Iterator[None]:
    """A block in which all processes of a run are there; where it fails in the first one, they end.

    Args:
        devices: processes in all; torchrun has started them, or they are started here, once in a process.

    Raises:
        TrainingError: another process ended before this one was done.

    """
    if devices == 1:
        yield
        return
    try:
        if "RANK" not in os.environ:
            _start_others(devices)
        _join()
        yield
    except BaseException as error:
        for process in _others:
            process.kill()  # it writes nothing that could be left half done
        if _is_lost_connection(error):
            raise TrainingError("another process of this run has ended; what it said is above") from error
        raise


def shared(state: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the first process has, in all of them; the others give None.

    Args:
        state: tensors, numbers, texts, lists and dicts of them, which are read as such: nobody in the network can send
            code.

    """
    if not distributed.is_initialized():
        return state
    buffer = io.BytesIO()
    torch.save(state, buffer)
    size = torch.tensor([buffer.tell()])
    distributed.broadcast(size, 0, group=_waiting_group())
    data = torch.empty(int(size), dtype=torch.uint8)
    if distributed.get_rank() == 0:
        data = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
    distributed.broadcast(data, 0, group=_waiting_group())
    received: dict[str, Any] | None = torch.load(io.BytesIO(data.numpy().tobytes()), weights_only=True)
    return received


def gathered(rows: torch.Tensor | None, counts: Sequence[int]) -> torch.Tensor:
    """The rows of all processes, one process after the other, in each of them.

    Args:
        rows: float32 (n, C) of this process, on the CPU; None where it has none. One process at least has some.
        counts: how many rows each process has.

    Returns:
        float32 (sum of the counts, C).

    """
    if not distributed.is_initialized():
        assert rows is not None
        return rows
    columns = torch.tensor([0 if rows is None else rows.shape[1]])
    distributed.all_reduce(columns, distributed.ReduceOp.MAX, group=_waiting_group())
    padded = torch.zeros(max(counts), int(columns))  # all are to send as much
    if rows is not None:
        padded[: len(rows)] = rows
    found = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(found, padded, group=_waiting_group())
    return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])


def wait_for_all() -> None:
    """Return once all processes of a run have come here."""
    if distributed.is_initialized():
        distributed.barrier(group=_waiting_group())


def launch(precision: KnownPrecision, devices: int = 1) -> Fabric:
    """Lightning on the device of this process; with several of them inside of `with_others`."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    if devices == 1:
        fabric = Fabric(accelerator="auto", devices=1, precision=precision)
    else:
        here = processes_here()
        fabric = Fabric(
            accelerator="auto", devices=here, num_nodes=devices // here, strategy="ddp", precision=precision,
            plugins=LightningEnvironment(),
        )  # fmt: skip
    fabric.launch()
    return fabric


def processes_here() -> int:
    """How many processes of the run share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _start_others(devices: int) -> None:
    """Run this program again, once for each of the other processes, in the environment that torchrun would make."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    count = str(devices)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count,
        "RANK": "0", "LOCAL_RANK": "0",
    }  # fmt: skip
    command = [sys.executable, *sys.orig_argv[1:]]
    for rank in range(1, devices):
        environment = os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        # In a group of its own: Ctrl-C is for the first process, which ends the others.
        _others.append(
            subprocess.Popen(  # noqa: S603 - this program
                command, env=environment, stdin=subprocess.DEVNULL, process_group=0
            )
        )


def _join() -> None:
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    _waiting_group()


@functools.cache
def _waiting_group() -> Any:
    return distributed.new_group(backend="gloo", timeout=_PATIENCE)


def _is_lost_connection(error: BaseException) -> bool:
    """Whether torch could not reach another process; of gloo only the message says so."""
    return isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
