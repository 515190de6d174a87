"""The claims of MAGE's paper, in its order."""

from collections.abc import Iterator

import numpy as np
from card.claim import Claim, hours, train
from card.evidence import Sample, column, peak, read_json, samples
from card.published import mark
from card.rules import Finding, above, after, at_or_above, below, both, reaches, scaled, untested, within_factor

ALL = ("MAGE", "Dyna-TD3", "TD3 ×10", "TD3")
LOCOMOTION = ("HalfCheetah", "Hopper", "Walker2d", "Swimmer", "Pusher")
CLASSIC = ("Pendulum", "CartPole")
HALF_CHEETAH, PENDULUM = "pbrl/MageHalfCheetah-v0", "pbrl/MagePendulum-v0"
NO_NUMBERS = "curves, no numbers"
LEARNED = "A learned reward costs MAGE and Dyna-TD3 little"


def learns(task: str, labels: tuple[str, ...]) -> Finding:
    """Hold the area of the first agent against the others', at the paper's sizes where there are such runs."""
    env = f"pbrl/Mage{task}-v0"
    suites = ("mage-classic",) if task in CLASSIC else ("mage-mujoco-paper", "mage-mujoco")
    found = next((s for s in (samples(suite, env, labels) for suite in suites) if s), None)
    return at_or_above(found)


def proposition() -> Iterator[Claim]:
    """The bound that the critic's loss comes from."""
    worst = read_json("mage-bound").get("error_over_bound", {}).get("largest")
    yield Claim(
        "Prop. 3.1", "The policy gradient's error is at most L/(1 - γ) times the mean error of ∇ₐQ", "a proof",
        lambda: within_factor("largest error over its bound, in 200 linear systems", worst, 0, 1, 1),
        "paper/mage_bound.py",
    )  # fmt: skip


def figure_2() -> Iterator[Claim]:
    """Learning curves: MAGE against all, and Dyna-TD3 against TD3 with as many updates."""
    for task in (*CLASSIC, *LOCOMOTION):
        suite = "mage-classic" if task in CLASSIC else "mage-mujoco"
        steps = 0 if task in CLASSIC else 100_000
        takes = hours("mage", "cpu", 100_000, 5, runs=2)
        text = "MAGE learns at least as fast as Dyna-TD3, TD3 ×10 and TD3"
        command = train(suite, f"pbrl/Mage{task}-v0")
        yield Claim(
            f"Fig. 2, {task}", text, NO_NUMBERS, lambda task=task: learns(task, ALL), command, takes, steps
        )  # fmt: skip
    yield Claim(
        "Fig. 2, Pendulum, smaller networks", text, NO_NUMBERS,
        lambda: at_or_above(samples("mage-classic-cpu", PENDULUM, ALL)), train("mage-classic-cpu"),
    )  # fmt: skip
    for task in (*CLASSIC, *LOCOMOTION):
        suite = "mage-classic" if task in CLASSIC else "mage-mujoco"
        yield Claim(
            f"Fig. 2, {task}", "Dyna-TD3 is not better than TD3 ×10", NO_NUMBERS,
            lambda task=task: learns(task, ("TD3 ×10", "Dyna-TD3")),
            train(suite, f"pbrl/Mage{task}-v0"), hours("mage", "cpu", 100_000, 5, runs=2),
            0 if task in CLASSIC else 100_000,
        )  # fmt: skip


def slope_error(other: str) -> Finding:
    """Hold MAGE's error of ∇ₐQ against half of another agent's, of the same first policies."""
    rows = read_json("mage-fig3").get("rows", {})
    if not {"MAGE", other} <= rows.keys():
        return below(None)
    mage, its = (Sample(x, np.array(rows[x]["mean"]["per_seed"]), 3_000, "cpu", 1) for x in ("MAGE", other))
    return below([mage, scaled(its, 0.5, f"half of {other}'s")], paired=True)


def figure_3() -> Iterator[Claim]:
    """The error of the action gradient for a policy that never changes."""
    for other in ("Dyna-TD3", "TD3"):
        yield Claim(
            "Fig. 3", f"MAGE's error of ∇ₐQ is much smaller (at most half) than {other}'s", "4 curves, no numbers",
            lambda other=other: slope_error(other), "paper/mage_fig3.py", seeds=4,
        )  # fmt: skip


def known_or_learned(agent: str) -> Finding:
    """Hold the area with a learned reward against that with the known one."""
    labels = [f"{agent}, {kind} reward" for kind in ("learned", "known")]
    return at_or_above(samples("mage-reward", PENDULUM, labels), slack=0.1)


def learned_reward(where: str) -> Claim:
    """The learned reward on tasks that it has not been tried on."""
    takes = f"rows with a learned reward in `mage-mujoco`: {hours('mage', 'cpu', 100_000, 5, runs=2)} a task"
    return Claim(
        where, LEARNED, NO_NUMBERS, lambda: untested("at or above, within 10%"), "", takes, 100_000
    )  # fmt: skip


def figures_4_to_6() -> Iterator[Claim]:
    """The learned reward, and what becomes of a critic without the TD error."""
    yield learned_reward("Fig. 4, Pusher")
    yield Claim(
        "Fig. 5", "MAGE-DDPG without the TD error (λ = 0): ‖∇ₐQ‖ falls to 0 and nothing is learned",
        "curve, no numbers", collapse, "paper/mage_fig5.py",
    )  # fmt: skip
    yield learned_reward("Fig. 6, CartPole and locomotion")
    yield Claim(
        "Fig. 6, Pendulum", LEARNED, NO_NUMBERS,
        lambda: both(*(known_or_learned(agent) for agent in ("MAGE", "Dyna-TD3"))), train("mage-reward"),
    )  # fmt: skip


