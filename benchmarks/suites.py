"""The suites of learning curves: which agents on which tasks, at which sizes, how long and how often."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pbrl.presets import lookup, overrides
from pbrl.runs.placement import default_seed_mode
from pbrl.runs.run import Run, agent_module
from pbrl.runs.schedule import Schedule


@dataclass(frozen=True)
class Row:
    """One curve: an agent on a task with changes to its preset."""

    label: str
    agent: str
    env: str
    changes: dict[str, Any] = field(default_factory=dict)
    oracle: str = ""
    driver: str = "host"
    suite: str = ""
    """The suite that trains it, where another does: the same runs then serve both."""
    seeds: int = 0
    """Fewer than the suite's; 0 takes as many."""


@dataclass(frozen=True)
class Suite:
    """Curves that belong in one picture."""

    rows: tuple[Row, ...]
    preset: str
    steps: int
    seeds: int
    eval_every: int
    title: str
    alone: bool = False
    """A run for each seed: of a long suite that is interrupted, single seeds are finished."""


MUJOCO = ("HalfCheetah", "Hopper", "Walker2d", "Swimmer", "Pusher")
PENDULUM, CARTPOLE = "pbrl/MagePendulum-v0", "pbrl/MageCartPole-v0"


def against_baselines(*envs: str) -> tuple[Row, ...]:
    """MAGE and the paper's three baselines (Fig. 2) on each task."""
    return tuple(
        row
        for env in envs
        for row in (
            Row("MAGE", "mage", env),
            Row("Dyna-TD3", "dyna", env),
            Row("TD3 ×10", "td3", env, {"schedule.updates_per_step": 10}),
            Row("TD3", "td3", env, {"schedule.updates_per_step": 1}),
        )
    )


def svg_and_sac(*envs: str) -> tuple[Row, ...]:
    """SVG(2) and the same code without the model."""
    return tuple(row for env in envs for row in (Row("SVG(2)", "svg", env), Row("SAC", "sac", env)))


def svg_and_mve(*envs: str) -> tuple[Row, ...]:
    """SVG(2), the same code without the model, and with the model in the critic instead of the actor (Fig. 4)."""
    mve = {"config.actor": "sac", "config.critic": "mve"}
    return tuple(row for env in envs for row in (*svg_and_sac(env), Row("MVE critic", "svg", env, mve)))


def horizons(*envs: str, steps: tuple[int, ...] = (0, 1, 2, 4, 8)) -> tuple[Row, ...]:
    """SVG(H) for the horizons of Table 2; SVG(0) is SAC."""
    return tuple(Row(f"H = {h}", "svg", env, {"config.horizon": h}) for env in envs for h in steps)


# As near to the paper's settings as small networks allow: the preset `cpu` of MAAC leaves out what did not pay there.
ALL_PARTS = {
    "config.samples": 2,
    "config.entropy": "first",
    "config.target_horizon": 2,
    "config.target_members": 3,
    "config.critics": 4,
}
PAPERS_DATA = {"schedule.updates_per_step": 2, "schedule.real_fraction": 0.05}


DIAGNOSED = {"schedule.diagnose_every": 500}  # of learned models: the truth would be compared with itself


def learned_and_true(env: str, driver: str = "host") -> tuple[Row, ...]:
    """Each paper's agent with its learned model, and with the environment's own dynamics in its place."""
    agents = {
        "MAGE": ("mage", {}),
        "SVG(2)": ("svg", {}),
        "MAAC": ("maac", ALL_PARTS | PAPERS_DATA),
        "SVG(10)": ("svg", {"config.horizon": 10}),
    }
    return tuple(
        row
        for label, (agent, changes) in agents.items()
        for row in (
            Row(f"{label}, learned", agent, env, changes | DIAGNOSED, driver=driver),
            Row(f"{label}, true dynamics", agent, env, changes, "fidelity", driver),
        )
    )


def termination_stopped(env: str, driver: str = "host") -> tuple[Row, ...]:
    """SVG with a learned model whose terminations have no slope, as those of the true dynamics have none."""
    stopped = {"config.termination_gradient": False} | DIAGNOSED
    return tuple(
        Row(f"SVG({h}), learned without termination slope", "svg", env, {"config.horizon": h} | stopped, driver=driver)
        for h in (2, 10)
    )


def small_and_whole(*envs: str) -> tuple[Row, ...]:
    """MAAC with all of its parts and its baselines, two updates a step for each that has a model."""
    rows = []
    for row in maac_and_baselines(*envs):
        data = {k: v for k, v in PAPERS_DATA.items() if row.agent in ("maac", "mbpo") or "updates" in k}
        changes = {} if row.agent == "sac" else data | (ALL_PARTS if row.agent == "maac" else {})
        rows.append(replace(row, changes=changes))
    return tuple(rows)


