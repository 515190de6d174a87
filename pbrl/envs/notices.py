"""Two notices that a run can do nothing about, kept off the screen; every other warning comes through."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

NOTICE = "compiler attribute 'settotalmass' is deprecated"


@contextlib.contextmanager
def cheetah() -> Iterator[None]:
    """Drop, while a HalfCheetah is made, the notice that Gymnasium's `half_cheetah.xml` uses a deprecated attribute.

    MuJoCo prints it for each model that it compiles, and adds it to `MUJOCO_LOG.TXT` in the working directory.
    """
    mujoco: Any = importlib.import_module("mujoco")  # here, as it takes time; `Any`, as its stubs lack these functions
    before = mujoco.get_mju_user_warning()

    def pass_on(message: str) -> None:
        if message.startswith(NOTICE):
            return
        if before is not None:
            before(message)
        else:  # what MuJoCo does where no handler is set
            print(f"WARNING: {message}\n", file=sys.stderr)
            mujoco.mju_writeLog("WARNING", message)

    mujoco.set_mju_user_warning(pass_on)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


@contextlib.contextmanager
def mjx() -> Iterator[None]:
    """Drop, while MJX or Brax is imported, what MJX prints of an optional backend that is not installed."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
        yield
