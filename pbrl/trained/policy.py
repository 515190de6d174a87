"""A trained policy as a function of observations, in the environment's own units: what one takes home from a run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.errors import RunError
from pbrl.runs import record
from pbrl.runs.run import Run, agent_module
from pbrl.trained import restore
from pbrl.trained.restore import Acting, Step
from pbrl.types import Key, width


def load(run: str | Path, *, step: Step = None, seed: int | None = None, trust: Iterable[str] = ()) -> "Policy":
    """Read the policy of a run's folder. It needs neither the environment nor its package.

    Args:
        run: The folder that `pbrl train` made.
        step: The checkpoint of this step; "best": each seed's best by the run's evaluations; by default the newest.
        seed: One of the run's seeds. By default all of them: with several, actions have a leading axis over them.
        trust: The module of an environment `MODULE:ID`, for a folder of an earlier pbrl alone, which did not store
            the bounds of actions, so that the environment has to be made for them.

    Raises:
        RunError: for what is no run, for a seed that it does not have, and for a policy that is not finite.
        CheckpointError: where no checkpoint is good.
    """
    it = record.run_of(Path(run))
    index = None if seed is None else _index(it, seed)
    return Policy(it, restore.policies(it, step, trust), index)


class Policy:
    """A trained policy: `policy(obs) -> action`.

    Attributes:
        run: what was trained, with its agent, environment and hyper-parameters.
        seeds: whose policies act, one or several.
        step: environment steps of training behind it; of several seeds' best policies a tuple, one for each.
        spec: sizes of observation and action, and the length of an episode.
        low, high: the environment's own bounds of actions, float[A] each.
        several: whether actions have a leading axis over `seeds`.
    """

    def __init__(self, run: Run, acting: Acting, index: int | None = None):
        """Take what `restore.policies` read, of all streams, or of the one at `index`. Raises as `load`."""
        which = slice(None) if index is None else slice(index, index + 1)
        self.run, self.seeds, self.spec = run, run.stream_seeds[which], acting.layout.spec
        steps = tuple(int(x) for x in acting.steps[which])
        self.step = steps[0] if len(set(steps)) == 1 else steps
        self.several = len(self.seeds) > 1
        self.low, self.high = (np.asarray(x, width()) for x in (acting.layout.low, acting.layout.high))
        state = jax.tree.map(lambda x: x[which], acting.state)
        _refuse_unsound(state, self.seeds)
        self.state = jax.device_put(state)
        """What acting reads of the agents' states, `[N, ...]`; `None` for the rest."""
        self._mode, self._draw = jax.jit(self._modes), jax.jit(self._draws)

    def __call__(self, obs: Any, *, explore: bool = False, key: Key | None = None) -> Any:
        """Map `obs [*, S]` to actions `[*, A]` within the environment's bounds; of several seeds `[N, *, A]`.

        The policy's mode, or with `explore` a draw by `key`, as in training. NumPy in, NumPy out; JAX arrays stay
        JAX's, so that it may be called within `jit` and `vmap`. Each new number of rows compiles once. Raises
        `ValueError` for another shape, and for a number that is not finite.
        """
        given = isinstance(obs, jax.Array)
        obs = obs if given else np.asarray(obs, width())
        if obs.ndim == 0 or obs.shape[-1] != self.spec.obs_size:
            raise ValueError(
                f"expected observations of {self.run.env}, [..., {self.spec.obs_size}], got {list(obs.shape)}"
            )
        if not given and not np.isfinite(obs).all():
            raise ValueError(f"the observation holds {obs[~np.isfinite(obs)][0]}, and no policy knows what that means")
        if explore != (key is not None):
            raise ValueError(
                "to explore takes both: policy(obs, explore=True, key=jax.random.key(...)), a new key each"
            )
        rows = obs.reshape(-1, self.spec.obs_size)
        actions = self._draw(self.state, rows, key) if explore else self._mode(self.state, rows)
        actions = actions.reshape(*actions.shape[: int(self.several)], *obs.shape[:-1], self.spec.action_size)
        return actions if given else np.asarray(actions)

    def _modes(self, state: Any, rows: jax.Array) -> jax.Array:
        agent, unused = agent_module(self.run.agent), jax.random.key(0)  # the mode draws nothing
        return self._scaled(jax.vmap(lambda one: agent.act(one, rows, unused, explore=False))(state))

    def _draws(self, state: Any, rows: jax.Array, key: Key) -> jax.Array:
        agent, keys = agent_module(self.run.agent), jax.random.split(key, len(self.seeds))
        return self._scaled(jax.vmap(lambda one, key: agent.act(one, rows, key, explore=True))(state, keys))

    def _scaled(self, actions: jax.Array) -> jax.Array:
        """Map `[N, B, A]` in [-1, 1] to the environment's bounds, without the axis of a single seed."""
        low, high = (x.reshape(1, 1, -1) for x in (self.low, self.high))
        scaled = low + 0.5 * (jnp.clip(actions, -1.0, 1.0) + 1.0) * (high - low)
        scaled = jnp.clip(scaled, low, high)  # rounding may lead out of them
        return scaled if self.several else scaled[0]


def _index(run: Run, seed: int) -> int:
    if run.trials:
        raise RunError(
            f"{run.folder} is a sweep; leave seed out, and take an index of the leading axis: trials × seeds"
        )
    if seed not in run.seeds:
        raise RunError(f"{run.folder} has no seed {seed}; it has {', '.join(map(str, run.seeds))}")
    return run.seeds.index(seed)


def _refuse_unsound(state: Any, seeds: tuple[int, ...]) -> None:
    """Raise `RunError` for a state `[N, ...]` of which some seed's numbers are not finite."""
    sound = np.ones(len(seeds), bool)
    for leaf in jax.tree.leaves(state):
        sound &= np.isfinite(leaf).reshape(len(seeds), -1).all(1)
    if not sound.all():
        bad = [seed for seed, is_sound in zip(seeds, sound, strict=True) if not is_sound]
        raise RunError(f"the policy of seeds {bad} is not finite, since training diverged; name another by seed=")
