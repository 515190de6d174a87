"""What a finished or interrupted run has learned: its policies, fresh evaluation episodes, and videos."""

import contextlib
import itertools
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.envs.gym import GymEnv
from pbrl.errors import EnvError, RunError
from pbrl.parallel import devices
from pbrl.planning import cem
from pbrl.planning import config as mpc
from pbrl.runs import checkpoint, seeding
from pbrl.runs.run import Run, agent_module, require_width
from pbrl.train.drivers import driver_module
from pbrl.train.evaluate import Evaluator
from pbrl.train.guard import Guard

Act = Callable[[np.ndarray, dict], jax.Array]
"""`(obs [N, *, S], extras) -> actions [N, *, A]` in [-1, 1], of all streams; `extras` as an oracle starts from them."""


def restore(run: Run, step: int | None = None) -> tuple[Any, int]:
    """Read the agents' states, with a leading axis over streams; as `restore_learner`."""
    learner, step = restore_learner(run, step)
    return jax.device_put(learner.agent), step


def restore_learner(run: Run, step: int | None = None) -> tuple[Any, int]:
    """Read the agents' states and buffers, stacked over streams, from the newest good checkpoint or that of `step`.

    Returns `(learner, step)`. Raises `CheckpointError` where there is no good one, `RunError` for a step without one.
    """
    require_width(run)
    folder = run.folder / "checkpoints"
    there = checkpoint.steps(folder)
    if step is not None and step not in there:
        raise RunError(f"{run.folder} has no checkpoint of step {step}; it has {', '.join(map(str, there)) or 'none'}")
    info, _ = checkpoint.read_info(folder, step=step)
    tree, _, step = checkpoint.restore(folder, driver_module(run).template(run, info["capacity"]), step=step)
    return tree["learner"], step


def policies(run: Run, state: Any) -> Act:
    """Return the modes of all streams' policies as one function."""
    agent, unused = agent_module(run.agent), jax.random.key(0)  # the mode draws nothing
    mode = jax.jit(jax.vmap(lambda one, obs: agent.act(one, obs, unused, explore=False)))
    return lambda obs, _: mode(state, obs)


def planners(run: Run, state: Any, step: int, config: mpc.Config) -> Act:
    """Return what all streams do when they plan, as one function of `obs [N, E, S]` and extras, one compiled program.

    Keys derive from (seed, step, call): the same calls in the same order give the same actions. Streams share the
    device as in training, the episodes of each are planned for at once.
    """
    agent, calls, over = agent_module(run.agent), itertools.count(), partial(devices.over_seeds, mode=run.seed_mode)

    @jax.jit
    def plan(state: Any, obs: jax.Array, extras: dict, call: int) -> jax.Array:
        def one(state: Any, obs: jax.Array, extras: dict, seed: jax.Array) -> jax.Array:
            key = jax.random.fold_in(seeding.at(seeding.root(seed), step, seeding.PLAN), call)
            keys = jax.random.split(key, len(obs))
            act = partial(cem.act, agent, state)
            return jax.vmap(lambda obs, extras, key: act(obs, key, config, extras))(obs, extras, keys)

        return over(one)(state, obs, extras, jnp.asarray(run.stream_seeds, jnp.uint32))

    return lambda obs, extras: plan(state, obs, extras, next(calls))


def evaluate(run: Run, act: Act, step: int, episodes: int) -> dict[str, np.ndarray]:
    """Play whole episodes that no evaluation of the run has seen; return `eval/return` and `eval/length`, `[N]`.

    The same step and number of episodes mean the same first states, whatever acts.
    """
    evaluator = Evaluator(lambda: GymEnv(run.env), run.stream_seeds, episodes, extras=bool(run.oracle))
    guard = Guard(run)
    try:
        scores = evaluator.run(lambda *seen: guard.actions(np.asarray(act(*seen)), step), seeding.FRESH + step)
        return guard.mask(scores)  # a trial of a sweep whose policy has diverged scores NaN
    finally:
        evaluator.close()


def record(run: Run, state: Any, step: int, seed_index: int, episodes: int, out: Path) -> list[float]:
    """Film whole episodes of one seed's policy as an mp4 (one stream's, of a sweep); return their returns.

    Raises `RunError` where a package that writes or renders is missing, with the command that installs it.
    """
    n, streams = len(run.stream_seeds), "streams (trial 0's seeds, then trial 1's, ...)" if run.trials else "seeds"
    if not 0 <= seed_index < n:
        raise RunError(f"--seed-index: the run has {n} {streams}, so expected 0 to {n - 1}")
    if not (find_spec("imageio") and find_spec("imageio_ffmpeg")):
        raise RunError("writing a video needs imageio with ffmpeg: pip install -e '.[video]' in pbrl's folder")
    import imageio.v2 as imageio

    act = policies(run, jax.tree.map(lambda x: x[seed_index : seed_index + 1], state))
    env, returns = _filmed(run.env), []
    with contextlib.closing(env), imageio.get_writer(out, fps=env.frames_per_second, macro_block_size=2) as writer:
        for episode in range(episodes):
            obs = env.reset(seeding.episode_seed(run.stream_seeds[seed_index], seeding.FRESH + step, episode))
            returns.append(0.0)
            over = False
            while not over:
                writer.append_data(_frame(env))  # pyright: ignore[reportAttributeAccessIssue]
                obs, reward, terminated, truncated = env.step(np.asarray(act(obs[None], {}))[0])
                returns[-1] += reward
                over = terminated or truncated
    return returns


def _filmed(env_id: str) -> GymEnv:
    """Make an environment that renders, with MuJoCo's camera that follows the robot, where there is one."""
    try:
        return GymEnv(env_id, render=True, camera_name="track")
    except EnvError:  # no MuJoCo task
        return GymEnv(env_id, render=True)


def _frame(env: GymEnv) -> np.ndarray:
    try:
        return env.render()
    except Exception as error:  # renderers raise many kinds: a package, a driver or a screen is missing
        raise RunError(f"{env.env_id} cannot be rendered: {' '.join(str(error).split())}") from error
