"""The claims of MAAC's paper, in its order."""

from collections.abc import Iterator

import numpy as np
from card.claim import Claim, hours, train
from card.evidence import Sample, column, final, read_csv, read_json, samples, suite
from card.published import mark
from card.rules import (
    Finding,
    above,
    alike,
    at_or_above,
    below,
    decide_above,
    decide_alike,
    equal,
    number,
    reaches,
    untested,
    within_factor,
)

TASKS = ("HalfCheetah", "Ant", "Hopper", "Walker2d")
BASELINES = ("SAC", "MBPO", "STEVE", "SVG(1)")
STAND_INS = ("Pendulum-v1", "InvertedPendulum-v5")
NO_NUMBERS = "curves, no numbers"
LONG = f"`maac-mujoco` to 200,000 steps: {hours('maac', 'cpu', 200_000, 5)} a task and agent"


def figure_2() -> Iterator[Claim]:
    """Learning curves: sooner than all, as high as SAC after many more steps."""
    text = "MAAC learns faster than SAC, MBPO, STEVE and SVG(1)"
    for task in TASKS:
        env = f"pbrl/Maac{task}-v0"
        command = train("maac-mujoco", env)
        yield Claim(
            f"Fig. 2, {task}", text, NO_NUMBERS,
            lambda env=env: above(samples("maac-mujoco", env, ("MAAC", *BASELINES))), command, LONG, 200_000,
        )  # fmt: skip
    for env in STAND_INS:
        yield Claim(
            f"Fig. 2, on {env.split('-')[0]}", text, NO_NUMBERS,
            lambda env=env: above(samples("maac-classic", env, ("MAAC", *BASELINES))),
            train("maac-classic"), same_task=False,
        )  # fmt: skip
    for task in TASKS:
        env = f"pbrl/Maac{task}-v0"
        published = mark("maac", "benchmark", env, "SAC", 1_000_000)
        yield Claim(
            f"Fig. 2, {task}", "MAAC reaches within 200,000 steps what SAC has after 1,000,000",
            f"SAC {published} (mbbl)", lambda env=env, m=published: ends(env, m.mean, 200_000),
            train("maac-mujoco", env, 200_000), LONG, 200_000,
        )  # fmt: skip
    yield Claim(
        "Fig. 2", "MAAC's lead over SAC grows with the dimension: it is larger on Ant than on Hopper", NO_NUMBERS,
        wider, train("maac-mujoco"), LONG, 200_000,
    )  # fmt: skip


def ends(env: str, value: float, by: int) -> Finding:
    """Hold MAAC's last return against a published one, at the paper's sizes where there are such runs."""
    found = [samples(name, env, ["MAAC"], final) for name in ("maac-halfcheetah", "maac-mujoco")]
    return reaches(next((s for s in found if s), None), value, by)


def lead(env: str) -> Sample | None:
    """Return MAAC's area less SAC's as a share of what MAAC has learned, seed by seed."""
    pair = samples("maac-mujoco", env, ("MAAC", "SAC"))
    if pair is None:
        return None
    ours = suite("maac-mujoco")[env, "MAAC"]
    learned = ours.returns.mean(0).max() - ours.returns.mean(0)[0]
    n = min(len(s.values) for s in pair)
    shares = (pair[0].values[:n] - pair[1].values[:n]) / learned
    return Sample(env[9:-3], shares, pair[0].steps, pair[0].sizes, 2)


def wider() -> Finding:
    """Hold the lead on the task of most dimensions against that on the one of fewest."""
    found = [lead(f"pbrl/Maac{task}-v0") for task in ("Ant", "Hopper")]
    return above([x for x in found if x] if all(found) else None)


def texts() -> Iterator[Claim]:
    """Numbers in the text."""
    for task, by, what in (("HalfCheetah", 50_000, "10,000 in about 50"), ("Ant", 150_000, "near-optimal within 150")):
        env = f"pbrl/Maac{task}-v0"
        published = mark("maac", "text", env, "MAAC")
        long = f"{hours('maac', 'paper', by, 4)}, or {hours('maac', 'cpu', by, 5)}"
        yield Claim(
            f"Text, {task}", f"MAAC's return is {what} trajectories ({by:,} steps)", str(published),
            lambda env=env, m=published, by=by: ends(env, m.mean, by), train("maac-mujoco", env), long, by,
            seeds=4,
        )  # fmt: skip


