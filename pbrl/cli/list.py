"""`pbrl list`: agents, presets, and environments by id."""

from collections.abc import Sequence

from pbrl import AGENTS
from pbrl.cli import words
from pbrl.envs.ids import BRAX, MAAC, MAGE, MBPO, POPLIN, TOY_IDS
from pbrl.presets import lookup

ENVIRONMENTS = {
    "MAGE's tasks, with known reward and termination": MAGE,
    "MBPO's tasks, with known termination": MBPO,
    "POPLIN's and PETS's tasks, with known reward; they never terminate": POPLIN,
    "MAAC's tasks, with known reward; they never terminate": MAAC,
    "toys in pure JAX, with known reward and termination": list(TOY_IDS),
    "Brax', by name and backend, such as": [f"{BRAX}halfcheetah-positional", f"{BRAX}reacher-spring"],
    "MuJoCo, in Gymnasium": [
        *("InvertedPendulum-v5", "InvertedDoublePendulum-v5", "Reacher-v5", "Pusher-v5", "Swimmer-v5"),
        *("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5", "HumanoidStandup-v5"),
    ],
    "classic control, in Gymnasium": ["Pendulum-v1", "MountainCarContinuous-v0"],
}


def command(argv: Sequence[str]) -> None:
    """Carry out `pbrl list` with the words after it, of which there should be none."""
    words.call(show, argv, "pbrl list")


def show() -> None:
    """Name the agents, some environments and the presets."""
    print("agents")
    for name, summary in AGENTS.items():
        print(f"  {name:8} {summary}")
    print("\npresets")
    for name, summary in lookup.SUMMARIES.items():
        print(f"  {name:8} {summary}")
    print("\nenvironments: any Gymnasium id with Box observations and actions, such as")
    for group, ids in ENVIRONMENTS.items():
        print(f"  {group}")
        for env_id in ids:
            print(f"    {env_id}")
