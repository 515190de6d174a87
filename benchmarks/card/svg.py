"""The claims of the SAC-SVG(H) paper's first four figures: MBPO's tasks, models, and where the model goes."""

from collections.abc import Iterator

import numpy as np
from card.claim import Claim, hours, train
from card.evidence import Sample, area, column, final, read_csv, samples
from card.published import at, curve, mark
from card.rules import above, after, at_or_above, below, reaches, untested

BOTH = "SVG actor, MVE critic"
MBPO = ("Ant", "HalfCheetah", "Hopper", "Humanoid", "Walker2d")
MILLIONS = {
    "Ant": 2_000_000,
    "HalfCheetah": 2_000_000,
    "Hopper": 1_000_000,
    "Humanoid": 5_000_000,
    "Walker2d": 2_000_000,
}


def long(task: str, runs: int = 1, steps: int = 0) -> str:
    """Return what the paper's length of an MBPO task takes, or so many steps."""
    steps = steps or MILLIONS[task]
    return f"`svg-mujoco` on {task} to {steps:,} steps: {hours('svg', 'cpu', steps, 5, runs=runs)}"


def figure_1() -> Iterator[Claim]:
    """A film of the Humanoid."""
    yield Claim(
        "Fig. 1", "A Humanoid runs", "a film, no number", lambda: untested("–"), "pbrl video RUN", long("Humanoid"),
        MILLIONS["Humanoid"],
    )  # fmt: skip


def figure_2() -> Iterator[Claim]:
    """MBPO's tasks: against SAC, along the published curve, and at the end."""
    for task in MBPO:
        env, length = f"pbrl/Mbpo{task}-v0", MILLIONS[task]
        command = train("svg-mujoco", env)
        both_rows = lambda measure, env=env: samples("svg-mujoco", env, ("SVG(2)", "SAC"), measure)  # noqa: E731
        has_sac = curve("Fig. 2", env, "SAC")[0].size > 0
        yield Claim(
            f"Fig. 2, {task}", "SVG(2) is at or above SAC at 100,000 steps",
            f"{two(env)}" if has_sac and task != "Walker2d" else "curves",
            lambda f=both_rows: after(100_000, at_or_above(f(final))), command, long(task, 2, 100_000), length,
        )  # fmt: skip
        if task != "Humanoid":
            value = at("re-run", env, "SVG(2)", 100_000)
            yield Claim(
                f"Fig. 2, {task}", "SVG(2) at 100,000 steps is where the authors' own re-run is", f"{value:,.0f}",
                lambda env=env, v=value: reaches(svg_2(env), v, 100_000), command,
                long(task, 1, 100_000), 100_000,
            )  # fmt: skip
        end = mark("svg", "re-run", env, "SVG(2)")
        yield Claim(
            f"Fig. 2, {task}", f"SVG(2) at {length:,} steps", f"{end} (re-run)",
            lambda env=env, m=end, n=length: reaches(svg_2(env), m.mean, n), train("svg-mujoco", env, length),
            long(task), length,
        )  # fmt: skip
        last = mbpo_end(env)
        yield Claim(
            f"Fig. 2, {task}", "SVG(2) ends at or above where MBPO's curve ends", f"MBPO {last:,.0f}",
            lambda env=env, v=last, n=length: reaches(svg_2(env), v, n), train("svg-mujoco", env, length),
            long(task), length,
        )  # fmt: skip
        steve = mark("svg", "Fig. 2", env, "STEVE")
        yield Claim(
            f"Fig. 2, {task}", "SVG(2) ends above STEVE", f"STEVE {steve}, read off a plot",
            lambda env=env, m=steve, n=length: reaches(svg_2(env), m.mean, n), command, long(task), length,
        )  # fmt: skip


def svg_2(env: str) -> list[Sample] | None:
    """Return SVG(2)'s last returns, at the paper's sizes where there are such runs."""
    found = [samples(name, env, ["SVG(2)"], final) for name in ("svg-hopper", "svg-mujoco")]
    return next((s for s in found if s), None)


def two(env: str) -> str:
    """Return both published curves at 100,000 steps."""
    svg, sac = (at("Fig. 2", env, label, 100_000) for label in ("SVG(2)", "SAC"))
    return f"{svg:,.0f} and {sac:,.0f}"