def maac_and_baselines(*envs: str, equal_updates: bool = False) -> tuple[Row, ...]:
    """MAAC and what its paper compares it with (Fig. 2), and a SAC that updates as often as MAAC."""
    agents = {"MAAC": "maac", "MBPO": "mbpo", "STEVE": "steve", "SVG(1)": "svg1", "SAC": "sac"}
    rows = [Row(label, agent, env) for env in envs for label, agent in agents.items()]
    if equal_updates:
        often = {env: lookup.preset("cpu", "maac", env)["schedule.updates_per_step"] for env in envs}
        rows += [Row("SAC, MAAC's updates", "sac", env, {"schedule.updates_per_step": often[env]}) for env in envs]
    return tuple(rows)


def maac_without(env: str) -> tuple[Row, ...]:
    """MAAC, and MAAC without each of its parts (Fig. 4 and 5)."""
    whole = ALL_PARTS | PAPERS_DATA | {"config.samples": 5}
    parts = {
        "MAAC": {},
        "H = 0": {"config.horizon": 0},
        "no STEVE": {"config.target_horizon": 0},
        "one sample": {"config.samples": 1},
        "one sample, 5× batch": {"config.samples": 1, "schedule.batch_size": 640},
        "real data only": {"schedule.imagine_every": 0},
        "no entropy": {"config.initial_temperature": 1e-8, "config.temperature_lr": 0.0},
    }
    return tuple(Row(label, "maac", env, whole | changes) for label, changes in parts.items())


def maac_parts(env: str) -> tuple[Row, ...]:
    """The preset `cpu` of MAAC, and with each of the settings in which it leaves the paper put back."""
    back = {
        "MAAC": {},
        "entropy of a₀ alone": {"config.entropy": "first"},
        "H = 0": {"config.horizon": 0},
        "STEVE (K = 2, four critics)": {"config.target_horizon": 2, "config.target_members": 3, "config.critics": 4},
        "five samples": {"config.samples": 5},
        "95 % imagined": {"schedule.real_fraction": 0.05},
        "real data only": {"schedule.imagine_every": 0},
        "two updates": {"schedule.updates_per_step": 2},
    }
    return tuple(Row(label, "maac", env, changes) for label, changes in back.items())


def lam(value: float) -> dict[str, float]:
    """Set λ as the released code does: the TD error keeps its weight of 1, the gradient term has 1/λ."""
    return {"config.lam": value, "config.loss_scale": 1 / value}


def frontier() -> tuple[Row, ...]:
    """Value gradients and their rivals on MBPO's five tasks, by DHMBPO's paper and XQC's."""
    agents = {"DHMBPO": "dhmbpo", "SVG(2)": "svg", "MAAC": "maac", "MAGE": "mage", "MBPO": "mbpo", "SAC": "sac"}
    rows = []
    for task in ("HalfCheetah", "Hopper", "Walker2d", "Ant", "Humanoid"):
        env, seeds = f"pbrl/Mbpo{task}-v0", 3 if task == "Humanoid" else 0
        shared = {"SVG(2)", "SAC"} if task != "Humanoid" else set()
        rows += [
            Row(label, agent, env, seeds=seeds, suite="svg-mujoco" if label in shared else "")
            for label, agent in agents.items()
        ]
        rows.append(Row("XQC", "sac", env, lookup.preset("xqc-cpu", "sac", env), seeds=seeds))
    return tuple(rows)


def dhmbpo_parts(*envs: str) -> tuple[Row, ...]:
    """DHMBPO with other lengths of both rollouts, and other numbers of updates (its released ablations)."""
    parts = {
        "DHMBPO": {},
        "training rollout of 1": {"config.horizon": 1},
        "training rollout of 3": {"config.horizon": 3},
        "no distribution rollout": {"schedule.imagine_every": 0},
        "one update": {"schedule.updates_per_step": 1},
    }
    return tuple(
        Row(label, "dhmbpo", env, changes, suite="" if changes else "frontier")
        for env in envs
        for label, changes in parts.items()
    )


def critics_of_today(env: str) -> tuple[Row, ...]:
    """MAGE with each option that critics of today have (docs/choosing.md)."""
    options = {
        "MAGE": {},
        "normalised": {"config.critic_norm": "layer"},
        "bounded": {"config.bound_values": True},
        "two of five": {"config.critics": 5, "config.target_subset": 2},
        "all three": {
            "config.critic_norm": "layer",
            "config.bound_values": True,
            "config.critics": 5,
            "config.target_subset": 2,
        },
    }
    return tuple(Row(label, "mage", env, changes) for label, changes in options.items())


