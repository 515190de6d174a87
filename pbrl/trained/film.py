"""Filming a trained policy: whole episodes as an mp4."""

import contextlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pbrl.envs import registry
from pbrl.envs.gym import GymEnv
from pbrl.errors import EnvError, RunError
from pbrl.runs.run import Run
from pbrl.runs.seeding import FRESH, episode_seed
from pbrl.trained import restore
from pbrl.trained.play import policies


def require(run: Run, seed_index: int) -> None:
    """Raise `RunError` for a seed that is not there, for what cannot be filmed, and for want of a package.

    The last with the command that installs it.
    """
    restore.require_stream(run, seed_index)
    if run.factory is None and registry.is_jax(run.env) and registry.find(run.env).picture is None:
        raise RunError(
            f"{run.env} cannot be filmed: its functions in JAX have no picture of a state; give JaxEnv one with "
            "`picture`, see docs/device.md"
        )
    if not (find_spec("imageio") and find_spec("imageio_ffmpeg")):
        raise RunError("writing a video needs imageio with ffmpeg: pip install -e '.[video]' in pbrl's folder")


def record(
    run: Run,
    state: Any,
    step: int,
    seed_index: int,
    episodes: int,
    out: Path,
    show: Callable[[str], object] = lambda words: None,
) -> list[float]:
    """Film whole episodes of one seed's policy as an mp4 (one stream's, of a sweep); return their returns.

    `show` is told of every frame. Raises as `require`.
    """
    require(run, seed_index)
    import imageio.v2 as imageio

    act = policies(run, jax.tree.map(lambda x: x[seed_index : seed_index + 1], state))
    env, returns = _filmed(run), []
    with contextlib.closing(env), imageio.get_writer(out, fps=env.frames_per_second, macro_block_size=2) as writer:
        for episode in range(episodes):
            obs = env.reset(episode_seed(run.stream_seeds[seed_index], FRESH + step, episode))
            returns.append(0.0)
            frame, over = 0, False
            while not over:
                frame += 1
                show(f"episode {episode + 1} of {episodes}: frame {frame} of at most {env.spec.episode_length}")
                writer.append_data(env.render())  # pyright: ignore[reportAttributeAccessIssue]
                obs, reward, terminated, truncated = env.step(np.asarray(act(obs[None], {}))[0])
                returns[-1] += reward
                over = terminated or truncated
    return returns


def _filmed(run: Run) -> GymEnv:
    """Make an environment that renders, with MuJoCo's camera that follows the robot, where there is one."""
    try:
        return run.make_env(render=True, camera_name="track")
    except EnvError:  # no MuJoCo task
        return run.make_env(render=True)
