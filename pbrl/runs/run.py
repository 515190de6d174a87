"""What a run is: all that is needed to repeat or resume it, and whether it can be."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pbrl import AGENTS
from pbrl import config as configs
from pbrl.errors import EnvError, RunError
from pbrl.runs import software
from pbrl.runs.dataset import Dataset
from pbrl.runs.feasible import check
from pbrl.runs.initial import Initial
from pbrl.runs.log import SINKS
from pbrl.runs.schedule import Schedule

DRIVERS = ("host", "device")
RESERVED = ("env", "id", "render", "render_mode", "who", "wrap", "max_episode_steps", "disable_env_checker")
"""Names that are no arguments of an environment's constructor, but pbrl's and Gymnasium's own."""
MAX_STREAMS = 2**16
"""Seeds of a run, or of all trials of a sweep."""


@dataclass(frozen=True)
class Run(configs.Frozen):
    """One training run: N seeds of one agent on one environment, or of each trial of a sweep.

    `config` is the agent's `Config`, `schedule` says when what is due, and `folder` is where the run is kept.
    """

    agent: str
    env: Any
    """The environment's id, or a function that makes one of Gymnasium's at every call (`pbrl.envs.factory`): it becomes
    `factory`, and its name the id."""
    seeds: tuple[int, ...]
    config: Any
    schedule: Schedule
    folder: Path
    seed_mode: str = "map"
    """How seeds share a device: "vmap", all at once, or "map", one after the other (`parallel.devices.over_seeds`)."""
    sinks: tuple[str, ...] = SINKS[:3]
    """Where metrics go; "wandb" only on request."""
    trials: tuple[Mapping[str, float], ...] = ()
    """A sweep's draws, each the values of the same leaves by path, such as `config.tau`; empty for an ordinary run."""
    oracle: str = ""
    """Imagine with the environment's own differentiable dynamics instead of a learned model: one of
    `pbrl.envs.oracles.PRESETS`; empty for the model."""
    driver: str = "host"
    """What steps the environments: "host" (Gymnasium's, one by one) or "device" (JAX's, within one program)."""
    float64: bool = False
    """Compute everything in float64; `jax_enable_x64` has to say the same before the run starts."""
    initial: Initial | None = None
    """Begin with what another run has learned; `None` begins anew."""
    data: Dataset | None = None
    """Begin with the transitions of a dataset in the replay buffer: `schedule.data_rows` of them, by default all."""

    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the environment's constructor: numbers, text, None, tuples and dicts of those."""
    wrap: tuple[str, ...] = ()
    """What is wrapped around it, from the inside: words of `pbrl.envs.wraps`, such as `frame-skip=2`."""
    factory: Callable[..., Any] | None = None
    """What makes the environment, where no id does; a run's folder keeps its name alone."""
    from_step: int | None = None
    """Go on from the checkpoint of this step, and set later ones aside; by default from the newest good one."""

    def __post_init__(self) -> None:
        """Take a function in the place of an id for what makes the environment, and all rows of a dataset."""
        super().__post_init__()
        if self.data is not None and not self.schedule.data_rows:
            object.__setattr__(self, "schedule", replace(self.schedule, data_rows=self.data.rows))
        if callable(self.env):
            from pbrl.envs import factory

            made_by: Any = self.env
            object.__setattr__(self, "factory", made_by)
            object.__setattr__(self, "env", factory.name_of(made_by))

    @property
    def stream_seeds(self) -> tuple[int, ...]:
        """The seed of every stream `[N]`: the seeds of an ordinary run; trial 0's, then trial 1's, ... of a sweep.

        A seed means the same environment seeds and keys in every trial, so that trials are compared on equal luck.
        """
        return self.seeds * max(len(self.trials), 1)

    def swept(self) -> dict[str, tuple[float, ...]]:
        """Return each swept leaf's values by its path within `config`, one for every stream."""
        paths = self.trials[0] if self.trials else ()
        return {_leaf(path): tuple(trial[path] for trial in self.trials for _ in self.seeds) for path in paths}

    def swept_leaves(self) -> dict[str, Any]:
        """Return `swept` as arrays `[N]`: the one place where streams of a sweep differ in their configuration."""
        import jax.numpy as jnp

        return {path: jnp.asarray(values, jnp.result_type(float)) for path, values in self.swept().items()}

    def trial(self, index: int) -> "Run":
        """Return the ordinary run whose configuration is that of one trial; the folder stays the sweep's."""
        changes = {_leaf(path): value for path, value in self.trials[index].items()}
        return replace(self, config=configs.override(self.config, changes), trials=())

    def validate(self) -> "Run":
        """Return self, or raise `RunError`."""
        from pbrl.runs import seeding

        if any(type(seed) is not int for seed in self.seeds):
            raise RunError(f"seeds: expected whole numbers of Python's int, got {list(self.seeds)}; convert them")
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise RunError(f"seeds: expected distinct numbers, got {list(self.seeds)}; equal seeds are one run twice")
        if len(self.seeds) * max(len(self.trials), 1) > MAX_STREAMS:
            raise RunError(f"seeds: expected at most {MAX_STREAMS}, those of all trials together, got more")
        if self.seed_mode not in ("vmap", "map"):
            raise RunError(f"seed_mode: expected 'vmap' or 'map', got {self.seed_mode!r}")
        if self.driver not in DRIVERS:
            raise RunError(f"driver: expected {' or '.join(map(repr, DRIVERS))}, got {self.driver!r}")
        if "jsonl" not in self.sinks or not set(self.sinks) <= set(SINKS):
            raise RunError(f"sinks: expected jsonl and some of {', '.join(SINKS[1:])}, got {', '.join(self.sinks)}")
        try:
            seeding.bits(self.seeds)
            check(agent_module(self.agent), self.config, self.schedule, self.dynamics())
        except (ValueError, OverflowError) as error:  # a number that no array can hold
            raise RunError(str(error)) from None
        there = self.data.rows if self.data else 0
        if self.schedule.data_rows > there:
            raise RunError(
                f"schedule.data_rows: expected at most {there}, the rows of "
                f"{self.data.id if self.data else 'no dataset, which --data gives'}, got {self.schedule.data_rows}"
            )
        self._validate_trials()
        self._validate_env()
        return self

    def _validate_env(self) -> None:
        for name in self.env_kwargs:
            if not name.isidentifier() or name in RESERVED:
                raise RunError(
                    f"env_kwargs: {name!r} can be no argument here; expected NAME=VALUE of the constructor's"
                )
        try:
            configs.storable(self.env_kwargs, "env_kwargs")
            if self.wrap:  # a policy is loaded where there is no Gymnasium, which words of wrappers stand for
                from pbrl.envs import wraps

                for word in self.wrap:
                    wraps.parse(word)
        except ValueError as error:
            raise RunError(str(error)) from None
        if self.driver == "device" and (self.env_kwargs or self.wrap or self.factory):
            raise RunError(
                f"{self.task}: the device driver steps functions in JAX, which take neither arguments nor wrappers; "
                "train with --driver host, or register functions of your own (docs/device.md)"
            )

    def _validate_trials(self) -> None:
        known = {f"config.{path}" for path in configs.leaf_paths(self.config)}
        for i, trial in enumerate(self.trials):
            if trial.keys() != self.trials[0].keys() or not trial.keys() or not trial.keys() <= known:
                raise RunError(
                    f"trial {i}: expected values of the same numeric leaves in every trial, got {', '.join(trial)}; "
                    f"the leaves are {', '.join(sorted(known))}"
                )
            try:
                check(agent_module(self.agent), self.trial(i).config, self.schedule)
            except ValueError as error:
                raise RunError(f"trial {i}: {error}") from None

    @property
    def title(self) -> str:
        """The agent's name, and what is unusual: an oracle, training on the device, float64."""
        return titled(self.agent, self.oracle, self.driver, self.float64)

    @property
    def task(self) -> str:
        """The environment's id, with the arguments and wrappers that make it another task."""
        given = [f"{name}={value}" for name, value in self.env_kwargs.items()]
        return f"{self.env} ({', '.join([*given, *self.wrap])})" if given or self.wrap else self.env

    @property
    def standard(self) -> bool:
        """Whether the environment is its id's own: only then what is known of the id, its twin too, is its own."""
        from pbrl.envs import wraps

        return self.factory is None and not self.env_kwargs and wraps.harmless(self.wrap)

    def make_env(self, **kwargs: Any) -> Any:
        """Return a new `pbrl.envs.gym.GymEnv` of the run's environment, with its arguments besides the run's own.

        Raises `EnvError` for one that cannot be made.
        """
        from pbrl.envs.gym import GymEnv

        return GymEnv(self.factory or self.env, wrap=self.wrap, **{**self.env_kwargs, **kwargs})

    def dynamics(self) -> Any:
        """Return the oracle that the run imagines with, or `None`. Raises `EnvError` where the environment has none."""
        if not self.oracle:
            return None
        if not self.standard:
            raise EnvError(f"{self.task} has no oracle: a twin is of its id's own settings; train without --oracle")
        from pbrl.envs import oracles

        return oracles.oracle(self.env, self.oracle)

    def identity(self) -> dict[str, Any]:
        """Return what a resumed run must share with the interrupted one: all but the length and the folder."""
        schedule = configs.to_json(self.schedule)
        schedule.pop("total_steps")
        schedule.pop("step_timeout")  # no number hangs on it
        for name in ("model_max_batches", "eval_on_training_env", "data_rows", "offline"):
            if not schedule[name]:
                schedule.pop(name)  # as runs of before there was one
        return {
            "agent": self.agent,
            "env": self.env,
            "seeds": list(self.seeds),
            "seed_mode": self.seed_mode,
            "config": configs.to_json(self.config),
            "schedule": schedule,
            **({"oracle": self.oracle == "fidelity" or self.oracle} if self.oracle else {}),  # True: as older runs
            **({"driver": self.driver} if self.driver != "host" else {}),
            **({"float64": True} if self.float64 else {}),
            **({"initial": self.initial.to_json()} if self.initial else {}),
            **({"data": self.data.to_json()} if self.data else {}),
            **({"trials": [dict(trial) for trial in self.trials]} if self.trials else {}),
            **({"env_kwargs": configs.plain(self.env_kwargs)} if self.env_kwargs else {}),
            **({"wrap": list(self.wrap)} if self.wrap else {}),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the content of `config.json`: the identity, and on what software and machine it runs."""
        return {**self.identity(), "schedule": configs.to_json(self.schedule), **software.here()}


def agent_module(name: str) -> Any:
    """Import `pbrl.agents.<name>`, or raise `RunError` with the nearest known name."""
    if name not in AGENTS:
        raise RunError(f"there is no agent {name!r}{configs.suggest(name, AGENTS, 'agent')}")
    return importlib.import_module(f"pbrl.agents.{name}")


def _leaf(path: str) -> str:
    return path.removeprefix("config.")


def titled(agent: str, oracle: str | bool = "", driver: str = "host", float64: bool = False) -> str:
    """Name an agent as curves and reports do."""
    parts = {"oracle": oracle, "speed": oracle == "speed", "device": driver == "device", "float64": float64}
    return ", ".join([agent, *(name for name, said in parts.items() if said)])
