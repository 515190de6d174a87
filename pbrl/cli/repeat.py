"""The command line that makes a run again."""

import shlex
from collections.abc import Iterator
from typing import Any

from pbrl import config as configs
from pbrl.cli.options import Train
from pbrl.presets import lookup, overrides
from pbrl.runs.placement import default_driver
from pbrl.runs.run import Run, agent_module
from pbrl.runs.schedule import Schedule


def command_line(run: Run) -> str:
    """Return a `pbrl train` line that makes this run: the preset that leaves the least to say, and the rest by option.

    The folder and sinks are left out, and so is the seed mode, which follows from the machine.
    """
    module, found = agent_module(run.agent), []
    for name, agents in lookup.PRESETS.items():
        if run.agent in agents:
            changes = lookup.preset(name, run.agent, run.env)
            config, schedule = overrides.apply(module.Config(), Schedule(), changes)
            words = [*_changed("config", config, run.config), *_changed("schedule", schedule, run.schedule)]
            found.append(([f"--preset={name}"] if name != Train.preset else []) + words)
    seeds = [f"--seeds={len(run.seeds)}", f"--first-seed={run.seeds[0]}"]
    oracle = [f"--oracle={run.oracle}"] if run.oracle else []
    driver = [f"--driver={run.driver}"] if run.driver != default_driver(run.env) else []
    driver += ["--float64"] if run.float64 else []
    task = ["--env", run.env]
    task += ["--env-kwargs", *(f"{k}={v!r}" for k, v in run.env_kwargs.items())] if run.env_kwargs else []
    task += ["--wrap", *run.wrap] if run.wrap else []
    task += ["--data", str(run.data.folder) if run.data.folder.name else run.data.id] if run.data else []
    return shlex.join(["pbrl", "train", run.agent, *task, *seeds, *oracle, *driver, *min(found, key=len)])


def _changed(part: str, old: Any, new: Any) -> Iterator[str]:
    """Yield an option for every field whose value is not `old`'s."""
    before = dict(overrides.flatten(configs.to_json(old)))
    for path, value in overrides.flatten(configs.to_json(new)):
        if value != before[path]:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"--{part}.{path.replace('_', '-')}={text}"
