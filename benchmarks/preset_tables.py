"""What the preset `cpu` has that the papers have not, agent by agent, each with its reason: writes docs/presets.md.

python benchmarks/preset_tables.py
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pbrl.presets import lookup
from pbrl.runs.run import agent_module
from pbrl.runs.schedule import Schedule

PAGE = Path(__file__).parents[1] / "docs" / "presets.md"
TOP = """# What the preset `cpu` changes

`python benchmarks/preset_tables.py` writes this page from `pbrl/presets/`. What no table of an agent names is the
paper's. Everything was tried on seeds from 1,000 up, and results use seeds from 0. "Time" means that a setting was
chosen to fit two cores, and nothing else was compared.
"""
TIME = "time: smaller matrices and batches"
RATES = "time: fewer updates, so that each goes further"
PARTS = "suite `maac-parts` puts the paper's value back"
REASONS: Mapping[str, str] = {
    **dict.fromkeys(("actor_hidden", "critic_hidden", "model_hidden", "head_hidden", "encoder_hidden"), TIME),
    **dict.fromkeys(
        ("recurrent_width", "recurrent_layers", "ensemble_size", "elites", "target_members", "critics"), TIME
    ),
    **dict.fromkeys(("batch_size", "model_batch_size", "model_min_batches", "max_epochs"), TIME),
    "model_max_batches": TIME,
    "real_fraction": "a small model errs more; suite `maac-parts` has the paper's",
    "target_entropy": "MBPO's; with -A its Hopper stood still",
    **dict.fromkeys(("imagine_batch", "imagine_buffer", "stopping", "persistence"), TIME),
    **dict.fromkeys(("actor_lr", "critic_lr", "model_lr", "temperature_lr"), RATES),
    **dict.fromkeys(("warmup_steps", "actor_warmup", "model_every", "imagine_every", "imagine_length"), "short runs"),
    **dict.fromkeys(("entropy", "samples", "target_horizon"), PARTS),
    "horizon": "time; suite `maac-parts` has H = 0",
    "updates_per_step": "time, and for MAAC's kin suite `maac-parts`",
    **dict.fromkeys(("branch", "imagine_chained"), "the paper's text instead of its code"),
    "bound_std": "[reliability](reliability.md#normalisation)",
    "normalize_obs": "observations of any scale",
    "initial_temperature": "short runs: 1 takes long to fall",
    "td_loss": "suite `mage-td-loss`; [why](algorithms/mage.md)",
}
CADENCE = {"total_steps", "eval_every", "log_every", "checkpoint_every", "buffer_size"}


def settings(preset: str, agent: str, env: str) -> dict[str, Any]:
    """Return every setting of an agent on a task by its path, the defaults included."""
    config, schedule = agent_module(agent).Config(), Schedule()
    full = {f"config.{k}": v for k, v in vars(config).items()}
    full |= {f"schedule.{k}": v for k, v in vars(schedule).items()}
    return full | lookup.preset(preset, agent, env)


def rows(agent: str, env: str) -> list[tuple[str, Any, Any, str]]:
    """Return (setting, the paper's, ours, why) where they differ, but for what only says how often to look."""
    paper, ours = settings("paper", agent, env), settings("cpu", agent, env)
    differing = [path for path in ours if ours[path] != paper[path] and path.partition(".")[2] not in CADENCE]
    return [(path, paper[path], ours[path], REASONS[path.partition(".")[2]]) for path in differing]


def page() -> str:
    """Return the page."""
    parts = [TOP]
    for agent, tasks in lookup.PRESETS["cpu"].items():
        parts += [f"## `{agent}`\n", *_table(rows(agent, "default"))]
        tables: dict[tuple[str, ...], list[str]] = {}
        for env, changes in tasks.items():
            own = [row for row in rows(agent, env) if changes.get(row[0]) != tasks["default"].get(row[0])]
            if own:
                tables.setdefault(tuple(_table(own)), []).append(f"`{env}`")
        for table, envs in tables.items():
            parts += [f"On {' and '.join(envs)}, besides or instead:\n", *table]
        if by_task := _by_task(agent):
            parts += [f"`paper` also sets these by task, where `cpu` has one value throughout: {by_task}.\n"]
    return "\n".join(parts)


def _by_task(agent: str) -> str:
    """Name the settings that the preset `paper` has for single tasks and `cpu` for none."""
    paper, ours = (lookup.PRESETS[preset][agent] for preset in ("paper", "cpu"))
    single = {path for env in paper if env != "default" for path in paper[env] if paper[env] != paper["default"]}
    single -= {*paper["default"], *(path for changes in ours.values() for path in changes)}
    return ", ".join(f"`{path}`" for path in sorted(single) if path.partition(".")[2] not in CADENCE)


def _table(lines: list[tuple[str, Any, Any, str]]) -> list[str]:
    head = ["| setting | `paper` | `cpu` | why |", "|---|---|---|---|"]
    return [*head, *(f"| `{p}` | {_shown(a)} | {_shown(b)} | {why} |" for p, a, b, why in lines), ""]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "×".join(map(str, value))
    return "by task" if value is None else f"{value:g}" if isinstance(value, float) else f"{value}"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
