"""What a return is to be compared with: random actions, and what Gymnasium calls solved."""

import contextlib
from dataclasses import dataclass, replace

import numpy as np

from pbrl.cli.display import counted, spread
from pbrl.envs.ids import TOY_IDS
from pbrl.errors import EnvError
from pbrl.runs.log import read_rows
from pbrl.runs.run import Run

RANDOM = "random actions"


@dataclass(frozen=True)
class Reference:
    """Returns of whole episodes of random actions, none where they are not known, and Gymnasium's threshold."""

    random: tuple[float, ...] = ()
    threshold: float | None = None

    def __str__(self) -> str:
        """Say what there is, as one line; empty for nothing."""
        parts = []
        if self.random:
            parts.append(f"{RANDOM} {spread(np.array(self.random))} ({counted(len(self.random), 'episode')})")
        if self.threshold is not None:
            parts.append(f"Gymnasium calls {self.threshold:g} solved")
        return "; ".join(parts)

    def judge(self, returns: np.ndarray) -> str:
        """Say how the mean of seeds' `returns` compares with random episodes; empty where it cannot be said."""
        there = np.asarray(returns, float)[np.isfinite(returns)]
        if not there.size or not self.random:
            return ""
        if there.mean() > max(self.random):
            return f"above every episode of {RANDOM}"
        within = there.mean() >= min(self.random)
        return f"among episodes of {RANDOM}: no better yet" if within else f"below every episode of {RANDOM}"


def of(run: Run) -> Reference:
    """Measure random play within about two seconds, in an environment of its own.

    Left out where there may be but one environment, where one can hang, and where one takes long to compile.
    """
    import gymnasium

    from pbrl.diagnose import random_play
    from pbrl.envs import registry

    name = run.env.rpartition(":")[2]
    threshold = gymnasium.registry[name].reward_threshold if run.standard and name in gymnasium.registry else None
    costly = registry.is_jax(run.env) and name not in TOY_IDS
    if costly or run.schedule.eval_on_training_env or run.schedule.step_timeout:
        return Reference((), threshold)
    with contextlib.suppress(EnvError), contextlib.closing(run.make_env()) as env:  # training will tell what is wrong
        return Reference(tuple(random_play.returns(env)), threshold)
    return Reference((), threshold)


def recorded(run: Run, known: Reference) -> Reference:
    """Return `known`, with episodes of the warm-up from the log where random play was not measured."""
    if known.random:
        return known
    rows = [row for row in read_rows(run.folder, "train") if row["step"] <= run.schedule.warmup_steps]
    returns = np.array([row["train/return"] for row in rows if "train/return" in row], float).ravel()
    return replace(known, random=tuple(returns[np.isfinite(returns)].tolist()))
