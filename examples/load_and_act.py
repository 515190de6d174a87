"""Act with what a run has learned, in Gymnasium's own loop.

    python examples/load_and_act.py RUN [SEED]     # seconds; RUN is the folder that `pbrl train` made

It prints the return of three fresh episodes.
"""

import sys

import gymnasium

import pbrl
import pbrl.envs  # registers pbrl's own ids, such as pbrl/MagePendulum-v0


def main(run, seed=0, episodes=3):
    """Play whole episodes with one seed's policy, and return their returns."""
    policy = pbrl.load(run, seed=seed)
    env = gymnasium.make(policy.run.env)
    returns = []
    for episode in range(episodes):
        (obs, _), total, over = env.reset(seed=episode), 0.0, False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(policy(obs))  # raw observation in, the env's action out
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
        print(f"episode {episode}: return {total:.1f}, by the policy of step {policy.step}")
    env.close()
    return returns


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
