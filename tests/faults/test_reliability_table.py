"""The table of faults is that of the last results, and its program tells outcomes apart."""

import importlib.util
import json
import sys
import warnings
from pathlib import Path

import pytest

from pbrl.errors import RunError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def reliability():
    """The program, which imports its neighbour."""
    sys.path.insert(0, str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("reliability", BENCHMARKS / "reliability.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(BENCHMARKS))
    return module


def test_the_table_in_the_docs_is_that_of_the_results(reliability):
    text = reliability.DOCS.read_text()
    shown = text.partition(reliability.BEGIN)[2].partition(reliability.END)[0].strip()
    results = json.loads(reliability.RESULTS.read_text()) if reliability.RESULTS.exists() else {}
    assert shown == (reliability.table(results) if results else "")


def test_outcomes_are_told_apart(reliability):
    def refused():
        raise RunError("no")

    def warned():
        warnings.warn("lost one row", stacklevel=1)
        return True

    found = [reliability.outcome(f, False)[0] for f in (refused, warned, lambda: 1 / 0, lambda: True, lambda: False)]
    assert found == ["refused", "said", "traceback", "silent", "silent"]
    assert reliability.outcome(lambda: True, True)[0] == "harmless"
    assert reliability.outcome(lambda: sys.exit(0), False)[0] == "silent"  # ended as if all were well


@pytest.mark.parametrize("group", ["returns", "overrides"])
def test_hostile_inputs_get_a_sentence(reliability, group):
    found = reliability.tried(group)
    assert not found["failures"] and sum(map(len, found["faults"].values())) > 0


def test_damaged_checkpoints_are_never_restored_silently(reliability, tmp_path):
    """A few of each fault; the program tries them all."""
    seen, outcomes = {}, set()
    for fault, _, attempt, may_pass in reliability.checkpoints(tmp_path):
        seen[fault] = seen.get(fault, 0) + 1
        if seen[fault] <= 3:
            outcomes.add(reliability.outcome(attempt, may_pass)[0])
    assert sum(seen.values()) > 200 and outcomes == {"said", "refused"}