def errors(fit: str, step: int, source: str, horizon: int) -> Sample | None:
    """Return the policy gradient's error, a number a seed."""
    label = f"H = {horizon}" + (" with the true dynamics" if source == "true" else "")
    where = {"fit": fit, "step": str(step)}
    return column("maac-fig3", where, f"{source} {horizon}", label, steps=step, sizes="cpu", digits=2)


def figure_3() -> Iterator[Claim]:
    """The gradient's error by horizon, and the lemmas."""
    poor = lambda source, h: errors("poorly fitted", 130, source, h)  # noqa: E731
    rows = (
        ("The error of the policy gradient falls with H for short H", below, ("learned", 5), ("learned", 0)),
        ("It rises for long H: at H = 10 it is above that at 5", above, ("learned", 10), ("learned", 5)),
        ("It rises for long H at all: at H = 40 it is above that at 10", above, ("learned", 40), ("learned", 10)),
        ("The true dynamics have a smaller error at H = 5", below, ("true", 5), ("learned", 5)),
    )
    for text, rule, a, b in rows:
        found = [x for x in (poor(*a), poor(*b)) if x]
        yield Claim(
            "Fig. 3", text, NO_NUMBERS,
            lambda rule=rule, found=found: rule(found if len(found) == 2 else None, paired=True), "paper/maac_fig3.py",
        )  # fmt: skip
    yield Claim(
        "Lemma 4.1", "With H the bound's factor of the critic's error falls, that of the model's error rises",
        "a formula", shapes, "paper/maac_fig3.py",
    )  # fmt: skip
    yield Claim(
        "Lemma 4.2", "The bound on how far a policy's step goes astray", "a formula", lambda: untested("–"), "",
        "its constant, which the paper leaves open",
    )  # fmt: skip


def shapes() -> Finding:
    """Say whether both factors go the way that the lemma says, on the double integrator."""
    lemma = read_json("maac-fig3").get("lemma")
    if not lemma:
        return untested("equal")
    signs = np.concatenate([np.sign(np.diff(lemma["c1"])), -np.sign(np.diff(lemma["c2"]))])
    return equal("signs of the changes", signs, np.ones_like(signs), 0.0)


def figures_4_and_5() -> Iterator[Claim]:
    """MAAC without each of its parts."""
    parts = (
        ("Fig. 4", "Without the model's steps (H = 0) MAAC learns more slowly", above, "H = 0"),
        ("Fig. 4", "Without STEVE it learns as fast", alike, "no STEVE"),
        ("Fig. 4", "With one sample it learns as fast, on tasks of few dimensions", alike, "one sample"),
        ("Fig. 5", "Without imagined data it learns more slowly", above, "real data only"),
        ("Fig. 5", "Without entropy it learns more slowly", above, "no entropy"),
        ("Fig. 5", "A batch five times as large does not replace samples", at_or_above, "one sample, 5× batch"),
    )
    for where, text, rule, label in parts:
        yield Claim(
            f"{where}, its four tasks", text, NO_NUMBERS, lambda rule=rule: rule(None), "",
            f"`maac-ablations` on them: {hours('maac', 'cpu', 50_000, 5, runs=2)} a task and part", 200_000,
        )  # fmt: skip
        for env in STAND_INS:
            yield Claim(
                f"{where}, on {env.split('-')[0]}", text, NO_NUMBERS,
                lambda rule=rule, env=env, label=label: rule(samples("maac-ablations", env, ("MAAC", label))),
                train("maac-ablations"), same_task=False,
            )  # fmt: skip
    yield Claim(
        "Fig. 4, Ant", "With one sample it learns more slowly, on the task of most dimensions", NO_NUMBERS,
        lambda: above(None), "", f"`maac-ablations` on it: {hours('maac', 'cpu', 50_000, 5, runs=2)}", 200_000,
    )  # fmt: skip
    for env in STAND_INS:
        labels = ("H = 0", *(label for *_, label in parts[1:]))
        yield Claim(
            f"Figs. 4 and 5, on {env.split('-')[0]}", "Of all parts the model's steps (H > 0) matter most", NO_NUMBERS,
            lambda env=env, labels=labels: below(samples("maac-ablations", env, labels)),
            train("maac-ablations"), same_task=False,
        )  # fmt: skip


