"""How tables, numbers and intervals are written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PICTURES = Path(__file__).parents[1] / "results"
NONE = "–"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; a bar within a cell is escaped."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def number(value: float, digits: int = 0) -> str:
    """Return a number with so many decimals, thousands apart."""
    return f"{round(value, digits) + 0.0:,.{digits}f}"  # + 0.0: no -0


def spread(aggregate: Mapping[str, float], digits: int = 0) -> str:
    """Return a mean and its interval of a stored `stats.Aggregate`; the mean alone of a single score."""
    mean, low, high = (number(aggregate[name], digits) for name in ("mean", "low", "high"))
    return mean if aggregate.get("n") == 1 else f"{mean} [{low}, {high}]"


def listed(values: Sequence[float | None], digits: int = 0) -> str:
    """Return one number for each seed."""
    return ", ".join(NONE if value is None else number(value, digits) for value in values)


def significant(value: float, digits: int = 3) -> str:
    """Return a number by its leading digits, without an exponent, thousands apart."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    return f"{float(text):g}" if "e" in text else text


def error(value: float) -> str:
    """Return an error: its power of ten where it is small, one leading digit else."""
    if value < 1e-2:
        return f"{value:.0e}".replace("e-0", "e-")
    return significant(value, 1) if value < 10 else f"{value:,.0f}"


def picture(name: str, title: str) -> str:
    """Return a picture of `results`, as seen from `docs/results`."""
    return f"![{title}](../../benchmarks/results/{name}.png)" if (PICTURES / f"{name}.png").exists() else ""


def machine(stored: Mapping[str, Any]) -> str:
    """Return the class of a machine: `AMD EPYC, 2 cores, jax 0.10.2`, with settings of its environment."""
    settings = "".join(f", `{k}={v.strip()}`" for k, v in stored.get("settings", {}).items())
    return f"{stored['cpu']}, {stored['cores']} cores, jax {stored['jax']}{settings}"


def section(title: str, *parts: str, level: int = 2) -> str:
    """Return a heading and what stands below it; parts that are empty are left out."""
    return "\n\n".join([f"{'#' * level} {title}", *(part.strip("\n") for part in parts if part)])


def origin(command: str, *facts: str) -> str:
    """Return where numbers come from: the command, then facts, apart by a full stop each."""
    return " ".join([f"`{command}`.", *(fact.rstrip(".") + "." for fact in facts if fact)])
