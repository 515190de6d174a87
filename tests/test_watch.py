"""The policies that lie in the repository are what their table says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

POLICIES = Path(__file__).parents[1] / "examples" / "policies"


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in POLICIES.glob("*/policy.json")))
def test_a_stored_policy_is_filmed_and_earns_what_its_table_says(folder, tmp_path):
    words = [POLICIES / folder, "--seconds", "0.2", "--width", "64", "--out", tmp_path / "film.gif"]
    watch = [sys.executable, POLICIES.parent / "watch.py", *words]
    said = subprocess.run(watch, check=True, capture_output=True, text=True).stdout
    score = json.loads((POLICIES / folder / "score.json").read_text())
    assert abs(float(said.split("return ")[1].split()[0]) - score["return"]) < max(5 * score["std"], 10)
    assert (tmp_path / "film.gif").stat().st_size > 1_000


def test_the_stored_policies_are_small():
    assert sum(path.stat().st_size for path in POLICIES.rglob("*") if path.is_file()) < 1_000_000


def test_what_is_no_policy_is_refused_in_a_sentence(tmp_path):
    watch = [sys.executable, POLICIES.parent / "watch.py", tmp_path]
    tried = subprocess.run(watch, capture_output=True, text=True)
    assert tried.returncode == 2 and "holds no policy.json" in tried.stderr and "Traceback" not in tried.stderr
