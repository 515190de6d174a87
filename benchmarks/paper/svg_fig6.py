"""SVG, Fig. 6: the target-entropy schedules (eq. 14) of every task, as released and as Table 4 prints them.

    python benchmarks/paper/svg_fig6.py

Writes benchmarks/results/svg-fig6.{csv,png}. Nothing trains: the lines are `target_entropy` under the presets.
"""

import csv
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from pbrl import config as configs
from pbrl.agents import sac
from pbrl.agents.parts import soft
from pbrl.presets import lookup

RESULTS = Path(__file__).parents[1] / "results"
EXPONENTS = (0.25, 0.5, 1.0, 2.0, 4.0, 16.0)  # of Fig. 6, which does not print them
TASKS = sorted(
    env for env in lookup.PRESETS["paper"]["sac"] if env.startswith(("pbrl/Mbpo", "pbrl/Poplin", "pbrl/Pets"))
)


def schedule(preset: str, env: str, points: int = 201) -> tuple[np.ndarray, np.ndarray]:
    """Return environment steps and target entropies of a task over its run."""
    changes = {k.removeprefix("config."): v for k, v in lookup.preset(preset, "sac", env).items() if "config." in k}
    config = configs.override(sac.Config(), changes)
    steps = np.linspace(0.0, config.entropy_steps, points)
    return steps, np.asarray(soft.target_entropy(configs.cast(config), jnp.asarray(steps)))


def main() -> None:
    """Write the table and draw the picture."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    RESULTS.mkdir(exist_ok=True)
    figure = Figure(figsize=(13, 9))
    axes = figure.subplots(3, 4)
    with open(RESULTS / "svg-fig6.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["env", "preset", "step", "target_entropy"])
        for axis, env in zip(axes.flat, TASKS, strict=False):
            for preset, style in (("paper", "-"), ("paper-text", "--")):
                steps, entropy = schedule(preset, env)
                writer.writerows(
                    [env, preset, int(t), f"{h:.4f}"] for t, h in zip(steps[::10], entropy[::10], strict=True)
                )
                axis.plot(steps, entropy, style, label="released" if preset == "paper" else "Table 4")
            axis.set_title(env.removeprefix("pbrl/").removesuffix("-v0"), fontsize=10)
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            axis.grid(alpha=0.25)
    axis, steps = axes.flat[len(TASKS)], jnp.linspace(0.0, 1e6, 201)
    for beta in EXPONENTS:
        example = sac.Config(initial_entropy=0.0, final_entropy=-10.0, entropy_decay=beta, entropy_steps=1e6)
        axis.plot(steps, soft.target_entropy(example, steps), label=f"β = {beta:g}")
    axis.set_title("Fig. 6: from 0 to -10", fontsize=10)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.grid(alpha=0.25)
    axis.legend(fontsize=7)
    axes.flat[0].legend()
    figure.supxlabel("environment steps")
    figure.supylabel("target entropy of the whole action (nats)")
    figure.tight_layout()
    figure.savefig(RESULTS / "svg-fig6.png", dpi=110)
    print(RESULTS / "svg-fig6.png")


if __name__ == "__main__":
    main()