def collapse() -> Finding:
    """Hold slope and return without the TD error against those with it."""
    last = {"step": "3000"}
    rows = {
        quantity: [
            column(
                "mage-fig5", {**last, "label": x, "quantity": quantity}, "value", x, steps=3_000, sizes="cpu", digits=n
            )
            for x in ("λ = 0", "λ = 0.05")
        ]
        for quantity, n in (("‖∇ₐQ‖", 5), ("return", 0))
    }
    if not all(x for pair in rows.values() for x in pair):
        return below(None)
    return both(*(below([x for x in pair if x]) for pair in rows.values()))


def figures_7_and_8() -> Iterator[Claim]:
    """The model's size, and λ."""
    large, small, smaller = (f"MAGE, {size}" for size in ("5×(128, 128)", "2×(64, 64)", "1×(32,)"))
    pusher = f"rows for Pusher in `mage-capacity`: {hours('mage', 'cpu', 100_000, 5, runs=6)}"
    yield Claim(
        "Fig. 7, Pusher", "A smaller model costs MAGE little, the smallest costs noticeably", NO_NUMBERS,
        lambda: untested("at or above, within 10%; above"), "", pusher, 100_000,
    )  # fmt: skip
    yield Claim(
        "Fig. 7, on Pendulum", "A moderately smaller model costs MAGE little", NO_NUMBERS,
        lambda: at_or_above(samples("mage-capacity", PENDULUM, (small, large)), slack=0.1),
        train("mage-capacity"), same_task=False,
    )  # fmt: skip
    yield Claim(
        "Fig. 7, on Pendulum", "The smallest model costs MAGE noticeably", NO_NUMBERS,
        lambda: above(samples("mage-capacity", PENDULUM, (large, smaller))), train("mage-capacity"), same_task=False,
    )  # fmt: skip
    yield Claim(
        "Fig. 8, HalfCheetah", "MAGE beats Dyna-TD3 with each of four λ in [0, 1]", NO_NUMBERS,
        lambda: untested("above"), "",
        f"`mage-lambda` on HalfCheetah: {hours('mage', 'cpu', 100_000, 5, runs=4)}", 100_000,
    )  # fmt: skip
    yield Claim(
        "Fig. 8, on Pendulum", "MAGE beats Dyna-TD3 with λ = 0.01, 0.05, 0.2 and 1", NO_NUMBERS, every_lambda,
        train("mage-lambda"), same_task=False,
    )  # fmt: skip


def every_lambda() -> Finding:
    """Hold MAGE with each λ against Dyna-TD3 of the same sizes and steps."""
    dyna = samples("mage-reward", PENDULUM, ["Dyna-TD3, known reward"])
    found = [samples("mage-lambda", PENDULUM, [f"λ = {v}"]) for v in ("0.01", "0.05", "0.2", "1")]
    if not dyna or not all(found):
        return above(None)
    return both(*(above([*one, *dyna]) for one in found if one))


def table_1() -> Iterator[Claim]:
    """Returns after millions of steps, and what an update costs."""
    for label, other in (("MAGE", "Dyna-TD3"), ("Dyna-TD3", "")):
        published = mark("mage", "Table 1", HALF_CHEETAH, label)
        yield Claim(
            "Table 1", f"{label}'s highest return on HalfCheetah within 3,000,000 steps", str(published),
            lambda m=published: reaches(samples("mage-mujoco", HALF_CHEETAH, [m.label], peak), m.mean, 3_000_000),
            train("mage-mujoco", HALF_CHEETAH, 3_000_000), hours("mage", "cpu", 3_000_000, 5), 3_000_000,
        )  # fmt: skip
        if other:
            yield Claim(
                "Table 1", f"{label} ends at or above {other}",
                f"{published} and {mark('mage', 'Table 1', HALF_CHEETAH, other)}",
                lambda: after(3_000_000, at_or_above(samples("mage-mujoco", HALF_CHEETAH, ALL[:2], peak))),
                train("mage-mujoco"), hours("mage", "cpu", 3_000_000, 5, runs=2), 3_000_000,
            )  # fmt: skip
    td3 = mark("mage", "Table 1", HALF_CHEETAH, "TD3")
    yield Claim(
        "Table 1", "TD3 needs 10,000,000 steps for what MAGE has after 3,000,000", str(td3),
        lambda: reaches(samples("mage-mujoco", HALF_CHEETAH, ["MAGE"], peak), td3.mean, 3_000_000),
        train("mage-mujoco", HALF_CHEETAH, 3_000_000), hours("mage", "cpu", 3_000_000, 5), 3_000_000,
    )  # fmt: skip
    twice = mark("mage", "text", "", "training time over Dyna-TD3")
    yield Claim(
        "Text", "The second derivative about doubles the training time", f"{twice} times Dyna-TD3's", slower,
        "paper/mage_fig3.py",
    )  # fmt: skip


def slower() -> Finding:
    """Hold the time of MAGE's training over Dyna-TD3's against the published factor."""
    rows = read_json("mage-fig3").get("rows", {})
    times = [rows[x]["training_seconds"] for x in ("MAGE", "Dyna-TD3") if x in rows]
    return within_factor("times Dyna-TD3's", times[0] / times[1] if len(times) == 2 else None, 2, 2, 1.5, "cpu")


CLAIMS = (*proposition(), *figure_2(), *figure_3(), *figures_4_to_6(), *figures_7_and_8(), *table_1())
