"""What a finished or interrupted run has learned: its policies, fresh evaluation episodes, and videos."""

import contextlib
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pbrl import checkpoint
from pbrl.envs.gym import EnvError, GymEnv
from pbrl.train.evaluate import Evaluator, episode_seed
from pbrl.train.guard import Guard
from pbrl.train.host import Programs
from pbrl.train.run import Run, RunError, agent_module
from pbrl.train.streams import Streams

FRESH_STREAM = 1 << 32
"""Added to the step that seeds an episode: no training run's own evaluations get that far."""


def restore(run: Run, step: int | None = None) -> tuple[Any, int]:
    """Read the agents' states, with a leading axis over streams, from the newest good checkpoint or that of `step`.

    Returns `(state, step)`. Raises `CheckpointError` where there is no good one, `RunError` for a step without one.
    """
    folder = run.folder / "checkpoints"
    there = checkpoint.steps(folder)
    if step is not None and step not in there:
        raise RunError(f"{run.folder} has no checkpoint of step {step}; it has {', '.join(map(str, there)) or 'none'}")
    info, _ = checkpoint.read_info(folder, step=step)
    streams = Streams.start(run.env, run.stream_seeds)
    learner = jax.eval_shape(partial(Programs(run, streams.envs[0].spec).start, info["capacity"]))
    tree, _, step = checkpoint.restore(folder, {"learner": learner, "streams": streams.snapshot()}, step=step)
    streams.close()
    return jax.device_put(tree["learner"].agent), step


def policies(run: Run, state: Any) -> Callable[[np.ndarray], jax.Array]:
    """Return the modes of all streams' policies as one function: `obs [N, *, S] -> actions [N, *, A]` in [-1, 1]."""
    agent, unused = agent_module(run.agent), jax.random.key(0)  # the mode draws nothing
    mode = jax.jit(jax.vmap(lambda one, obs: agent.act(one, obs, unused, explore=False)))
    return partial(mode, state)


def evaluate(run: Run, state: Any, step: int, episodes: int) -> dict[str, np.ndarray]:
    """Play whole episodes that no evaluation of the run has seen; return `eval/return` and `eval/length`, `[N]`."""
    evaluator = Evaluator(lambda: GymEnv(run.env), run.stream_seeds, episodes)
    act, guard = policies(run, state), Guard(run)  # a trial of a sweep whose policy has diverged scores NaN
    try:
        return guard.mask(evaluator.run(lambda obs: guard.actions(np.asarray(act(obs)), step), FRESH_STREAM + step))
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
            obs = env.reset(episode_seed(run.stream_seeds[seed_index], FRESH_STREAM + step, episode))
            returns.append(0.0)
            over = False
            while not over:
                writer.append_data(_frame(env))  # pyright: ignore[reportAttributeAccessIssue]
                obs, reward, terminated, truncated = env.step(np.asarray(act(obs[None]))[0])
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
