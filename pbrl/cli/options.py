"""What `pbrl train` was asked for: preset, file and command line, checked and put together into a `Run`.

Later ones win: the agent's defaults, the preset, `--from FILE`, the options of the command line.
"""

import typing
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import tyro

from pbrl import AGENTS
from pbrl import config as configs
from pbrl.cli import output, words
from pbrl.cli.display import say
from pbrl.errors import RunError
from pbrl.presets import lookup, overrides
from pbrl.runs import initial
from pbrl.runs.dataset import Dataset
from pbrl.runs.folder import default_folder, refuse_modules_within
from pbrl.runs.log import SINKS
from pbrl.runs.placement import default_driver, default_seed_mode
from pbrl.runs.run import MAX_STREAMS, Run, agent_module
from pbrl.runs.schedule import Schedule

AUTO = "auto"
C = TypeVar("C")
O = TypeVar("O", bound="Train")  # noqa: E741


@dataclass(frozen=True)
class Train(Generic[C]):
    """Options of `pbrl train`; the defaults of `config` and `schedule` are the preset's."""

    about: ClassVar[str] = (
        "Train an agent; the same command again resumes. Defaults are those of the preset.\n"
        "An agent's own hyper-parameters show once it is named: pbrl train mage --env ID --help"
    )
    agent: str = ""
    """Same as the first word after `pbrl train`."""
    env: str = ""
    """Environment id (required); `pbrl list` shows some."""
    env_kwargs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE …")] = ()
    """Arguments of the environment's constructor, as Python writes them, or else text: g=5.0 xml_file=my.xml."""
    wrap: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD …")] = ()
    """What to wrap around it, from the inside: flatten, time-limit=200, rescale=-1,1 (observations), frame-skip=4, or
    MODULE:function of your own, which takes and returns an environment."""
    seeds: int = 1
    """Number of seeds, trained together."""
    first_seed: int = 0
    """Seeds are K, K+1, ..."""
    steps: int | None = None
    """Environment steps per seed; short for --schedule.total-steps."""
    diagnose_every: int | None = None
    """Steps between two diagnoses of the model, see `pbrl diagnose --help`; short for --schedule.diagnose-every."""
    preset: str = AUTO
    """Hyper-parameters to start from: see `pbrl list`. auto: those of `cpu` on a CPU, of `paper` on an accelerator."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from", metavar="FILE.yaml")] = None
    """YAML file of overrides by dotted path, such as `config.actor_lr: 3e-4`."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The run's folder; by default one under runs/, named after these options, so that the same command resumes."""
    from_step: int | None = None
    """Go on from the checkpoint of this step instead of the newest; later ones and their log are set aside."""
    init: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Begin with what another run of the same sizes has learned, on this task or another (docs/policies.md)."""
    init_step: int | None = None
    """Its checkpoint of this step instead of the newest."""
    init_parts: str = ",".join(initial.MOST)
    """Which parts of it: some of networks, optimisers, normaliser, model, replay."""
    data: Annotated[str | None, tyro.conf.arg(metavar="DATASET")] = None
    """Begin with the transitions of a Minari dataset, by folder or id; the preset's warm-up is left out (docs/data.md).
    With --schedule.offline True no others are collected."""
    sinks: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD,WORD,…")] = Run.sinks
    """Where metrics go besides metrics.jsonl, which is always written: some of csv, tensorboard, wandb; jsonl alone for
    none of them."""
    oracle: Literal["none", "fidelity", "speed"] = "none"
    """Imagine with the environment's own differentiable dynamics, where it has them, instead of a learned model.
    `--oracle` alone is "fidelity"; "speed" halves the contact solver's iterations in MuJoCo's tasks."""
    driver: Literal["auto", "host", "device"] = "auto"
    """Who steps the environments: Gymnasium ("host") or, in JAX, the training program itself ("device"); auto: device
    for an id that is an environment in JAX, host for any other, even if it has a twin in JAX."""
    seed_mode: Literal["auto", "map", "vmap"] = "auto"
    """Seeds on a device one after the other ("map") or all at once ("vmap"); auto: map on a CPU, vmap elsewhere."""
    float64: bool = False
    """Compute everything in float64, networks as well: slow; to see whether rounding matters."""
    config: C = field(default=typing.cast(Any, None))
    schedule: Schedule = field(default_factory=Schedule)


def parse(argv: Sequence[str], defaults: Train = Train(), prog: str = "pbrl train") -> Run:
    """Turn the words after `pbrl train` into a checked run; `defaults` hold what is not given.

    Raises `RunError` where something is impossible or unknown, before any environment is made. A word that is no
    option ends the process with code 2 and the nearest match, `--help` with code 0.
    """
    options = read(argv, defaults, prog)
    run = settle(make_run(options), options).validate()
    return replace(run, folder=options.out or default_folder(run))


def read(argv: Sequence[str], defaults: O, prog: str) -> O:
    """Turn the words into options of the type of `defaults`, whose `config` and `schedule` are whole; as `parse`."""
    cls: Any = type(defaults)
    following = [*argv[1:], ""]
    argv = [word for given, after in zip(argv, following, strict=False) for word in _flag(given, after)]
    if argv and not argv[0].startswith("-"):
        argv[0:1] = ["--agent", argv[0]]
    defaults = replace(defaults, **{name: words.peek(argv, name, getattr(defaults, name)) for name in ("agent", "env")})
    defaults = replace(defaults, preset=words.peek(argv, "preset", defaults.preset))
    if not defaults.agent:
        words.refuse_unknown(argv, [f.name.strip("_") for f in fields(cls)])
        if {"-h", "--help"} & set(argv):
            words.fill(cls[Annotated[None, tyro.conf.Suppress]], argv, defaults, f"{prog} AGENT", defaults.about)
        raise RunError(f"which agent? For example: {prog} mage --env Pendulum-v1; known agents: {', '.join(AGENTS)}")
    module, preset = agent_module(defaults.agent), suited() if defaults.preset == AUTO else defaults.preset
    try:
        changes = lookup.preset(preset, defaults.agent, defaults.env)
        config, schedule = overrides.apply(module.Config(), defaults.schedule, changes)
        if words.peek(argv, "data", defaults.data):
            schedule = replace(schedule, warmup_steps=0)  # random play is for an empty buffer
        if file := words.peek(argv, "from", defaults.from_):
            config, schedule = overrides.apply(config, schedule, overrides.read(Path(file), "--from"))
    except ValueError as error:
        raise RunError(str(error)) from None
    defaults = replace(defaults, config=config, schedule=schedule)
    whole = {"config": configs.to_json(config), "schedule": configs.to_json(schedule)}
    names = [f.name.strip("_") for f in fields(cls) if f.name not in whole]
    words.refuse_unknown(argv, [*names, *dict(overrides.flatten(whole))])
    options = words.fill(cls[module.Config], argv, defaults, f"{prog} {defaults.agent}", defaults.about)
    if options.preset == AUTO:
        say(f"preset: {preset} ({lookup.SUMMARIES[preset]}); others by --preset, see `pbrl list`")
    total = options.schedule.total_steps if options.steps is None else options.steps
    return replace(options, schedule=warmed_up(options.schedule, defaults.schedule, total))


def suited() -> str:
    """Return the preset that suits this machine: the papers' sizes take days on a CPU."""
    from pbrl.parallel import devices

    return "paper" if devices.accelerated() else "cpu"


