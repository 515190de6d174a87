"""The metrics that `docs/reference/metrics.md` explains."""

import re
from functools import cache
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "metrics.md"


@cache
def explained():
    """Return the keys in the first columns of the page's tables."""
    cells = re.findall(r"^\| (`[^|]*) \|", PAGE.read_text(), re.MULTILINE)
    return frozenset(key for cell in cells for key in re.findall(r"`([^`]*)`", cell))


def unexplained(keys):
    """Return which of some metrics' keys the page lacks; a candidate's weight counts as the k-th."""
    return {key for key in keys if re.sub(r"_\d+$", "_k", key) not in explained()}
