"""A run's folder: named after the run, held by one process at a time, and `config.json` in it says all of the run."""

import contextlib
import fcntl
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pbrl import config as configs
from pbrl.errors import RunError
from pbrl.runs.run import Run, agent_module
from pbrl.runs.schedule import Schedule


def default_folder(run: Run, root: Path = Path("runs")) -> Path:
    """Name a folder after what the run is, so that the same command finds its folder again."""
    digest = hashlib.sha256(json.dumps(run.identity(), sort_keys=True).encode()).hexdigest()[:8]
    trials = f"{len(run.trials)}trials-" if run.trials else ""
    agent = run.title.replace(", ", "-")
    return root / f"{agent}-{re.sub('[/:]', '-', run.env)}-{trials}{len(run.seeds)}seeds-{digest}"


def load(folder: Path) -> Run:
    """Read the run that lives in a folder, or raise `RunError`."""
    path = Path(folder) / "config.json"
    try:
        data = json.loads(path.read_text())
        module = agent_module(data["agent"])
        return Run(
            agent=data["agent"],
            env=data["env"],
            seeds=tuple(data["seeds"]),
            config=configs.from_json(module.Config, data["config"]),
            schedule=configs.from_json(Schedule, data["schedule"], "schedule"),
            folder=Path(folder),
            seed_mode=data["seed_mode"],
            oracle="fidelity" if (oracle := data.get("oracle", "")) is True else oracle,  # of before there were presets
            driver=data.get("driver", "host"),
            float64=data.get("float64", False),
            trials=tuple(data.get("trials", ())),
        )
    except FileNotFoundError:
        raise RunError(f"{folder} is not a run folder: it has no config.json; `pbrl train` makes one") from None
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None


def refuse_another(run: Run) -> None:
    """Raise `RunError` where the folder holds a run that is not this very one."""
    if (run.folder / "config.json").exists():
        unsaid = {"driver": "host", "float64": False}  # what an identity leaves out, as older runs do
        old, new = (unsaid | it.identity() | {"oracle": it.oracle or "none"} for it in (load(run.folder), run))
        differing = _differences(old, new)
        if differing:
            raise RunError(
                f"{run.folder} holds another run; it differs in {'; '.join(differing)}. "
                "Give the old values to resume it, or another folder with --out"
            )


def prepare(run: Run) -> None:
    """Make the folder, or check that it holds this very run, and write `config.json` whole or not at all."""
    refuse_another(run)
    run.folder.mkdir(parents=True, exist_ok=True)
    path = run.folder / "config.json"
    partial = path.with_suffix(".json.tmp")
    partial.write_text(json.dumps(run.to_json(), indent=2) + "\n")
    partial.replace(path)


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    if where == "trials" and old != new:
        return ["trials (other draws: another --space, --trials or --draw-seed, or a run that is no sweep)"]
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{where}.{k}" if where else k)]
    return [] if old == new else [f"{where} ({old} there, {new} here)"]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder against a second process; the lock dies with the process that holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(f"another process is training in {folder}; wait for it, or give another --out") from None
        yield
