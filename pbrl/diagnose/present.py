"""What a diagnosis says of a run's model: as a table, as warnings, as a picture (`pbrl diagnose`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

BY_HORIZON = {
    "cosine": "cosine of policy gradients",
    "error": "relative error of the policy gradient",
    "norm": "norm of the policy gradient",
    "snr": "signal-to-noise of the policy gradient",
    "imagined": "discounted rewards of H steps",
}
SECOND = {
    "norm": ("model", "true_norm", "truth"),
    "snr": ("model", "true_snr", "truth"),
    "imagined": ("imagined", "real", "real"),
}
OVER_TRAINING = {  # panel: what it draws, a label each
    "action-gradient: directions": {
        "cosine, median over states": "action_cosine",
        "states that agree, share": "action_agree",
    },
    "action-gradient: relative error": {"median over states": "action_error"},
    "critics": {
        "Q, least": "q_low",
        "Q, largest": "q_high",
        "rewards allow, least": "q_floor",
        "rewards allow, largest": "q_ceiling",
    },
}
ON_LOG = ("error", "norm", "snr", "action-gradient: relative error")


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
        cosine, error, agree = (mean[f"action_{what}"] for what in ("cosine", "error", "agree"))
        lines.append(
            f"action-gradient of r + γQ: median over states of cosine {cosine:.4g}, of relative error {error:.4g}; "
            f"same direction in {agree:.0%} of states"
        )
    low, high, floor, ceiling = (mean[name] for name in ("q_low", "q_high", "q_floor", "q_ceiling"))
    lines.append(f"critics: {low:.4g} to {high:.4g} in these states; rewards so far allow {floor:.4g} to {ceiling:.4g}")
    if "td_mean" in mean:
        lines.append(_td_errors(row))
    return "\n".join(lines)


def _td_errors(row: Mapping[str, np.ndarray]) -> str:
    """Say what δ averages to, whole and clipped, and Q where the next state is terminal: of all seeds' such rows."""
    names = ("td_mean", "td_clipped", "q_terminal", "terminal_rows")
    whole, clipped, q, count = (np.asarray(row[f"diagnose/{name}"], float) for name in names)
    count = np.nan_to_num(count)  # of a seed that has stored nothing
    line = f"TD error δ in replayed states: mean {whole.mean():.4g}, of δ clipped to ±1 {clipped.mean():.4g}; "
    if not count.any():
        return line + "no next state is terminal"
    there = count > 0
    q = (q[there] * count[there]).sum() / count.sum()
    return line + f"mean Q {q:.4g} where the next state is terminal ({count.sum():.0f} rows)"


def worries(row: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return what of a diagnosis should worry, a sentence by name: exploited model, critics out of range, blown up."""
    found = {}
    horizons = _horizons(row, "imagined")
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
    """Draw the newest diagnosis by horizon, and below it, where training wrote some, all that changes over steps.

    The past has the horizons that training measured, whatever those of the newest diagnosis.
    """
    from matplotlib.figure import Figure

    kinds = [kind for kind in BY_HORIZON if f"diagnose/{kind}_h{horizons[0]}" in row]
    tall = 3 if past else 1
    figure = Figure(figsize=(4.6 * len(kinds) + 0.4, 3.8 * tall + 0.3))
    axes = figure.subplots(tall, len(kinds), squeeze=False)
    for axis, kind in zip(axes[0], kinds, strict=True):
        first, second, other = SECOND.get(kind, ("model against truth", "", ""))
        for name, label, colour in ((kind, first, 0), (second, other, 1)):
            if f"diagnose/{name}_h{horizons[0]}" in row:
                _line(axis, list(horizons), [row[f"diagnose/{name}_h{h}"] for h in horizons], label, colour)
        axis.set_xscale("log", base=2)
        axis.set_xticks(horizons, [str(h) for h in horizons])
        _finish(axis, kind, "H, steps through the model")
    if past:
        _over_steps(axes[1:], kinds, past)
    figure.suptitle(f"{title} (line: mean over seeds, band: least to largest)", fontsize=12)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _over_steps(axes: Any, kinds: list[str], past: list[dict[str, Any]]) -> None:
    """Draw a row of what each horizon has, for three of them, and one of what knows no horizon."""
    steps = [one["step"] for one in past]
    for axis, kind in zip(axes[0], kinds, strict=True):
        there = [h for h in _horizons(past[-1], kind) if all(f"diagnose/{kind}_h{h}" in one for one in past)]
        if not there:  # the environment had no twin when training began
            axis.axis("off")
            continue
        for i, h in enumerate(dict.fromkeys(there[i] for i in (0, len(there) // 2, -1))):
            _line(axis, steps, [one[f"diagnose/{kind}_h{h}"] for one in past], f"H = {h}", i)
            if kind == "imagined":
                _line(axis, steps, [one[f"diagnose/real_h{h}"] for one in past], f"H = {h}, real", i, "--")
        _finish(axis, kind, "environment steps")
    free = iter(axes[1])
    for title, names in OVER_TRAINING.items():
        known = {label: name for label, name in names.items() if all(f"diagnose/{name}" in one for one in past)}
        if known:
            axis = next(free)
            for i, (label, name) in enumerate(known.items()):
                _line(axis, steps, [one[f"diagnose/{name}"] for one in past], label, i)
            _finish(axis, title, "environment steps")
    for axis in free:
        axis.axis("off")


def _horizons(row: Mapping[str, Any], kind: str) -> list[int]:
    return sorted(int(name.rpartition("_h")[2]) for name in row if name.startswith(f"diagnose/{kind}_h"))


def _line(axis: Any, at: list[int], values: list[Any], label: str, colour: int, style: str = "-") -> None:
    from pbrl.report.plots import COLOURS

    each = np.array([np.atleast_1d(x) for x in values], float)  # [T, N]
    axis.plot(at, each.mean(1), style, marker="o", markersize=3, color=COLOURS[colour], linewidth=1.8, label=label)
    if each.shape[1] > 1:
        axis.fill_between(at, each.min(1), each.max(1), color=COLOURS[colour], alpha=0.14, linewidth=0)


def _finish(axis: Any, what: str, xlabel: str) -> None:
    from pbrl.report import plots

    axis.set_ylabel(BY_HORIZON.get(what, what))
    axis.set_xlabel(xlabel)
    if what in ON_LOG and not any((line.get_ydata() <= 0).any() for line in axis.lines):  # the truth has no error
        axis.set_yscale("log")
    if what in ("cosine", "action-gradient: directions"):
        axis.set_ylim(-1.05, 1.05)
    plots.finish(axis)
