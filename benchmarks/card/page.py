"""The page `docs/report_card.md`: how verdicts are made, how many of each there are, and a table for each paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from card.claim import FAILED, OPEN, REPRODUCED, SMALLER, UNTESTED, VERDICTS, Claim, verdict
from card.rules import Finding
from tables.markdown import grid

TOP = Path(__file__).with_name("top.md")
PAGE = Path(__file__).parents[2] / "docs" / "report_card.md"
AIMS = "Our aims"
OF_AIMS = {REPRODUCED: "met", SMALLER: "met", FAILED: "missed", OPEN: OPEN, UNTESTED: "no result"}
"""What a verdict is called where the claim is our own aim, at our own sizes."""
PICTURES = {
    "MAGE": ("report-mage", "MAGE: ours, and the returns that its Table 1 has after millions of steps"),
    "MAAC": ("report-maac", "MAAC: ours, and the returns that its Table 1, its text and a benchmark have"),
    "SAC-SVG(H)": ("report-svg", "SVG(2): ours in front of the published curves"),
}

BELOW = {
    "MAGE": """The paper prints curves without numbers; Table 1 alone has some. Appendix D holds settings, which
[MAGE's page](algorithms/mage.md#defaults-and-where-they-come-from) has.""",
    "MAAC": """The paper prints curves without numbers. Tables 1 and 2 have some, and so has a benchmark on the same
tasks (mbbl). More is on [MAAC's page](algorithms/maac.md).""",
    "SAC-SVG(H)": """Curves are read off pictures in the authors' notebooks; MBPO's are its authors' files. Tables 3
and 4 hold settings, which [SVG's page](algorithms/svg.md#settings) has. MBPO's tasks have no prefix here.""",
    AIMS: """What this repository set out to reach at `cpu` sizes, by the same rules. An aim is met, missed, undecided,
or without a result.""",
}
"""A sentence or two under each heading."""


def text(papers: Mapping[str, Sequence[Claim]]) -> str:
    """Return the whole page."""
    judged = {name: [(claim, claim.find()) for claim in claims] for name, claims in papers.items()}
    parts = [TOP.read_text(), "## Counts", counts({name: rows for name, rows in judged.items() if name != AIMS})]
    for name, rows in judged.items():
        parts.append(f"## {name}")
        parts.append(BELOW[name])
        if name in PICTURES:
            file, title = PICTURES[name]
            parts.append(f"![{title}](../benchmarks/results/{file}.png)")
        parts.append(table(rows, name == AIMS))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def counts(judged: Mapping[str, Sequence[tuple[Claim, Finding]]]) -> str:
    """Return the number of rows by paper and verdict."""
    rows = {name: [verdict(claim, finding) for claim, finding in pairs] for name, pairs in judged.items()}
    rows["all"] = [v for verdicts in rows.values() for v in verdicts]
    cells = [[name, *(str(found.count(v)) for v in VERDICTS), str(len(found))] for name, found in rows.items()]
    return grid(["", *VERDICTS, "rows"], cells)


def table(rows: Sequence[tuple[Claim, Finding]], aims: bool = False) -> str:
    """Return the table of a paper."""
    lines = []
    for claim, finding in rows:
        said = verdict(claim, finding)
        said = OF_AIMS[said] if aims else said
        python = "" if claim.command.startswith("pbrl") else "python benchmarks/"
        command = f"`{python}{claim.command}`" if claim.command else ""
        numbers = ours(claim, finding)
        lines.append((claim.where, claim.text, claim.published, finding.rule, numbers, f"**{said}**", command))
    return grid(["where", "claim", "published", "rule", "ours", "verdict", "command"], lines)


def ours(claim: Claim, finding: Finding) -> str:
    """Return our numbers with sizes, steps and seeds, and what a test would take where there is none."""
    parts = [finding.numbers] if finding.numbers else []
    facts = [f"`{finding.sizes}` sizes"] if finding.sizes else []
    facts += [f"{finding.steps:,} steps"] if finding.steps else []
    facts += [f"{finding.seeds} seeds" if finding.seeds != 1 else "1 seed"] if finding.seeds is not None else []
    if finding.numbers and facts:
        parts.append(", ".join(facts))
    if verdict(claim, finding) == UNTESTED and claim.takes:
        parts.append(f"Would take {claim.takes}")
    return ". ".join(parts) or "–"


def write(papers: Mapping[str, Sequence[Claim]]) -> None:
    """Write the page."""
    PAGE.write_text(text(papers))
