"""What this repository set out to reach, by the same rules."""

from collections.abc import Iterator

import numpy as np
from card.claim import Claim, hours, train
from card.evidence import area, final, samples, suite
from card.mage import ALL, LOCOMOTION
from card.published import at, marks
from card.rules import Finding, Outcome, after, at_least, at_or_above, reaches, untested

MBPO = ("HalfCheetah", "Hopper", "Walker2d", "Ant")


def wins(name: str, envs: tuple[str, ...], labels: tuple[str, ...], count: int, steps: int) -> Finding:
    """Count the tasks on which, after so many steps, the first agent's area is at or above the others'."""
    return after(steps, at_least(count, {env[9:-3]: at_or_above(samples(name, env, labels, area)) for env in envs}))


def bound(env: str) -> float:
    """Return what the best published mean reward a step is worth for ever: `best / 1,000 / (1 - γ)`, at least 0."""
    task = env[9:]  # behind pbrl/ and the paper's name
    names = ("mage", "maac", "svg", "curves")
    returns = [m.mean for name in names for m in marks(name) if m.env.endswith(task)]
    return max([0.0, *returns]) / 1_000 / (1 - 0.99)


def ceiling(suites: tuple[str, ...]) -> Finding:
    """Hold every seed's last mean Q against what rewards allow."""
    excess = [
        (float(np.nan_to_num(q - bound(env), nan=np.inf)), f"{label} on {env[5:-3]}: {q:,.0f} of {bound(env):,.0f}")
        for name in suites
        for (env, label), rows in suite(name).items()
        for q in (seed["critic/q"] for seed in rows.last if "critic/q" in seed)
    ]
    if not excess:
        return untested("below")
    over = sum(e > 0 for e, _ in excess)
    text = f"{over} of {len(excess)} critics above; the furthest up is {max(excess)[1]}"
    return Finding("below", Outcome.FAILS if over else Outcome.HOLDS, text, None, 0, "cpu")


def aims() -> Iterator[Claim]:
    """The aims, one by one."""
    mage = tuple(f"pbrl/Mage{task}-v0" for task in LOCOMOTION)
    maac = tuple(f"pbrl/Maac{task}-v0" for task in MBPO)
    svg = tuple(f"pbrl/Mbpo{task}-v0" for task in MBPO)
    yield Claim(
        "MAGE", "Area at or above every baseline's on at least 4 of 5 tasks", "–",
        lambda: wins("mage-mujoco", mage, ALL, 4, 100_000), train("mage-mujoco"),
        hours("mage", "cpu", 100_000, 5, runs=10), 100_000,
    )  # fmt: skip
    yield Claim(
        "MAGE", "HalfCheetah at 100,000 steps", "8,500",
        lambda: reaches(samples("mage-mujoco", mage[0], ["MAGE"], final), 8_500, 100_000),
        train("mage-mujoco", mage[0]), hours("mage", "cpu", 100_000, 5), 100_000,
    )  # fmt: skip
    yield Claim(
        "MAAC", "Area at or above that of SAC with as many updates and MBPO's, on at least 3 of 4 tasks", "–",
        lambda: wins("maac-mujoco", maac, ("MAAC", "SAC, MAAC's updates", "MBPO"), 3, 50_000), train("maac-mujoco"),
        hours("maac", "cpu", 50_000, 5, runs=12), 50_000,
    )  # fmt: skip
    yield Claim(
        "MAAC", "HalfCheetah at 50,000 steps", "8,000",
        lambda: reaches(samples("maac-mujoco", maac[0], ["MAAC"], final), 8_000, 50_000),
        train("maac-mujoco", maac[0]), hours("maac", "cpu", 50_000, 5), 50_000,
    )  # fmt: skip
    yield Claim(
        "SVG(2)", "Area at or above SAC's on at least 3 of 4 tasks", "–",
        lambda: wins("svg-mujoco", svg, ("SVG(2)", "SAC"), 3, 100_000), train("svg-mujoco"),
        hours("svg", "cpu", 100_000, 5, runs=8), 100_000,
    )  # fmt: skip
    for env in svg:
        value = at("re-run", env, "SVG(2)", 100_000)
        yield Claim(
            "SVG(2)", f"{env[9:-3]} at 100,000 steps, as the authors' own re-run", f"{value:,.0f}",
            lambda env=env, v=value: reaches(samples("svg-mujoco", env, ["SVG(2)"], final), v, 100_000),
            train("svg-mujoco", env), hours("svg", "cpu", 100_000, 5), 100_000,
        )  # fmt: skip
    yield Claim(
        "All", "No critic's mean Q ends above the best published reward a step over 1 - γ, in any seed", "–",
        lambda: ceiling(("mage-mujoco", "svg-mujoco", "maac-mujoco")), "",
        "the suites `mage-mujoco`, `svg-mujoco` and `maac-mujoco`",
    )  # fmt: skip


CLAIMS = tuple(aims())
