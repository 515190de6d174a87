"""The pages of results are what the committed files say, and no guide has an interval of its own."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pbrl.runs.folder import prepare

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))

import curves  # noqa: E402
from suites import SUITES, make_runs  # noqa: E402
from tables import markdown, pages, suite  # noqa: E402

INTERVAL = re.compile(r"\[\s*[-−]?\d[\d,.]*,\s+[-−]?\d[\d,.]*\s*\]")
RANGES = {"[-1, 1]", "[0.2, 1]", "[1, 2]", "[-5, 2]", "[-20, 2]", "[0, 1]"}
"""Of actions, heights and settings: no results."""
GENERATED = ("report_card.md", "accelerators.md")


@pytest.fixture(scope="module")
def texts():
    """What the command writes, by path."""
    return dict(pages.texts())


def test_the_pages_are_what_the_files_say(texts):
    for path, text in texts.items():
        assert path.read_text() == text, "run python benchmarks/results_pages.py"
    assert {*texts} == {*pages.FOLDER.iterdir()}


@pytest.mark.parametrize("guide", [ROOT / "README.md", ROOT / "benchmarks/README.md", *ROOT.glob("docs/**/*.md")])
def test_intervals_stand_on_generated_pages_alone(guide):
    if guide.parent == pages.FOLDER or guide.name in GENERATED:
        return
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", guide.read_text(), flags=re.DOTALL)
    found = {re.sub(r"\s+", " ", x) for x in INTERVAL.findall(prose)} - RANGES
    assert not found, "results belong into benchmarks/results and so on a page under docs/results"


def test_every_suite_stands_on_a_page(texts):
    assert not [name for name in SUITES if f"--suite {name}`" not in "".join(texts.values())]


def stored(name, **changes):
    """A stored row of a suite as its first row would be trained today, but for some leaves of its settings."""
    what = SUITES[name]
    row = what.rows[0]
    settings = dict(make_runs(what, name, row, 1, what.steps)[0].identity())
    for path, value in changes.items():
        part, _, leaf = path.partition("__")
        settings[part][leaf] = value
    return {"env": row.env, "label": row.label, "settings": settings}


def test_a_result_says_in_what_settings_it_differs_from_its_suite():
    what = SUITES["svg-horizon"]
    assert suite.others("svg-horizon", what, [stored("svg-horizon")]) == []
    (told,) = suite.others("svg-horizon", what, [stored("svg-horizon", config__tau=0.1)])
    assert told == "Made with other settings than the suite's of today: `config.tau`"
    gone = stored("svg-horizon") | {"label": "H = 99"}
    told = suite.others("svg-horizon", what, [stored("svg-horizon"), gone])
    assert told == ["Made with other settings than the suite's of today (H = 99): a row that the suite no longer has"]


def test_what_is_under_way_is_told():
    run = {"area": {"n": 3}, "under_way": {"3": 15_000}}
    assert suite.seeds_of(run) == "3 (under way: seed 3 at 15,000)"
    what = SUITES["svg-poplin"]
    assert "pbrl/PoplinHopper-v0 (H = 1; H = 2; H = 4)" in suite.absent(
        what, [{"env": "pbrl/PoplinHopper-v0", "label": "H = 0"}]
    )


def test_numbers_by_hand():
    assert markdown.spread({"n": 5, "mean": -604.4, "low": -1085.5, "high": 0.04}) == "-604 [-1,086, 0]"
    assert markdown.spread({"n": 1, "mean": 2.345, "low": 2.0, "high": 2.0}, 1) == "2.3"
    assert [markdown.significant(x) for x in (1054.4, 35.22, 0.0071, 0.00000596)] == [
        "1,054",
        "35.2",
        "0.0071",
        "5.96e-06",
    ]
    assert [markdown.error(x) for x in (9.2e-11, 0.0484, 1.18, 45.2, 1183.3)] == ["9e-11", "0.05", "1", "45", "1,183"]
    assert markdown.grid(["a", "|b|"], [["1", "x|y"]]) == "| a | \\|b\\| |\n|---|---|\n| 1 | x\\|y |"


def test_a_run_that_another_process_has_just_begun_has_no_curve_yet(tmp_path):
    what = SUITES["svg-mujoco"]
    run = replace(make_runs(what, "svg-mujoco", what.rows[0], 1, what.steps)[0], folder=tmp_path / "run")
    prepare(run)
    entries, words = curves.gather("no such suite", [(what.rows[0], [run])])
    assert (run.folder / "config.json").exists() and entries[0].seeds == {} and words == []