def mbpo_end(env: str) -> float:
    """Return where MBPO's published curve ends."""
    return float(curve("Fig. 2", env, "MBPO")[1][-1])


def figure_3() -> Iterator[Claim]:
    """How models generalise."""
    network, gru = (errors("test", model) for model in ("ensemble of MLPs", "GRU"))
    yield Claim(
        "Fig. 3", "One to five steps ahead, on new episodes, the ensemble has a smaller error than the GRU", "3 curves",
        lambda: below([network, gru] if network and gru else None, paired=True), "paper/svg_fig3.py", seeds=3,
    )  # fmt: skip
    gaps = [gap(model) for model in ("GRU", "ensemble of MLPs")]
    yield Claim(
        "Fig. 3", "The GRU overfits: its error on new episodes is further above that on its own", "3 curves",
        lambda: above([g for g in gaps if g] if all(gaps) else None, paired=True), "paper/svg_fig3.py", seeds=3,
    )  # fmt: skip


def errors(data: str, model: str) -> Sample | None:
    """Return a model's mean error one to five steps ahead with all data, a number a seed."""
    parts = max((int(row["part"]) for row in read_csv("svg-fig3")), default=0)
    where = {"data": data, "model": model, "part": str(parts)}
    ahead = [column("svg-fig3", where, f"error_{k}", model, sizes="cpu", digits=4) for k in range(1, 6)]
    values = [sample.values for sample in ahead if sample]
    return Sample(model, np.mean(values, 0), 0, "cpu", 4) if values else None


def gap(model: str) -> Sample | None:
    """Return the ratio of a model's test error to its training error."""
    test, train = (errors(data, model) for data in ("test", "train"))
    return Sample(model, test.values / train.values, 0, "cpu", 2) if test and train else None


def figure_4() -> Iterator[Claim]:
    """The model in the critic, in the actor, in both."""
    for task in MBPO:
        env, length = f"pbrl/Mbpo{task}-v0", MILLIONS[task]
        actor, critic = (curve("Fig. 4", env, label)[1][-1] for label in ("SVG actor", "MVE critic"))
        found = lambda measure, env=env: samples("svg-mujoco", env, ("SVG(2)", "MVE critic"), measure)  # noqa: E731
        yield Claim(
            f"Fig. 4, {task}", "The model in the actor ends at or above the model in the critic",
            f"{actor:,.0f} and {critic:,.0f} at the end", lambda f=found, n=length: after(n, at_or_above(f(final))),
            train("svg-mujoco", env, length), long(task, 2), length,
        )  # fmt: skip
        yield Claim(
            f"Fig. 4, {task}", "Early, the model in the critic is competitive: within 20 % of the area or above",
            "curves", lambda f=found: at_or_above((f(area) or [])[::-1], slack=0.2), train("svg-mujoco", env),
            long(task, 2, 100_000), 100_000,
        )  # fmt: skip
    ends = ", ".join(f"{task} {curve('Fig. 4', f'pbrl/Mbpo{task}-v0', 'both')[1][-1]:,.0f}" for task in MBPO)
    yield Claim(
        "Fig. 4, its five tasks", "The model in both ends below the model in the actor alone", ends,
        lambda: untested("below"), "", f"a row of both in `svg-mujoco`; on Hopper {hours('svg', 'cpu', 1_000_000, 5)}",
    )  # fmt: skip
    rows = (
        (
            "A weak model in the critic costs more return than in the actor",
            above,
            "return",
            ("SVG actor", "MVE critic"),
        ),
        (
            "It spoils the critic's values more: a larger |Q - Monte-Carlo return|",
            below,
            "bias_size",
            ("SVG actor", "MVE critic"),
        ),
        ("A weak model in both costs more return than in the actor alone", above, "return", ("SVG actor", BOTH)),
    )
    end = max((int(row["step"]) for row in read_csv("svg-fig4")), default=0)
    for text, rule, quantity, names in rows:
        cells = [
            column("svg-fig4", {"cell": cell, "step": str(end)}, quantity, cell, steps=end, sizes="cpu")
            for cell in names
        ]
        yield Claim(
            "Fig. 4, on Pendulum", text, "–",
            lambda rule=rule, cells=cells: rule([c for c in cells if c] if all(cells) else None),
            "paper/svg_fig4.py", same_task=False,
        )  # fmt: skip


CLAIMS = (*figure_1(), *figure_2(), *figure_3(), *figure_4())
