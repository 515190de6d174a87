import importlib
import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

import jax
import pytest

from pbrl import AGENTS, config
from pbrl.agents import mage
from pbrl.config import static
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    widths: tuple[int, ...] = static((8, 8))


@dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    steps: int = 3
    name: str = "a"
    flag: bool = False


def test_json_round_trip():
    changed = config.override(Outer(), {"inner.rate": 1, "inner.widths": [4], "steps": 5, "flag": True})
    assert changed == Outer(Inner(1.0, (4,)), 5, "a", True)
    assert config.from_json(Outer, json.loads(json.dumps(config.to_json(changed)))) == changed


@pytest.mark.parametrize("cls", [mage.Config, Schedule])
def test_defaults_round_trip(cls):
    assert config.from_json(cls, json.loads(json.dumps(config.to_json(cls())))) == cls()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inner.rat": 1.0}, "config.inner.rat: there is no such field; did you mean 'rate'?"),
        ({"stepz": 1}, "did you mean 'steps'?"),
        ({"steps": 1.5}, "config.steps: expected int, got 1.5"),
        ({"steps": True}, "expected int, got True"),
        ({"flag": 1}, "expected bool, got 1"),
        ({"inner.widths": 8}, "expected tuple[int, ...], got 8"),
        ({"inner.widths": [8, "x"]}, "expected int, got 'x'"),
        ({"inner": 3}, "expected a mapping"),
        ({"steps.deep": 3}, "config.steps has no fields"),
        ({"inner.rate": "fast"}, "config.inner.rate: expected float, got 'fast'"),
    ],
)
def test_bad_overrides_say_where_and_what(changes, message):
    with pytest.raises(ValueError) as error:
        config.override(Outer(), changes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"updates_per_step": -1}, "schedule.updates_per_step: expected an integer from 0 to 2147483647, got -1"),
        ({"batch_size": 0}, "schedule.batch_size: expected an integer from 1 to 2147483647, got 0"),
        ({"warmup_steps": 200_000}, "schedule.warmup_steps: expected at most total_steps"),
    ],
)
def test_schedules_that_cannot_work_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**changes).validate()


@pytest.mark.parametrize("name", AGENTS)
def test_lists_become_tuples_in_every_configuration(name):
    """A list could change under a program that was compiled for it."""
    cls = importlib.import_module(f"pbrl.agents.{name}").Config
    widths = {f.name: value for f in fields(cls) if isinstance(value := getattr(cls(), f.name), tuple)}
    given = {name: list(value) for name, value in widths.items()}
    made = cls(**given)
    assert widths and made == cls() and jax.tree.structure(made) == jax.tree.structure(cls())
    assert replace(cls(), **given) == cls()
    given["actor_hidden"].append(9)
    assert made == cls()


def test_a_choice_of_another_type_is_told_of_as_well():
    assert config.suggest(None, ("layer", "none")) == "; did you mean 'none'?"
    assert config.suggest(True, ("layer", "none"), "norm") == "; known norms: layer, none"


def test_lists_become_tuples_in_runs_and_schedules():
    schedule = Schedule(imagine_length=[0, 1, 2, 3])
    run = Run("sac", "X", [0, 1], None, schedule, Path(), sinks=["jsonl"], trials=[{"config.tau": 0.1}])
    assert (schedule.imagine_length, run.seeds, run.sinks) == ((0, 1, 2, 3), (0, 1), ("jsonl",))
    assert run.trials == ({"config.tau": 0.1},) and replace(run, seeds=[[3], 4]).seeds == ((3,), 4)
