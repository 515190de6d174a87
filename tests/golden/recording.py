"""Numbers that hold what every agent computes: `python tests/golden/recording.py [AGENT ...]` writes `<agent>.json`.

From a fixed seed and fixed batches, in float64: statistics, two model steps, ten updates, and what the agent makes of
it (actions, values, imagined transitions). Kept are metrics and two sums of each parameter group, plain and weighted,
so that neither a changed formula nor two exchanged entries pass. Another release of jax moves them by rounding alone.
"""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
from small_agents import ORACLE, SPEC, UNKNOWN, config, module, transitions

HERE = Path(__file__).parent
UPDATES, MODEL_STEPS, ROWS = 10, 2, 32
RTOL = 1e-7
"""Of float64 through ten updates; float32 rounding would be 1e-4."""

VARIANTS = {
    "mage": {
        "default": {},
        "learned": {"spec": UNKNOWN},
        "learned_reward": {"learn_reward": True},
        "ddpg": {"critics": 1, "policy_delay": 1},
        "oracle": {"oracle": ORACLE},
    },
    "dyna": {"default": {}},
    "td3": {"default": {}},
    "sac": {
        "default": {},
        "entropy_schedule": {"initial_entropy": 1.0, "final_entropy": -3.0, "entropy_steps": 1e3},
        "categorical": {
            "critic": "categorical",
            "atoms": 21,
            "actor_every": 3,
            "final_lr": 1e-5,
            "lr_steps": 1e3,
            "normalize_obs": False,
        },
    },
    "svg": {
        "default": {},
        "mve": {"critic": "mve"},
        "ensemble": {"dynamics": "ensemble"},
        "warmup": {"actor_warmup": 1e9},
        "oracle": {"oracle": ORACLE, "critic": "mve"},
    },
    "maac": {
        "start": {"branch": "start"},
        "end": {"branch": "end"},
        "path": {"entropy": "path"},
        "oracle": {"oracle": ORACLE},
    },
    "dhmbpo": {
        "default": {},
        "plain": {"bound_values": False, "scale_values": False, "critics": 2, "target_subset": 0},
    },
    "mbpo": {"default": {"elites": 3, "learn_reward": True}},
    "steve": {"default": {"elites": 3}},
    "svg1": {"default": {"ensemble_size": 3, "elites": 2}},
}


def batches(count: int, *shape: int):
    """Batches `[count, *shape]` of real transitions, with the density of their actions for agents that remember it."""
    rows = transitions(count, *shape, seed=7)
    return replace(rows, extras={"log_prob": jnp.linspace(-3.0, 0.0, rows.reward.size).reshape(rows.reward.shape)})


def run(name: str, spec=SPEC, oracle=None, **changes) -> dict:
    """Return all numbers of one variant, as arrays; jit it."""
    agent, keys = module(name), jax.random.split(jax.random.key(5), 6)
    state = agent.init(keys[0], spec, config(name, **changes), oracle=oracle)
    state = agent.observe(state, jax.tree.map(lambda x: x[0], batches(1, 64)))
    members = getattr(state.config, "ensemble_size", 1)  # windows of SVG are as long, which it does not mind
    scan = lambda function, state, key, data: jax.lax.scan(  # noqa: E731
        lambda state, inputs: function(state, *inputs), state, (data, jax.random.split(key, data.reward.shape[0]))
    )
    state, model = scan(agent.update_model, state, keys[1], batches(MODEL_STEPS, members, ROWS))
    found = {}
    if hasattr(agent, "choose_elites") and oracle is None:
        judged = agent.model_losses(state, jax.tree.map(lambda x: x[0], batches(1, members, ROWS)))
        state = agent.choose_elites(state, judged)
        found["held_out"] = {"losses": judged}
    state, metrics = scan(agent.update, state, keys[2], batches(UPDATES, ROWS))
    batch = jax.tree.map(lambda x: x[0], batches(1, ROWS))
    acts = {str(explore): agent.act(state, batch.obs, keys[3], explore=explore) for explore in (False, True)}
    found["act"] = acts
    if hasattr(agent, "value"):
        found["value"] = {"q": agent.value(state, batch.obs, batch.action)}
        mean, std = agent.distribution(state, batch.obs)
        found["distribution"] = {"mean": mean} if std is None else {"mean": mean, "std": std}
    if hasattr(agent, "imagine"):
        found["imagined"] = dict(zip(("now", "next"), agent.imagine(state, batch, keys[4]), strict=True))
    if hasattr(agent, "remember"):
        found["remembered"] = agent.remember(state, batch)
    groups = {f"ac.{group}": tree for group, tree in vars(state.ac).items()} | {"stats": state.stats}
    if getattr(state, "returns", None) is not None:
        groups["returns"] = state.returns
    if getattr(state, "world", None) is not None:
        groups |= {f"world.{group}": tree for group, tree in vars(state.world).items() if group != "elites"}
    groups = {name: tree for name, tree in groups.items() if jax.tree.leaves(tree)}
    sums = lambda tree: jax.tree.map(_sums, tree, is_leaf=lambda x: x is not tree)  # noqa: E731
    return {
        "model": {key: value[-1] for key, value in model.items()},
        "first": {key: value[0] for key, value in metrics.items()},
        "last": {key: value[-1] for key, value in metrics.items()},
        "made": {what: sums(tree) for what, tree in found.items()},
        "state": sums(groups),
    }


def _sums(tree):
    """Return the plain and the weighted sum over all numbers of a tree, `[2]`."""
    flat = jnp.concatenate([jnp.ravel(x).astype(float) for x in jax.tree.leaves(tree)])
    return jnp.stack([flat.sum(), (flat * jnp.cos(jnp.arange(flat.size))).sum()])


def numbers(name: str, variant: str) -> dict:
    """Compute a variant's numbers as JSON holds them; jax must be in float64."""
    found = jax.jit(partial(run, name, **VARIANTS[name][variant]))()
    return jax.tree.map(lambda x: np.asarray(x).tolist(), found)


def differences(recorded, found, where: str = "") -> list[str]:
    """Return a line for every number that is not the recorded one within `RTOL`, and for what only one of them has."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        lines = [f"{where}/{name}: only in one of them" for name in sorted(recorded.keys() ^ found.keys())]
        both = (name for name in recorded if name in found)
        return lines + [line for name in both for line in differences(recorded[name], found[name], f"{where}/{name}")]
    same = np.allclose(recorded, found, rtol=RTOL, atol=1e-10)
    return [] if same else [f"{where}: recorded {recorded}, found {found}"]


def main(names: list[str]) -> None:
    """Write the files of these agents, or of all."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    for name in names or VARIANTS:
        content = {variant: numbers(name, variant) for variant in VARIANTS[name]}
        (HERE / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
        print(f"{name}: {', '.join(content)}")


if __name__ == "__main__":
    main(sys.argv[1:])
