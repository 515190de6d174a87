"""What `config.json` says of a run, which may come from anywhere: every entry is held against what it can be.

Nothing that it names is imported or made here, so that it can be looked at without trust.
"""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pbrl import config as configs
from pbrl.errors import CheckpointError, RunError
from pbrl.runs import config_file, dataset, initial, manifest, software
from pbrl.runs.feasible import check
from pbrl.runs.run import DRIVERS, MAX_STREAMS, Run, agent_module
from pbrl.runs.schedule import MOST_ROWS, Schedule

NEEDED = ("agent", "env", "seeds", "config", "schedule", "seed_mode")
OPTIONAL = (
    *("oracle", "driver", "float64", "trials", "initial", "data", "env_kwargs", "wrap"),
    *("versions", "python", "device", "cpu_cores", "history"),
)
ORACLES = (False, True, "", "fidelity", "speed")


def run_of(folder: Path) -> Run:
    """Return the run that a folder's `config.json` describes.

    Raises `RunError` that names the first wrong entry, or what the folder's checkpoints say otherwise.
    """
    data = config_file.read(folder)
    try:
        run = parse(data, Path(folder))
        _check_settings(run.agent, run.config, run.schedule, bool(run.oracle))
    except (ValueError, OverflowError, RecursionError) as error:  # a number that no array can hold
        path, remedy = Path(folder) / config_file.NAME, config_file.remedy(folder)
        raise RunError(f"{path} cannot be used: {configs.reason(error)}{remedy}") from None
    remedy = config_file.remedy(folder, "put the old values back")
    require_checkpoints_of(run, f"{config_file.NAME} has been changed since{remedy}")
    return run


@functools.cache
def _check_settings(agent: str, config: Any, schedule: Schedule, oracle: bool) -> None:
    """Raise `ValueError` for settings out of their bounds; once for all, since folders of one kind are read often."""
    check(agent_module(agent), config, schedule, oracle or None)


def parse(data: Mapping[str, Any], folder: Path) -> Run:
    """Return the run that an identity or a `config.json` describes. Raises `ValueError`."""
    for name in data:
        if name not in (*NEEDED, *OPTIONAL):
            raise ValueError(
                f"there is no entry {name[:40]!r}{configs.suggest(name[:40], (*NEEDED, *OPTIONAL), 'entry')}"
            )
    for name in NEEDED:
        if name not in data:
            raise ValueError(f"the entry {name!r} is missing")
    agent, env, seed_mode = (_choice(name, data[name], str) for name in ("agent", "env", "seed_mode"))
    _expect("env", 0 < len(env) <= 200 and env.isprintable(), "the id of an environment", env)
    _choice("seed_mode", seed_mode, str, ("vmap", "map"))
    driver = _choice("driver", data.get("driver", "host"), str, DRIVERS)
    float64 = _choice("float64", data.get("float64", False), bool)
    oracle = data.get("oracle", "")
    _expect("oracle", isinstance(oracle, str | bool) and oracle in ORACLES, "fidelity or speed", oracle)
    for name in ("config", "schedule"):
        _expect(name, isinstance(data[name], dict), "an object", data[name])
        _check_numbers(data[name], name)
    if wrong := software.wrong(data):
        raise ValueError(f"{wrong}: expected what pbrl writes of software and machine; or take it out, it is only told")
    return Run(
        agent=agent,
        env=env,
        seeds=_seeds(data["seeds"]),
        config=configs.from_json(agent_module(agent).Config, data["config"]),
        schedule=configs.from_json(Schedule, data["schedule"], "schedule"),
        folder=folder,
        seed_mode=seed_mode,
        oracle="fidelity" if oracle is True else oracle or "",  # of before there were presets
        driver=driver,
        float64=float64,
        trials=_trials(data.get("trials", []), len(data["seeds"])),
        env_kwargs=_env_kwargs(data.get("env_kwargs", {})),
        wrap=_words(data.get("wrap", [])),
        initial=initial.parse(data["initial"]) if "initial" in data else None,
        data=dataset.parse(data["data"]) if "data" in data else None,
    )


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return what two identities (`Run.identity`) differ in, as `config.tau (0.005 there, 0.1 here)`."""
    unsaid = {
        "driver": "host",
        "float64": False,
        "oracle": "none",
        "env_kwargs": {},
        "wrap": [],
    }  # what an identity leaves out
    old, new = ({**unsaid, **it} for it in (there, here))
    for it in (old, new):
        it["oracle"] = "fidelity" if it["oracle"] is True else it["oracle"]
    return _differences(old, new)


def require_checkpoints_of(run: Run, remedy: str) -> None:
    """Raise `RunError` where a checkpoint in a run's folder is of another run, by its manifest alone."""
    folder = run.folder / "checkpoints"
    for step in manifest.steps(folder):
        try:
            info = manifest.read(folder / str(step)).info
        except (CheckpointError, OSError):
            continue  # which is said where it is read
        require_same(info, run, step, remedy)