def both_td_losses(*rows: tuple[str, str, str, dict[str, Any]]) -> tuple[Row, ...]:
    """Each of these with Huber's loss of the TD error, and with the squared one."""
    return tuple(
        Row(f"{label}, {kind}", agent, env, {**changes, "config.td_loss": kind})
        for label, agent, env, changes in rows
        for kind in ("huber", "squared")
    )


def capacity(members: int, *widths: int) -> dict[str, Any]:
    """Set the model's size."""
    return {"config.ensemble_size": members, "config.model_hidden": widths}


def both_drivers(env: str) -> tuple[Row, ...]:
    """One agent, small, with one schedule, its environment stepped by Gymnasium and within the training program."""
    small = {
        "config.actor_hidden": (32, 32),
        "config.critic_hidden": (64, 64),
        "schedule.batch_size": 128,
        "schedule.warmup_steps": 200,
        "schedule.log_every": 500,
    }
    return tuple(Row(f"SAC, {driver}", "sac", env, small, driver=driver) for driver in ("host", "device"))


SUITES = {
    "mage-classic": Suite(
        against_baselines(PENDULUM, CARTPOLE), "paper", 5_000, 5, 500, "MAGE and its baselines, paper's sizes"
    ),
    "mage-classic-cpu": Suite(against_baselines(PENDULUM), "cpu", 3_000, 5, 500, "MAGE and its baselines, CPU sizes"),
    "mage-mujoco": Suite(
        against_baselines(*(f"pbrl/Mage{name}-v0" for name in MUJOCO)),
        "cpu", 100_000, 5, 5_000, "MAGE and its baselines, CPU sizes (Fig. 2)", alone=True,
    ),
    "mage-mujoco-paper": Suite(
        against_baselines(*(f"pbrl/Mage{name}-v0" for name in MUJOCO)),
        "paper", 100_000, 5, 1_000, "MAGE and its baselines, paper's sizes",
    ),
    "mage-lambda": Suite(
        tuple(Row(f"λ = {v:g}", "mage", PENDULUM, lam(v)) for v in (0.01, 0.05, 0.2, 1.0)),
        "cpu", 4_000, 5, 500, "Weight of the TD error beside its action gradient (Fig. 8)",
    ),
    "mage-reward": Suite(
        tuple(
            Row(f"{name}, {kind} reward", agent, PENDULUM, {"config.learn_reward": kind == "learned"})
            for name, agent in (("MAGE", "mage"), ("Dyna-TD3", "dyna"))
            for kind in ("known", "learned")
        ),
        "cpu", 4_000, 5, 500, "Known and learned reward (Fig. 6)",
    ),
    "mage-capacity": Suite(
        tuple(
            Row(f"{name}, {members}×{widths}", agent, PENDULUM, capacity(members, *widths))
            for name, agent in (("MAGE", "mage"), ("Dyna-TD3", "dyna"))
            for members, widths in ((5, (128, 128)), (2, (64, 64)), (1, (32,)))
        ),
        "cpu", 4_000, 5, 500, "Capacity of the model (Fig. 7)",
    ),
    "mage-td-loss": Suite(
        both_td_losses(("MAGE", "mage", CARTPOLE, {}), ("TD3 ×10", "td3", CARTPOLE, {"schedule.updates_per_step": 10}))
        + both_td_losses(("MAGE", "mage", PENDULUM, {})),
        "cpu", 5_000, 5, 500, "Huber and squared loss of the TD error, CPU sizes",
    ),
    "svg-classic": Suite(
        svg_and_sac("Pendulum-v1", "InvertedPendulum-v5", "InvertedDoublePendulum-v5"),
        "cpu", 12_000, 5, 1_000, "SVG(2) and SAC, CPU sizes",
    ),
    "svg-mujoco": Suite(
        svg_and_mve(*(f"pbrl/Mbpo{name}-v0" for name in ("HalfCheetah", "Hopper", "Walker2d", "Ant"))),
        "cpu", 100_000, 5, 5_000, "SVG(2), SAC and a critic with value expansion, CPU sizes (Fig. 2 and 4)", alone=True,
    ),
    "svg-poplin": Suite(
        horizons("pbrl/PoplinSwimmer-v0", "pbrl/PoplinHopper-v0", steps=(0, 1, 2, 4)),
        "cpu", 50_000, 5, 5_000, "SVG(H) by horizon on POPLIN's tasks, CPU sizes (Table 2)", alone=True,
    ),
    "svg-horizon": Suite(
        horizons("Pendulum-v1", "InvertedPendulum-v5"), "cpu", 8_000, 5, 500, "SVG(H) by horizon, CPU sizes (Table 2)"
    ),
    "maac-classic": Suite(
        small_and_whole("Pendulum-v1", "InvertedPendulum-v5"),
        "cpu", 5_000, 5, 500, "MAAC and its baselines, CPU sizes",
    ),
    "maac-mujoco": Suite(
        maac_and_baselines(
            *(f"pbrl/Maac{name}-v0" for name in ("HalfCheetah", "Hopper", "Walker2d", "Ant")), equal_updates=True
        ),
        "cpu", 50_000, 5, 2_500, "MAAC and its baselines, CPU sizes (Fig. 2)", alone=True,
    ),
    "maac-parts": Suite(
        maac_parts("pbrl/MaacHalfCheetah-v0"),
        "cpu", 10_000, 5, 1_000, "What MAAC's settings at CPU sizes are worth, HalfCheetah", alone=True,
    ),
    "maac-ablations": Suite(
        maac_without("Pendulum-v1") + maac_without("InvertedPendulum-v5"),
        "cpu", 4_000, 5, 500, "MAAC without each of its parts, CPU sizes (Fig. 4 and 5)",
    ),
    "maac-halfcheetah": Suite(
        (Row("MAAC", "maac", "pbrl/MaacHalfCheetah-v0"),), "paper", 50_000, 4, 1_000, "MAAC at the released sizes"
    ),
    "oracle-pendulum": Suite(
        learned_and_true("Pendulum-v1"), "cpu", 4_000, 5, 500, "Learned model and true dynamics, CPU sizes"
    ),
    "oracle-mujoco": Suite(
        learned_and_true("InvertedDoublePendulum-v5") + termination_stopped("InvertedDoublePendulum-v5")
        + learned_and_true("Hopper-v5"),
        "cpu", 3_000, 3, 500, "Learned model and true dynamics, CPU sizes",
    ),
    "oracle-contact": Suite(
        learned_and_true("brax/hopper-spring", "device") + termination_stopped("brax/hopper-spring", "device"),
        "cpu", 3_000, 5, 500, "Learned model and true dynamics with contacts, CPU sizes",
    ),
    "frontier": Suite(
        frontier(), "cpu", 100_000, 5, 5_000, "The frontier on MBPO's tasks, CPU sizes", alone=True,
    ),
    "dhmbpo-parts": Suite(
        dhmbpo_parts("pbrl/MbpoHopper-v0", "pbrl/MbpoWalker2d-v0"),
        "cpu", 100_000, 5, 5_000, "DHMBPO by the lengths of its rollouts, CPU sizes", alone=True,
    ),
    "mage-critics": Suite(
        critics_of_today(CARTPOLE), "cpu", 5_000, 5, 500, "MAGE with critics of today, CPU sizes", alone=True,
    ),
    "drivers": Suite(both_drivers("pbrl/ToyPendulum-v0"), "cpu", 5_000, 5, 500, "Both drivers, a small SAC"),
    "svg-hopper": Suite(
        (Row("SVG(2)", "svg", "pbrl/MbpoHopper-v0"),), "paper", 100_000, 5, 5_000, "SVG(2) at the released sizes"
    ),
}  # fmt: skip


def make_runs(suite: Suite, name: str, row: Row, seeds: int, steps: int) -> list[Run]:
    """Turn a row into the runs that its driver trains: one of all seeds, or one for each."""
    changes = {**lookup.preset(suite.preset, row.agent, row.env), **row.changes}
    changes |= {"schedule.total_steps": steps, "schedule.eval_every": suite.eval_every}
    config, schedule = overrides.apply(agent_module(row.agent).Config(), Schedule(), changes)
    slug = row.label.replace("×", "x").replace("λ", "lambda").translate(str.maketrans(" /,()=", "------"))
    folder = Path("runs") / (row.suite or name) / row.env.split("/")[-1] / slug
    seeds = min(seeds, row.seeds or seeds)
    run = Run(row.agent, row.env, tuple(range(seeds)), config, schedule, folder, default_seed_mode())
    run = replace(run, oracle=row.oracle, driver=row.driver)
    if not suite.alone:
        return [run]
    return [replace(run, seeds=(seed,), folder=folder / f"seed-{seed}") for seed in run.seeds]