def table_1() -> Iterator[Claim]:
    """Converged agents, with and without planning."""
    for task in TASKS:
        env = f"pbrl/Maac{task}-v0"
        alone, planned = (mark("maac", "Table 1", env, label) for label in ("MAAC", "MAAC+MPC"))
        yield Claim(
            f"Table 1, {task}", "MAAC's return when it has converged", str(alone),
            lambda env=env, m=alone: ends(env, m.mean, 200_000),
            train("maac-mujoco", env, 200_000), LONG, 200_000,
        )  # fmt: skip
        much = "much" if task == "Ant" else "little"
        yield Claim(
            f"Table 1, {task}", f"Planning at test time adds {much}", f"{alone}, planned {planned}",
            lambda: untested("at or above"), "pbrl eval RUN --mpc", "agents that have converged (row above)", 200_000,
        )  # fmt: skip
    for steps, text in (
        (1_500, "Planning adds where there is still something to learn"),
        (5_000, "Planning adds little where there is not"),
    ):
        yield Claim(
            "Table 1, on Pendulum", text, "–", lambda steps=steps: planning(steps),
            "pbrl eval RUN --mpc", same_task=False,
        )  # fmt: skip


def planning(steps: int) -> Finding:
    """Judge what planning adds after so many steps on Pendulum: something early, nothing once it is learned."""
    early = steps < 5_000
    rule = "above" if early else "alike, within 20%"
    row = next((r for r in read_csv("maac-table1") if r["steps"] == str(steps)), None)
    if row is None:
        return untested(rule)
    policy, mean, low, high = (float(row[x]) for x in ("policy", "difference", "low", "high"))
    outcome = decide_above(mean, low) if early else decide_alike(mean, low, high, 0.2 * abs(policy))
    numbers = f"policy {number(policy)}; planning adds {number(mean)} [{number(low)}, {number(high)}]"
    return Finding(rule, outcome, numbers, int(row["seeds"]), steps, row["sizes"])


def table_2() -> Iterator[Claim]:
    """Where the time goes."""
    published = {
        task: {x: mark("maac", "Table 2", f"pbrl/Maac{task}-v0", x).mean for x in ("MAAC", "MBPO")}
        for task in ("HalfCheetah", "Hopper")
    }
    low, high = sorted(p["MAAC"] / p["MBPO"] for p in published.values())
    report = read_json("maac-table2")
    seconds = report.get("seconds_of_an_iteration", {})
    rest = seconds.get("imagination", 0) + seconds.get("fit_by_epochs", {}).get("20", 0)
    ratio = (seconds["updates"] + rest) / (seconds["updates"] / report["ratio_to_mbpo"] + rest) if seconds else None
    yield Claim(
        "Table 2", "An iteration of MAAC takes 1.2 to 1.9 times as long as MBPO's",
        f"{low:.1f} (Hopper), {high:.1f} (HalfCheetah)",
        lambda: within_factor("times MBPO's, with 20 epochs a fit", ratio, low, high, 1.5, "paper"),
        "paper/maac_table2.py",
    )  # fmt: skip
    parts = {
        task: mark("maac", "Table 2", f"pbrl/Maac{task}-v0", "optimisation").mean
        / mark("maac", "Table 2", f"pbrl/Maac{task}-v0", "model training").mean
        for task in published
    }
    few, many = sorted(parts.values())
    share = seconds["updates"] / seconds["fit_by_epochs"]["20"] if seconds else None
    yield Claim(
        "Table 2", "Updates take 1.5 to 2.5 times as long as the model's fit",
        f"{few:.1f} (HalfCheetah), {many:.1f} (Hopper)",
        lambda: within_factor("times a fit of 20 epochs", share, few, many, 1.5, "paper"), "paper/maac_table2.py",
    )  # fmt: skip


CLAIMS = (*figure_2(), *texts(), *figure_3(), *figures_4_and_5(), *table_1(), *table_2())
