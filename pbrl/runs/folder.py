"""A run's folder: named after the run, and `config.json` in it says all of the run and of where it was trained."""

import hashlib
import importlib.util
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pbrl.errors import RunError
from pbrl.runs import config_file, files, record, rows, software
from pbrl.runs.run import Run


def default_folder(run: Run, root: Path = Path("runs")) -> Path:
    """Name a folder after what the run is, so that the same command finds its folder again."""
    digest = hashlib.sha256(json.dumps(run.identity(), sort_keys=True).encode()).hexdigest()[:8]
    trials = f"{len(run.trials)}trials-" if run.trials else ""
    agent = run.title.replace(", ", "-")
    return (
        root / f"{agent}-{re.sub('[^A-Za-z0-9._-]+', '-', run.env).strip('-')}-{trials}{len(run.seeds)}seeds-{digest}"
    )


def load(folder: Path, trust: Iterable[str] = (), *, env: Callable[..., Any] | None = None) -> Run:
    """Return the run that lives in a folder, whose environment may then be made.

    An environment `MODULE:ID` is code, and so is a wrapper `MODULE:function`; a folder from elsewhere can name any.
    Such a run is refused with `RunError` unless its modules are among `trust`, and always where one lies within the
    folder.
    Text among the environment's arguments can name files and programs, so that it needs trust in the module, or in the
    id. A bad `config.json` is refused, too. To look at a run without making anything, there is
    `pbrl.runs.record.run_of`.

    Args:
        folder: The run's folder.
        trust: Modules of the user's own. One that registers an id which is no `MODULE:ID` is imported for that.
        env: What makes the environment, of a run whose environment was made by a function.
    """
    run, trusted = record.run_of(Path(folder)), list(trust)
    known = {*trusted, *(name.rpartition(":")[0] or name for name in trusted)}
    for module in _modules(run):
        if module not in known:
            raise RunError(
                f"{folder} names {_naming(run, module)}, so that reading it would run the Python module {module}. If "
                f"you know that module and trust it, add --trust-env {module} (in Python, load(folder, "
                f"trust=[{module!r}]))"
            )
    if _holds_text(run.env_kwargs) and not {run.env, run.env.rpartition(":")[0]} & known:
        raise RunError(
            f"{folder} hands text to its environment ({run.task}), which can name any file or program. If you know "
            f"what it says, add --trust-env {run.env} (in Python, load(folder, trust=[{run.env!r}]))"
        )
    refuse_modules_within(run, run.folder)
    if env is not None:
        return _with_factory(run, env)
    _register(run, trusted)
    return run


def _register(run: Run, trusted: Iterable[str]) -> None:
    """See to it that the run's id is registered, by the user's own modules where need be: the folder named none."""
    from pbrl.envs import factory, modules

    if modules.is_registered(run.env):
        return
    if factory.is_name(run.env):
        raise RunError(f"{run.folder}: {factory.gone(run.env)}")
    for module in trusted:
        _refuse_module_within(run.env, module.partition(".")[0], run.folder)
        modules.load(module, f"--trust-env {module}")
    if not modules.is_registered(run.env):
        module = modules.registering(run.env) or "MODULE"
        here = "PYTHONPATH=. in front and " if modules.lies_here(module) else ""
        raise RunError(
            f"{run.folder} was trained on {run.env}, which a program registered and nothing here does: add {here}"
            f"--trust-env {module}, the module that registers it when it is imported (in Python, register it before)"
        )


def _with_factory(run: Run, env: Callable[..., Any]) -> Run:
    """Return a run whose environment a function makes, which must be of the name that the run knows."""
    made = replace(run, env=env)
    if made.env != run.env:
        raise RunError(f"{run.folder} was trained on {run.env}, not on {made.env}; hand over that function")
    return made


def _modules(run: Run) -> list[str]:
    """Return the Python modules that a run names, which making its environment imports."""
    module = run.env.rpartition(":")[0]
    return [
        *([module] if module else []),
        *(word.partition(":")[0] for word in run.wrap if ":" in word.partition("=")[0]),
    ]


def _naming(run: Run, module: str) -> str:
    return f"the environment {run.env}" if run.env.startswith(f"{module}:") else f"the wrapper {' '.join(run.wrap)}"


def _holds_text(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_text, value.values()))
    return any(map(_holds_text, value)) if isinstance(value, tuple) else isinstance(value, str)


def refuse_modules_within(run: Run, folder: Path) -> None:
    """Raise `RunError` where a module that a run names would be imported from within a run's folder."""
    for module in _modules(run):
        _refuse_module_within(run.env, module.partition(".")[0], folder)


def _refuse_module_within(env: str, top: str, folder: Path) -> None:
    try:
        spec = importlib.util.find_spec(top)  # of the outermost package, which imports nothing
    except (ImportError, ValueError, AttributeError):
        spec = None
    loaded = getattr(sys.modules.get(top), "__file__", None)
    places = [loaded, spec and spec.origin, *((spec and spec.submodule_search_locations) or ())]
    for place in filter(None, places):
        if Path(place).resolve().is_relative_to(Path(folder).resolve()):
            raise RunError(
                f"{env}: the module {top} would come from {place}, within the run's folder {folder}, where no program "
                "belongs; move it elsewhere, and start from another directory"
            )


def refuse_another(run: Run) -> None:
    """Raise `RunError` where the folder holds a run that is not this very one, by `config.json` or by a checkpoint."""
    if (run.folder / config_file.NAME).exists():
        differing = record.differences(record.run_of(run.folder).identity(), run.identity())
        if differing:
            raise RunError(
                f"{run.folder} holds another run; it differs in {'; '.join(differing)}. "
                "Give the old values to resume it, or another folder with --out"
            )
    record.require_checkpoints_of(run, "Give the old values to resume it, or another folder with --out")


def prepare(run: Run, step: int = 0) -> None:
    """Make the folder, or check that it holds this very run, and write `config.json` whole or not at all.

    `step` is where the run goes on from; other software or another machine than before is told by a warning, and
    kept in the file's `history`. Raises `RunError` where the folder cannot be written.
    """
    refuse_another(run)
    for name in (rows.JSONL, "wandb"):  # now, not when something is written first
        files.refuse_link(run.folder / name)
    for name in ("checkpoints", "tensorboard"):
        files.refuse_non_folder(run.folder / name)
    path = run.folder / config_file.NAME
    before = config_file.read(run.folder) if path.exists() else {}
    history = software.history(before, step)
    if step and (differing := software.differences(before, history[-1])):
        warnings.warn(
            f"{run.folder} goes on from step {step} under other software or on another machine than before: "
            f"{'; '.join(differing)}. Its numbers may differ from those of an uninterrupted run",
            stacklevel=3,
        )
    content = json.dumps({**run.to_json(), "history": history}, indent=2) + "\n"
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.is_symlink() or json.loads(content) != before:  # a full disk is no obstacle
            files.write(path, content)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {files.reason(error)}; make room, or give another --out") from None