def require_same(info: Mapping[str, Any], run: Run, step: int, remedy: str) -> None:
    """Raise `RunError` where a checkpoint's `info` is not of this very run, or not what `pbrl.train.resume` writes."""
    where = f"the checkpoint of step {step} in {run.folder}"
    capacity, seconds, given_up = (info.get(name) for name in ("capacity", "seconds", "diverged_at"))
    sound = type(capacity) is int and 0 < capacity <= MOST_ROWS
    sound = sound and isinstance(seconds, int | float) and math.isfinite(seconds)
    steps = given_up if isinstance(given_up, list) else []
    sound = sound and steps != [] and all(type(x) is int for x in steps)
    try:
        _expect("info", sound and isinstance(info.get("run"), dict), "what pbrl writes", "something else")
        schedule = _choice("schedule", info["run"].get("schedule"), dict)
        total = {"total_steps": run.schedule.total_steps}
        there = parse({**info["run"], "schedule": {**schedule, **total}}, run.folder).identity()
    except (ValueError, RecursionError) as error:
        raise RunError(f"{where} does not say which run it belongs to: {configs.reason(error)}") from None
    if differing := differences(there, run.identity()):
        raise RunError(f"{where} is of another run; it differs in {'; '.join(differing)}. {remedy}")
    if len(steps) != len(run.stream_seeds):
        raise RunError(f"{where} does not say of each seed whether it has diverged; go on from another by --from-step")


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    if where == "trials" and old != new:
        return ["trials (other draws: another --space, --trials or --draw-seed, or a run that is no sweep)"]
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{where}.{k}" if where else k)]
    return [] if old == new else [f"{where} ({old} there, {new} here)"]


def _seeds(seeds: Any) -> tuple[int, ...]:
    sound = isinstance(seeds, list) and 0 < len(seeds) <= MAX_STREAMS
    sound = sound and all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds) and len(set(seeds)) == len(seeds)
    _expect("seeds", sound, f"1 to {MAX_STREAMS} distinct numbers from 0 to 2^32 - 1", seeds)
    return tuple(seeds)


def _trials(trials: Any, seeds: int) -> tuple[dict[str, float], ...]:
    sound = isinstance(trials, list) and len(trials) * seeds <= MAX_STREAMS and all(isinstance(t, dict) for t in trials)
    sound = sound and all(t and t.keys() == trials[0].keys() for t in trials)
    sound = sound and all(type(x) in (int, float) and math.isfinite(x) for t in trials for x in t.values())
    _expect("trials", sound, "objects with numbers for the same names each", trials)
    return tuple(trials)


def _env_kwargs(kwargs: Any) -> dict[str, Any]:
    sound = isinstance(kwargs, dict) and len(kwargs) <= 100 and all(name.isidentifier() for name in kwargs)
    _expect("env_kwargs", sound, "an object of at most 100 arguments by name", kwargs)
    return configs.storable(kwargs, "env_kwargs")


def _words(words: Any) -> tuple[str, ...]:
    sound = isinstance(words, list) and len(words) <= 100
    sound = sound and all(type(word) is str and 0 < len(word) <= 200 and word.isprintable() for word in words)
    _expect("wrap", sound, "at most 100 words, such as frame-skip=2", words)
    return tuple(words)


def _check_numbers(value: Any, where: str) -> None:
    """Refuse integers that no array can have, before anything computes with them."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_numbers(inner, f"{where}.{name[:40]}")
    elif isinstance(value, list):
        _expect(where, len(value) <= 10_000, "at most 10,000 values", f"{len(value)}")
        for inner in value:
            _check_numbers(inner, where)
    elif type(value) is int:
        _expect(where, abs(value) < 2**63, "a number below 2^63", value)


def _choice(name: str, value: Any, kind: type, known: tuple[str, ...] = ()) -> Any:
    _expect(name, type(value) is kind and (not known or value in known), " or ".join(known) or kind.__name__, value)
    return value


def _expect(name: str, sound: bool, expected: str, got: Any) -> None:
    if not sound:
        raise ValueError(f"{name}: expected {expected}, got {configs.shown(got)}")