def _flag(word: str, after: str) -> list[str]:
    """Let `--oracle` and `--float64` stand without a value."""
    alone = {"--oracle": "fidelity", "--float64": "True"}.get(word)
    return [word, alone] if alone and (after.startswith("-") or not after) else [word]


def make_run(options: Train) -> Run:
    """Make the run of these options, without a folder and unchecked but for what it takes to make it.

    Nothing here lets jax look for its devices; `settle` does, which chooses the seed mode as well.
    """
    if not options.env:
        raise RunError("which environment? Give one with --env, such as --env Pendulum-v1; `pbrl list` shows more")
    words.require("--seeds", options.seeds, 1, MAX_STREAMS)
    schedule = options.schedule
    if options.steps is not None:
        schedule = replace(schedule, total_steps=options.steps)
    if options.diagnose_every is not None:
        schedule = replace(schedule, diagnose_every=options.diagnose_every)
    seeds = tuple(range(options.first_seed, options.first_seed + options.seeds))
    run = Run(options.agent, options.env, seeds, options.config, schedule, Path(), "map", sinks(options.sinks))
    run = replace(run, env_kwargs=env_kwargs(options.env_kwargs), wrap=options.wrap)
    refuse_modules_within(run, options.out or Path("runs"))
    driver = options.driver if options.driver != "auto" else default_driver(options.env)
    oracle = options.oracle if options.oracle != "none" else ""
    run = replace(run, oracle=oracle, driver=driver, float64=options.float64, from_step=options.from_step)
    run = replace(run, data=Dataset.find(options.data)) if options.data is not None else run
    return replace(run, initial=_initial(options)) if options.init else run


def _initial(options: Train) -> initial.Initial:
    """Return what a run begins with."""
    assert options.init is not None
    parts = tuple(part for part in options.init_parts.split(",") if part)
    if options.init_step is None:
        return initial.Initial.newest(options.init, parts)
    return initial.Initial(options.init, options.init_step, parts)


def sinks(given: Sequence[str]) -> tuple[str, ...]:
    """Read words, or one word with commas, in the order of `SINKS`. Raises `RunError` for one that there is not."""
    asked = {name for word in given for name in word.split(",") if name}
    for name in sorted(asked - set(SINKS)):
        raise RunError(f"--sinks: there is no {name!r}{configs.suggest(name, SINKS, 'sink')}")
    return tuple(name for name in SINKS if name in asked | {"jsonl"})


def warmed_up(schedule: Schedule, preset: Schedule, total: int) -> Schedule:
    """Shorten a preset's warm-up to half of a run that would end in it, so that something is trained, and say so.

    A warm-up that was asked for stays, and with it the schedule's own refusal. A model is fitted by the warm-up's end.
    """
    warmup = schedule.warmup_steps
    if not 0 < total <= warmup or warmup != preset.warmup_steps:
        return schedule
    short = total // 2
    output.tell(
        f"warning: {total} steps end within the warm-up of {warmup}, so this run's is shortened to {short}: enough to "
        "see that everything works, not to learn"
    )
    return replace(schedule, warmup_steps=short, model_every=min(schedule.model_every, max(short, 1)))


def env_kwargs(words: Sequence[str]) -> dict[str, Any]:
    """Read `NAME=VALUE` words. Raises `RunError` for a word that is none, and for a name that comes twice."""
    given: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name in given:
            problem = f"{name} comes twice" if name in given else "expected NAME=VALUE, such as g=5.0"
            raise RunError(f"--env-kwargs {word}: {problem}")
        try:
            given[name] = configs.storable(configs.literal(value), f"--env-kwargs {name}")
        except ValueError as error:
            raise RunError(str(error)) from None
    return given


def settle(run: Run, options: Train) -> Run:
    """Make the devices that suit all streams of a run, where they can still be made, and choose its seed mode."""
    from pbrl.parallel import devices  # imports jax, which --help does without

    devices.use_cores(len(run.stream_seeds))
    return replace(run, seed_mode=options.seed_mode if options.seed_mode != "auto" else default_seed_mode())
