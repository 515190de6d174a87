"""What MuJoCo itself says of a step. Where a state is bad it warns, starts anew from its default, and goes on.

What comes back is finite, and no step of the dynamics: a teleport, and rewards to match. Its warning counters tell, and
so does its clock, which such a reset sets back. None of the counters rises on Gymnasium's tasks under random actions.
Those of full buffers are no teleport, but the step lacks the forces of what did not fit.
"""

import sys
from types import FunctionType, ModuleType
from typing import Any

import gymnasium
import numpy as np

DEPTH = 4  # how deep in attributes of attributes the simulator is looked for
MOST = 1_000  # objects looked at


class Simulator:
    """Watches the simulators of one live environment; nothing where it has none that Python can see."""

    def __init__(self, env: gymnasium.Env):
        self.env = env
        self.found: list[Any] = []
        self.counters: list[Any] = []
        self.times: list[float] = []

    def begin(self) -> None:
        """Look for the simulators, which a reset may have made anew, and set their warning counters to 0."""
        self.found = find(self.env)
        self.counters = [data.warning.number for data in self.found]  # live arrays
        for counter in self.counters:
            counter[:] = 0
        self.times = [data.time for data in self.found]

    def begun(self) -> str:
        """Return what went wrong in a reset; empty where nothing did. Steps may follow."""
        problem = "".join(_named(data.warning.number) for data in find(self.env) if any(data.warning.number.tolist()))
        self.begin()
        return problem

    def complaint(self) -> str:
        """Return what was wrong with the simulation since the last call or reset; empty where nothing was."""
        for counter in self.counters:
            if any(counter.tolist()):
                return _named(counter)
        before, self.times = self.times, [data.time for data in self.found]
        if any(now < then for now, then in zip(self.times, before, strict=True)):
            return "its simulator's clock went back, so that it has reset itself within the step"
        return ""


def find(env: gymnasium.Env) -> list[Any]:
    """Return the `mujoco.MjData` of an environment: its `data`, or else the nearest among its attributes'."""
    mujoco: Any = sys.modules.get("mujoco")
    if mujoco is None:
        return []
    level: list[Any] = [env]
    while isinstance(level[-1], gymnasium.Wrapper):
        level.append(level[-1].env)
    own = getattr(level[-1], "data", None)
    if isinstance(own, mujoco.MjData):
        return [own]
    seen = {id(each) for each in level}
    for _ in range(DEPTH):
        level = [value for each in level for value in _attributes(each)]
        if found := [value for value in level if isinstance(value, mujoco.MjData)]:
            return list({id(data): data for data in found}.values())
        level = [value for value in {id(x): x for x in level}.values() if id(value) not in seen][:MOST]
        seen |= {id(value) for value in level}
    return []


def _attributes(value: Any) -> list[Any]:
    """Return what an object holds, but for what is no part of it: classes, functions, modules."""
    if isinstance(value, type | ModuleType | FunctionType | np.ndarray | gymnasium.Space):
        return []
    return list(getattr(value, "__dict__", {}).values())


def _named(counter: Any) -> str:
    mujoco: Any = sys.modules["mujoco"]
    kinds = [kind.name for kind in list(mujoco.mjtWarning.__members__.values())[: len(counter)]]
    names = [kind.removeprefix("mjWARN_") for kind, count in zip(kinds, counter.tolist(), strict=True) if count]
    if names[0] in ("CONTACTFULL", "CNSTRFULL"):
        return f"MuJoCo's buffers are full ({names[0]}), so that forces are missing; give its model more memory"
    return (
        f"MuJoCo warned of a bad state ({', '.join(names)}), and may have reset itself within the step; "
        "take a smaller timestep, or weaker actuators"
    )
