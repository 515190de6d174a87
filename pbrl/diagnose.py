"""`pbrl diagnose`: what a run's model is worth where its policy goes, printed, warned of and drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

BY_HORIZON = {
    "cosine": "cosine of policy gradients",
    "error": "relative error of the policy gradient",
    "snr": "signal-to-noise of the policy gradient",
    "imagined": "discounted rewards of H steps",
}
SECOND = {"snr": ("model", "true_snr", "truth"), "imagined": ("imagined", "real", "real")}


def diagnose(
    run: Path, /, *, step: int | None = None, horizons: tuple[int, ...] = (1, 2, 4, 8, 16), states: int = 64
) -> None:
    """Hold a run's model against the truth: gradients, imagined returns and the critics' range.

    From states of fresh episodes. Policy gradients go H steps through the model and through the environment's own
    dynamics, where it has differentiable ones; returns are compared everywhere. Writes diagnose.png and diagnose.json
    into the run's folder, with what --diagnose-every has written during training.

    Args:
        run: The run's folder.
        step: Look at the checkpoint of this step instead of the newest.
        horizons: Steps H through the model; those that are longer than half an episode are left out.
        states: For each of eight estimates of a gradient, whose spread is its noise.
    """
    from pbrl.gradcheck import require_some
    from pbrl.train.folder import load

    require_some(horizons, states)
    it = load(run)
    from pbrl import diagnosis, parallel, playback, runtime
    from pbrl.log import read_rows

    runtime.start(it.float64)
    parallel.use_cores(len(it.stream_seeds))
    diagnosis.check(it)
    learner, at = playback.restore_learner(it, step)
    measuring = diagnosis.Diagnosis(it, horizons, states)
    try:
        row = measuring.of(learner, at)
    finally:
        measuring.close()
    print(f"{it.title} on {it.env}, step {at}, mean over {len(it.stream_seeds)} seed(s)")
    print(table(row, measuring.horizons))
    if not measuring.truth:
        print(f"- {it.env} has no differentiable dynamics of its own: gradients have nothing to be compared with")
    for sentence in worries(row).values():
        print(f"- warning: {sentence}")
    past = read_rows(it.folder, "diagnose")
    draw(row, measuring.horizons, past, f"{it.title} on {it.env}, step {at}", it.folder / "diagnose.png")
    facts = {"step": at, "states": states, **{name: x.tolist() for name, x in row.items()}}
    (it.folder / "diagnose.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(it.folder / "diagnose.png")


def table(row: Mapping[str, np.ndarray], horizons: tuple[int, ...]) -> str:
    """Return means over seeds as lines of text: gradients and returns by horizon, then action gradients and critics."""
    mean = {name.removeprefix("diagnose/"): float(np.mean(x)) for name, x in row.items()}
    truth = f"cosine_h{horizons[0]}" in mean
    columns = {"norm": "norm", "snr": "signal/noise", "imagined": "imagined", "real": "real return"}
    if truth:
        columns = {
            "cosine": "cosine",
            "error": "rel. error",
            "true_norm": "true norm",
            "true_snr": "true s/n",
        } | columns
    lines = [f"{'H':>4} " + " ".join(f"{label:>12}" for label in columns.values())]
    for h in horizons:
        lines.append(f"{h:>4} " + " ".join(f"{mean[f'{name}_h{h}']:>12.4g}" for name in columns))
    if truth:
        cosine, error = mean["action_cosine"], mean["action_error"]
        lines.append(f"action-gradient of r + γQ, median over states: cosine {cosine:.4g}, relative error {error:.4g}")
    low, high, floor, ceiling = (mean[name] for name in ("q_low", "q_high", "q_floor", "q_ceiling"))
    lines.append(f"critics: {low:.4g} to {high:.4g} in these states; rewards so far allow {floor:.4g} to {ceiling:.4g}")
    return "\n".join(lines)


def worries(row: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return what of a diagnosis should worry, a sentence by name: exploited model, critics out of range, blown up."""
    found = {}
    horizons = sorted(int(name.rpartition("_h")[2]) for name in row if name.startswith("diagnose/imagined_h"))
    values = {name.removeprefix("diagnose/"): np.asarray(x, float) for name, x in row.items()}
    for h in horizons:
        gap = values[f"imagined_h{h}"] - values[f"real_h{h}"]
        runs_away = gap > np.maximum(values[f"spread_h{h}"], 0.1 * np.abs(values[f"real_h{h}"])) + 1e-3
        if runs_away.any() or not np.isfinite(gap).all():
            i = int(np.argmax(np.where(np.isfinite(gap), gap, np.inf)))
            imagined, real = (f"{values[name][i]:.4g}" for name in (f"imagined_h{h}", f"real_h{h}"))
            found["exploited"] = (
                f"the policy may exploit its model: imagined rewards of {h} steps are {imagined}, real ones {real} "
                f"(seed {i} of {len(gap)}); shorten the horizon, or fit the model more often"
            )
            break
    slack = 0.1 * (values["q_ceiling"] - values["q_floor"])  # a fresh critic is a little off
    above, below = values["q_high"] > values["q_ceiling"] + slack, values["q_low"] < values["q_floor"] - slack
    if (above | below).any():
        i = int(np.argmax(above | below))
        low, high, floor, ceiling = (f"{values[name][i]:.4g}" for name in ("q_low", "q_high", "q_floor", "q_ceiling"))
        found["critics"] = (
            f"a critic says {low} to {high} where rewards so far allow {floor} to {ceiling}, r/(1-γ) (seed {i} of "
            f"{len(above)}); it may be diverging"
        )
    broken = [
        name for name, x in values.items() if name.startswith(("norm_h", "true_norm_h")) and not np.isfinite(x).all()
    ]
    if broken:
        found["infinite"] = f"gradients are not finite ({', '.join(broken)}): such updates are skipped"
    return found


