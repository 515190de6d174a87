"""Watch a policy that has been trained: one episode, filmed, in a minute and without training.

    python examples/watch.py                                        # SVG(2) runs, to svg-HalfCheetah.gif
    python examples/watch.py examples/policies/svg-HalfCheetah --seconds 20 --out cheetah.mp4     # or mp4: pbrl[video]
    python examples/watch.py examples/policies/svg-HalfCheetah --live                             # in a window

The policies beside this file are small and in NumPy's format; `pbrl export RUN --out DIR` writes yours like them.
"""

import argparse
from pathlib import Path

import gymnasium
import imageio.v2 as imageio
import numpy as np

import pbrl.envs  # noqa: F401  # registers pbrl's tasks with Gymnasium
from pbrl.trained.numpy_policy import Policy

FIRST = Path(__file__).parent / "policies" / "svg-HalfCheetah"


def main() -> None:
    """Play one episode, and film what is asked for of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", nargs="?", type=Path, default=FIRST, help="a folder that `pbrl export` wrote")
    parser.add_argument("--out", type=Path, help="the film, .gif or .mp4; by default NAME.gif here")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the film")
    parser.add_argument("--width", type=int, default=320, help="of the film in pixels; its height is three quarters")
    parser.add_argument("--seed", type=int, default=0, help="of the episode")
    parser.add_argument("--live", action="store_true", help="in a window instead; needs a screen")
    args = parser.parse_args()
    if not (args.policy / "policy.json").exists():
        parser.error(f"{args.policy} holds no policy.json; expected a folder that `pbrl export RUN --out DIR` wrote")
    policy = Policy(args.policy)
    size = {"width": args.width, "height": args.width * 3 // 4, "camera_name": "track"}
    env = gymnasium.make(policy.about["env"], render_mode="human" if args.live else "rgb_array", **size)
    rate = float(env.metadata["render_fps"])
    every = max(1, round(rate / 20))  # a GIF of twenty pictures a second is small, and browsers keep its pace
    (obs, _), frames, total, step, over = env.reset(seed=args.seed), [], 0.0, 0, False
    while not over:
        if not args.live and step % every == 0 and step < args.seconds * rate:
            frames.append(np.asarray(env.render()))
        obs, reward, terminated, truncated, _ = env.step(policy(obs))
        total, step, over = total + float(reward), step + 1, terminated or truncated
    env.close()
    print(f"{policy.about['agent']} on {policy.about['env']}: return {total:.0f}")
    if not args.live:
        out = args.out or Path(f"{args.policy.name}.gif")
        imageio.mimsave(out, frames, fps=rate / every)
        print(f"{out}: {len(frames)} pictures")


if __name__ == "__main__":
    main()
