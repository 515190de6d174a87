"""Many hosts: how the processes of a job begin, what they tell each other, and that one of them is gone.

A process by itself talks to nobody, and all of this is then nothing. Every call that waits for all must be made by all,
in the same order.
"""

import atexit
import contextlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from pbrl.errors import HostLost, RunError, Stopped, exit_code

UNANSWERED = re.compile(r"Gloo|NCCL|UNAVAILABLE|DEADLINE_EXCEEDED|[Bb]arrier|heartbeat")
"""In the runtime's errors, some of them `ValueError`; storage has errors of the same kinds."""
E = TypeVar("E", bound=Exception)


_broken: int | None = None
"""The code to leave with, once the job is."""


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Mark what all hosts do alike: where one of them fails in it by itself, the others are told by its leaving.

    An error that all of them raise (`agreed`) and `Stopped` end the job in order.
    """
    global _broken
    try:
        yield
    except BaseException as error:
        if not (alone() or isinstance(error, Stopped) or getattr(error, "agreed", False)):
            _broken = exit_code(error) or 1
        raise


def all_or_none(function: Callable[[], object]) -> None:
    """Call a function on every host; where it fails on some, raise the first of these errors on all."""
    mine = None
    try:
        function()
    except Exception as error:
        if alone():
            raise
        mine = error
    told = everyone(None if mine is None else [exit_code(mine), str(mine)])
    failed = [(i, *one) for i, one in enumerate(told) if one is not None]
    if failed:
        i, code, text = failed[0]
        error = mine or RunError(f"host {i}: {text}")
        error.exit_code = code or 1  # pyright: ignore[reportAttributeAccessIssue]
        raise agreed(error)


def agreed(error: E) -> E:
    """Return an error that all hosts raise at this point."""
    error.agreed = True  # pyright: ignore[reportAttributeAccessIssue]
    return error


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Raise `HostLost` where another host does not answer."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        if alone() or not UNANSWERED.search(reason):
            raise
        raise HostLost(
            f"another host of this job has ended or cannot be reached ({reason}); its own output says why. Start the "
            "same command again on all hosts: it resumes from the last checkpoint"
        ) from None


def start(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Join the processes of a job, one for each host; call it before anything else touches jax.

    Without arguments jax finds out by itself on TPU pods and under SLURM, Open MPI and Kubernetes. Elsewhere give
    `coordinator` (HOST:PORT of process 0), the number of `processes`, and which one this is, from 0. Training
    then gives every process its share of a run's seeds.

    Raises `RunError` where the job cannot be joined; a coordinator that does not answer is waited for five minutes.
    """
    given = (coordinator, processes, process)
    if any(x is None for x in given) and any(x is not None for x in given):
        raise RunError(f"hosts: expected a coordinator, the number of processes and this one's, or none, got {given}")
    if coordinator is not None:
        _await(coordinator, there=process == 0)
    jax.config.update("jax_enable_preemption_service", False)  # it would keep SIGTERM to itself
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (ValueError, RuntimeError) as error:
        raise RunError(
            f"this process cannot join a job of several hosts: {' '.join(str(error).split())[:300]}. Start it where "
            "jax knows the cluster (TPU pod, SLURM, Open MPI, Kubernetes), or give coordinator, processes and process"
        ) from None
    _meet()


def _await(coordinator: str, there: bool, seconds: float = 300.0) -> None:
    """Wait until a coordinator listens: jax itself would abort the process. It need not yet where it is `there`."""
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise RunError(f"coordinator: expected HOST:PORT, such as 10.0.0.1:8476, got {coordinator!r}")
    end = time.monotonic() + seconds
    while not there:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise RunError(f"nobody answers at the coordinator {coordinator} ({error}); start process 0") from None
            time.sleep(0.5)


def _meet() -> None:
    """Meet the others for the first time, while all are here: on CPUs that may take no longer than 30 s."""
    atexit.register(_leave)  # after jax's own, so before it
    everyone("is here")


def _leave() -> None:
    """End a broken job without jax' farewell, which would wait until the heartbeat of a host that is gone times out."""
    if _broken is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_broken)


def alone() -> bool:
    """Return whether this process trains by itself."""
    return jax.process_count() == 1


def is_first() -> bool:
    """Return whether this process writes what is written once: log, pictures, folders, the terminal."""
    return jax.process_index() == 0


def visible(path: Path, seconds: float = 60.0) -> bool:
    """Return whether a file that another host has written can be seen; network folders show it after a while."""
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


def everyone(message: Any) -> list[Any]:
    """Return the messages (JSON) that all processes pass to the same call, in their order; it waits for all.

    Raises `HostLost` where one does not come.
    """
    return [json.loads(text) for text in _exchange(json.dumps(message).encode())]


def everyones_arrays(arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Return the named arrays of all processes, to the bit; as `everyone`."""
    if alone():
        return [arrays]
    written = BytesIO()
    np.savez(written, **{str(i): x for i, x in enumerate(arrays.values())}, names=np.array(list(arrays), str))  # pyright: ignore
    found = []
    for text in _exchange(written.getvalue()):
        with np.load(BytesIO(text), allow_pickle=False) as read:
            found.append({str(name): read[str(i)] for i, name in enumerate(read["names"])})
    return found


def joined(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return arrays over all seeds `[N, ...]` from those over each process' own; numbers stay this process' own.

    A name that a process does not have reads NaN for its seeds.
    """
    mine = {name: np.asarray(x) for name, x in arrays.items()}
    parts = everyones_arrays(mine)
    if len(parts) == 1:
        return mine
    whole = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        there = next(part[name] for part in parts if name in part)
        if there.ndim:
            missing = np.full(there.shape, np.nan)
            whole[name] = np.concatenate([part.get(name, missing) for part in parts])
        else:
            whole[name] = mine.get(name, there)
    return whole


def _exchange(mine: bytes) -> list[bytes]:
    if alone():
        return [mine]
    from jax.experimental import multihost_utils

    with answered():
        sizes = np.asarray(multihost_utils.process_allgather(np.array(len(mine), np.int32)))
        padded = np.zeros(sizes.max(), np.uint8)
        padded[: len(mine)] = np.frombuffer(mine, np.uint8)
        rows = np.asarray(multihost_utils.process_allgather(padded))
    return [row[:size].tobytes() for row, size in zip(rows, sizes, strict=True)]
