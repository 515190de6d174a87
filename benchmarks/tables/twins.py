"""Tables of the twins of MuJoCo's tasks and of Brax: errors beside the simulator, and of gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

from card.evidence import read_json
from tables.markdown import NONE, error, grid, machine, origin, section

HORIZONS = ("1", "2", "4", "8", "16")
OWN = "own differences"


def machines(report: Mapping[str, Any]) -> str:
    """Return the classes of machine behind a report's rows."""
    return "; ".join(dict.fromkeys(machine(m) for m in report["machines"].values()))


def pair(values: Sequence[float]) -> str:
    """Return an error at the median and at the 95th percentile."""
    return " / ".join(map(error, values))


def fidelity() -> str:
    """Return errors of an observation after 1, 10 and 50 steps, for each precision and preset."""
    report, rows = read_json("twin-fidelity"), []
    for env, kinds in report["rows"].items():
        for kind, row in kinds.items():
            cells = [pair(row[f"error_{n}"]) for n in (1, 10, 50)]
            rows.append([env, kind, *cells, f"{row['terminations']:.1%}"])
    words = """Largest absolute error of an observation beside C MuJoCo, median / 95th percentile over states.
Terminations are the share of steps at which both agree whether the episode ends."""
    where = origin(report["command"], machines(report), f"{report['states']} states that a random policy reached")
    head = ["task", "twin", "one step", "10 steps", "50 steps", "terminations"]
    return section("Twins beside C MuJoCo", where, words, grid(head, rows))


def gradients() -> str:
    """Return errors of gradients by horizon: of the twins, of MJX' usual way, and of Brax' backends."""
    report = read_json("gradients")
    twins = [
        [env, kind, *(pair(row[h]["relative_error"]) for h in HORIZONS), f"{row['16']['switching']:.0%}"]
        for env, kinds in report["rows"].items()
        for kind, row in kinds.items()
        if kind != OWN
    ]
    brax = [
        [env, *(pair(kinds[OWN][h]["relative_error"]) for h in HORIZONS), *_last(kinds[OWN])]
        for env, kinds in sorted(report["rows"].items())
        if OWN in kinds
    ]
    head = [f"H = {h}" for h in HORIZONS]
    words = """Relative error of the derivative of H rewards and the last observation along a random direction, in
float64, median / 95th percentile over states. It is against central differences of C MuJoCo, and for Brax of Brax
itself."""
    where = origin(report["command"], machines(report), f"{report['states']} states, no action at a bound")
    return section(
        "Gradients of oracles", where, words,
        section("MuJoCo's tasks", SWITCHING, grid(["task", "derivative", *head, "switching"], twins), level=3),
        section("Brax", grid(["", *head, "cosine at H = 16, median"], brax), level=3),
    )  # fmt: skip


SWITCHING = """"Switching" is the share of states where differences of two widths disagree by more than a thousandth at
H = 16. There a contact begins or ends. `one iteration` is MJX' own solver, stopped after one."""


def _last(row: Mapping[str, Any]) -> list[str]:
    return [f"{row['16']['cosine'][0]:.2f}" if "cosine" in row["16"] else NONE]
