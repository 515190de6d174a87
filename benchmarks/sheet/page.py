"""The sheet as Markdown: tables from the parts' JSON files, for the terminal and for `docs/accelerators.md`."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tables.markdown import grid

PAGE = Path(__file__).parents[2] / "docs" / "accelerators.md"
NOTHING = "Not measured on an accelerator yet."

Report = dict[str, Any]


def tables(folder: Path) -> str:
    """Return every part's table under its heading."""
    return "\n\n".join(f"{name}\n\n{table(folder, name)}" for name in TABLES)


def table(folder: Path, name: str) -> str:
    """Return one part's table, with the machine that it is from."""
    path = folder / f"{name}.json"
    if not path.exists():
        return NOTHING
    report = json.loads(path.read_text())
    machine = report["machine"]
    origin = f"{machine['device']}, jax {machine['jax']}, {machine['cores']} cores of a {machine['cpu']}"
    partial = "" if report.get("complete") else " Not all cells were measured."
    failed = [f"- {cell}: {row['error']}" for cell, row in report["cells"].items() if "error" in row]
    text = f"{origin}.{' Tiny sizes.' * report['quick']}{partial}\n\n{TABLES[name](report)}"
    return text + ("\n\n" + "\n".join(["Failed:", "", *failed]) if failed else "")


def write(folder: Path) -> None:
    """Put the tables between the page's markers."""
    text = PAGE.read_text()
    for name in TABLES:
        begin, end = f"<!-- {name}: written by benchmarks/accelerator.py --page -->", f"<!-- end of {name} -->"
        inner = f"{begin}\n{table(folder, name)}\n{end}"
        text, count = re.subn(
            re.escape(begin) + ".*?" + re.escape(end), lambda _, new=inner: new, text, flags=re.DOTALL
        )
        if count != 1:
            raise SystemExit(f"{PAGE.name} has no place for {name}: expected the line {begin}")
    PAGE.write_text(text)


def _measured(report: Report) -> dict[str, Any]:
    return {name: row for name, row in report["cells"].items() if "error" not in row}


def _right(report: Report) -> str:
    """Differences by precision, median and worst; of an agent's golden numbers the worst variant."""
    columns = ["rounding", "highest", "high", "default"]

    def cell(row: dict[str, Any], column: str) -> str:
        found = row.get(column)
        return f"{found['median']:.0e} / {found['worst']:.0e}" if found else ""

    rows = [[name, *(cell(row, column) for column in columns)] for name, row in sorted(_measured(report).items())]
    return grid(["difference to the CPU, median / worst", *columns], rows)


def _updates(report: Report) -> str:
    peaks = ", ".join(f"{rate:.3g} at `{precision}`" for precision, rate in report["peaks"].items())
    alone = report.get("compiled_alone")
    text = f"Peak of a matrix product, TFLOP/s: {peaks}."
    if alone:
        text += (
            f" {alone['cell']} compiles alone in {alone['first_s']:.1f} s, from the cache in {alone['again_s']:.1f} s."
        )
    head = [
        "",
        "ms of an update of all seeds",
        "updates a second",
        "TFLOP/s",
        "share of peak",
        "MiB a seed",
        "compiles in, s",
    ]
    order = lambda item: (item[0].split(",")[0], item[0].rpartition(" ")[2] != "highest", _seeds(item[0]))  # noqa: E731
    rows = []
    for name, row in sorted(_measured(report).items(), key=order):
        numbers = (f"{row['ms']:.3g}", f"{row['updates_per_second']:,.0f}", f"{row['tflops']:.3g}")
        more = (f"{row['share_of_peak']:.0%}", f"{row['mib_per_seed']:.0f}", f"{row['compile_s']:.0f}")
        rows.append([name, *numbers, *more])
    return f"{text}\n\n{grid(head, rows)}"


def _seeds(name: str) -> int:
    return int(name.split(", ")[1].split()[0])


def _training(report: Report) -> str:
    head = [
        "",
        "ms a step of all seeds",
        "updates a second",
        "all steps would take, s",
        "−200 after, s",
        "got to step",
        "return there",
        "compiled before, s",
    ]
    rows = []
    for name, row in _measured(report).items():
        solved = f"{row['solved_s']:.0f}" if row["solved_s"] is not None else "–"
        whole = f"{row['whole_s']:,.0f} ({row['total_steps']:,})"
        numbers = (f"{row['ms_per_step']:.3g}", f"{row['updates_per_second']:,.0f}", whole, solved)
        rows.append([name, *numbers, f"{row['step']:,}", f"{row['return']:.0f}", f"{row['compile_s']:.0f}"])
    return grid(head, rows)


def _twins(report: Report) -> str:
    head = ["", "ms", "a second", "compiles in, s"]
    order = lambda item: (item[0].split(",")[0], item[0].rpartition(" ")[2] != "step", item[1]["states"])  # noqa: E731
    rows = [
        [name, f"{row['ms']:.3g}", f"{row['per_second']:,.0f}", f"{row['compile_s']:.0f}"]
        for name, row in sorted(_measured(report).items(), key=order)
    ]
    return grid(head, rows)


TABLES: dict[str, Callable[[Report], str]] = {
    "right": _right,
    "updates": _updates,
    "training": _training,
    "twins": _twins,
    "learning": _training,
}
"""Each part's table, by its name."""
