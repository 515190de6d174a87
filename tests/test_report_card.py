"""The report card: each rule by hand, what is missing says so, and the page is what the committed files say."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from card import claim, evidence, mage, page, published, rules  # noqa: E402
from card.rules import Outcome  # noqa: E402
from claims import PAPERS  # noqa: E402
from suites import SUITES  # noqa: E402

HOLDS, FAILS, OPEN, MISSING = Outcome.HOLDS, Outcome.FAILS, Outcome.OPEN, Outcome.MISSING


def sample(*values, steps=100, sizes="cpu"):
    return evidence.Sample("x", np.array(values, float), steps, sizes)


HIGH, LOW, WIDE = sample(9, 10, 11, 10, 10), sample(1, 2, 3, 2, 2), sample(0, 30, 0, 0, 0)


@pytest.mark.parametrize(
    ("finding", "outcome"),
    [
        (rules.at_or_above([HIGH, LOW]), HOLDS),
        (rules.at_or_above([LOW, HIGH]), FAILS),
        (rules.at_or_above([WIDE, HIGH]), OPEN),  # a mean of 6 in [0, 18]
        (rules.at_or_above([HIGH, WIDE]), HOLDS),  # the mean alone decides
        (rules.at_or_above([HIGH, LOW, sample(20, 20, 20, 20, 21)]), FAILS),  # behind one of two
        (rules.at_or_above([HIGH, sample(11, 11, 11, 11, 11)], slack=0.1), HOLDS),
        (rules.at_or_above([HIGH, sample(20, 20, 20, 20, 20)], slack=0.1), FAILS),
        (rules.above([HIGH, LOW]), HOLDS),
        (rules.above([HIGH, WIDE]), OPEN),
        (rules.above([WIDE, HIGH]), FAILS),
        (rules.below([LOW, HIGH]), HOLDS),
        (rules.below([HIGH, LOW]), FAILS),
        (rules.below([sample(1, 11, 21, 31), sample(2, 12, 22, 32)]), OPEN),
        (rules.below([sample(1, 11, 21, 31), sample(2, 12, 22, 32)], paired=True), HOLDS),
        (rules.alike([HIGH, sample(10, 11, 10, 9, 10)]), HOLDS),
        (rules.alike([HIGH, WIDE]), OPEN),
        (rules.alike([HIGH, LOW]), FAILS),
        (rules.reaches([HIGH], 10), HOLDS),
        (rules.reaches([HIGH], 10.5), OPEN),
        (rules.reaches([HIGH], 12), FAILS),
        (rules.reaches([HIGH], 12, by=101), MISSING),  # a longer run may
        (rules.reaches([HIGH], 10, by=101), HOLDS),  # sooner than claimed
        (rules.after(100, rules.above([HIGH, LOW])), HOLDS),
        (rules.after(101, rules.above([HIGH, LOW])), MISSING),
        (rules.within_factor("x", 3.0, 1, 2, 1.5), HOLDS),
        (rules.within_factor("x", 3.1, 1, 2, 1.5), FAILS),
        (rules.within_factor("x", None, 1, 2, 1.5), MISSING),
        (rules.equal("x", np.array([1.0, 2.0]), np.array([1.0, 2.1]), 0.2), HOLDS),
        (rules.equal("x", np.array([1.0, 2.0]), np.array([1.0, 2.1]), 0.01), FAILS),
        (rules.above([sample(9), sample(1)]), OPEN),  # of one seed each
        (rules.at_or_above([HIGH, sample(1, np.nan, 3, 2, 2)]), OPEN),  # a seed that diverged
        (rules.above(None), MISSING),
    ],
)
def test_each_rule_by_hand(finding, outcome):
    assert finding.outcome is outcome


def test_some_of_several_tasks():
    yes, no, none = rules.above([HIGH, LOW]), rules.above([LOW, HIGH]), rules.above(None)
    assert rules.at_least(2, {"A": yes, "B": yes, "C": none}).outcome is HOLDS
    assert rules.at_least(2, {"A": yes, "B": no, "C": none}).outcome is MISSING
    assert rules.at_least(2, {"A": no, "B": no, "C": none}).outcome is FAILS
    assert rules.at_least(1, {"A": rules.above([HIGH, WIDE]), "B": no}).outcome is OPEN
    assert rules.both(yes, no).outcome is FAILS and rules.both(yes, none).outcome is MISSING


def judge(finding, **fields):
    return claim.verdict(claim.Claim("Fig. 0", "x", "–", lambda: finding, "", **fields), finding)


def test_a_verdict_counts_seeds_sizes_steps_and_the_task():
    whole = rules.above([sample(9, 10, 11, 10, 10, sizes="paper"), sample(1, 2, 3, 2, 2, sizes="paper")])
    assert judge(whole, steps=100) == claim.REPRODUCED
    assert judge(whole, steps=101) == judge(whole, same_task=False) == judge(rules.above([HIGH, LOW])) == claim.SMALLER
    few = rules.above([sample(9, 10, 11, 10), LOW])
    assert judge(few) == claim.OPEN and judge(few, seeds=4) == claim.SMALLER
    assert judge(rules.above([sample(1, 2), HIGH])) == claim.FAILED
    assert judge(rules.above(None)) == claim.UNTESTED


@pytest.fixture
def results(tmp_path, monkeypatch):
    """An empty folder of results."""
    monkeypatch.setattr(evidence, "RESULTS", tmp_path)
    cached = (evidence.suite, evidence.read_json, evidence.read_csv)
    for function in cached:
        function.cache_clear()
    yield tmp_path
    for function in cached:
        function.cache_clear()


def store(folder, name, env, ends):
    """Commit curves of a suite: label -> the last step of each seed; seed i returns 10 i at all steps after 0."""
    runs, lines = [], ["env,label,seed,step,return"]
    for label, steps in ends.items():
        runs.append({"env": env, "label": label, "steps": max(steps), "seeds": list(range(len(steps)))})
        for seed, end in enumerate(steps):
            lines += [f"{env},{label},{seed},{t},{10 * seed * (t > 0)}" for t in range(0, end + 1, 10)]
    (folder / f"{name}.json").write_text(json.dumps({"runs": runs}))
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def test_without_results_nothing_can_be_tested(results):
    said = {claim.verdict(one, one.find()) for one in mage.figure_2()}
    assert said == {claim.UNTESTED}
    one = next(mage.figure_2())
    assert "Would take" in page.table([(one, one.find())])


def test_agents_are_compared_at_the_last_step_of_all(results):
    env = "pbrl/MageHopper-v0"
    store(results, "mage-mujoco", env, {"MAGE": (40, 40, 40), "TD3": (20, 30)})
    mage_, td3 = evidence.samples("mage-mujoco", env, ("MAGE", "TD3"), evidence.final)
    assert mage_.steps == td3.steps == 20 and mage_.sizes == "cpu"
    assert mage_.values.tolist() == [0, 10, 20] and td3.values.tolist() == [0, 10]
    areas = evidence.samples("mage-mujoco", env, ["TD3"])
    assert areas[0].values.tolist() == [0, 7.5]  # up to 10 within the first of two intervals
    assert evidence.samples("mage-mujoco", env, ("MAGE", "Dyna-TD3")) is None
    finding = mage.learns("Hopper", ("MAGE", "TD3"))
    assert finding.outcome is HOLDS and finding.seeds == 2
    assert judge(finding) == claim.OPEN


def test_published_numbers_name_their_source():
    rows = [m for name in ("mage", "maac", "svg", "curves", "frontier") for m in published.marks(name)]
    assert len(rows) > 500 and all(m.source and np.isfinite(m.mean) for m in rows)
    assert round(published.at("re-run", "pbrl/MbpoHopper-v0", "SVG(2)", 100_000)) == 3_106
    with pytest.raises(LookupError, match="has no step"):
        published.at("re-run", "pbrl/MbpoHopper-v0", "SVG(2)", 9_000_000)


def test_every_claim_has_a_command_that_is_there_or_says_what_it_takes():
    for one in (one for claims in PAPERS.values() for one in claims):
        assert one.command or one.takes, one
        words = one.command.split()
        if words and words[0] != "pbrl":
            assert (BENCHMARKS / words[0]).exists(), one
        if "--suite" in words:
            envs = {row.env for row in SUITES[words[words.index("--suite") + 1]].rows}
            assert "--env" not in words or words[words.index("--env") + 1] in envs


def test_the_page_is_what_the_files_say():
    assert page.text(PAPERS) == page.PAGE.read_text(), "run python benchmarks/report_card.py"