def draw(
    row: Mapping[str, np.ndarray], horizons: tuple[int, ...], past: list[dict[str, Any]], title: str, path: Path
) -> None:
    """Draw the newest diagnosis by horizon, and below it, where training wrote some, the same over steps."""
    from matplotlib.figure import Figure

    kinds = [kind for kind in BY_HORIZON if f"diagnose/{kind}_h{horizons[0]}" in row]
    figure = Figure(figsize=(4.6 * len(kinds) + 0.4, 3.8 * (1 + bool(past)) + 0.3))
    axes = figure.subplots(1 + bool(past), len(kinds), squeeze=False)
    for axis, kind in zip(axes[0], kinds, strict=True):
        first, second, other = SECOND.get(kind, ("model against truth", "", ""))
        for name, label, colour in ((kind, first, 0), (second, other, 1)):
            if f"diagnose/{name}_h{horizons[0]}" in row:
                _line(axis, list(horizons), [row[f"diagnose/{name}_h{h}"] for h in horizons], label, colour)
        axis.set_xscale("log", base=2)
        axis.set_xticks(horizons, [str(h) for h in horizons])
        _label(axis, kind, "H, steps through the model")
    for axis, kind in zip(axes[1] if past else (), kinds, strict=bool(past)):
        steps = [one["step"] for one in past]
        there = [h for h in horizons if all(f"diagnose/{kind}_h{h}" in one for one in past)]
        for i, h in enumerate(dict.fromkeys(there[i] for i in (0, len(there) // 2, -1))):
            _line(axis, steps, [one[f"diagnose/{kind}_h{h}"] for one in past], f"H = {h}", i)
            if kind == "imagined":
                _line(axis, steps, [one[f"diagnose/real_h{h}"] for one in past], f"H = {h}, real", i, "--")
        _label(axis, kind, "environment steps")
    figure.suptitle(f"{title} (line: mean over seeds, band: least to largest)", fontsize=12)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _line(axis: Any, at: list[int], values: list[Any], label: str, colour: int, style: str = "-") -> None:
    from pbrl.plots import COLOURS

    each = np.array([np.atleast_1d(x) for x in values], float)  # [T, N]
    axis.plot(at, each.mean(1), style, marker="o", markersize=3, color=COLOURS[colour], linewidth=1.8, label=label)
    if each.shape[1] > 1:
        axis.fill_between(at, each.min(1), each.max(1), color=COLOURS[colour], alpha=0.14, linewidth=0)


def _label(axis: Any, kind: str, xlabel: str) -> None:
    from pbrl import plots

    axis.set_ylabel(BY_HORIZON[kind])
    axis.set_xlabel(xlabel)
    if kind in ("error", "snr"):
        axis.set_yscale("log")
    plots.finish(axis)
