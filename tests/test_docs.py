"""The programs in the documentation run."""

import re
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from small_agents import config

import pbrl
from pbrl.envs.gym import GymEnv
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import host
from pbrl.trained import export

ROOT = Path(__file__).parents[1]


def code_of(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def load(code, name):
    """Run a program as a module of its own: environments and rewards must be importable and hashable."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(code, name, "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory):
    """The folder of a short run on Pendulum."""
    schedule = Schedule(
        total_steps=30, warmup_steps=25, batch_size=8, updates_per_step=1, model_every=0, eval_every=30, eval_episodes=1
    )
    run = Run("sac", "Pendulum-v1", (0,), config("sac"), schedule, tmp_path_factory.mktemp("docs") / "run")
    host.train(run)
    return run.folder


def test_the_custom_environment_trains(tmp_path):
    (code,) = code_of("docs/custom_environment.md")
    assert len(code.splitlines()) < 75
    rail = load(code, "rail")
    assert GymEnv("rail:Rail-v0").spec.reward_fn is rail.reward  # as the command line names it
    assert rail.main(tmp_path / "rail", steps=1_000) > -12.0  # standing still is worth -16.7 on average


def test_the_program_of_the_readme_runs(capsys):
    with jax.debug_key_reuse(True):
        program = load(code_of("README.md")[1], "readme")
    assert program.metrics["critic/loss"] > 0 and -2_000 < program.total < 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and all(line.startswith("episode ") for line in said)


def test_an_oracle_of_ones_own_trains():
    (code,) = code_of("docs/oracles.md")
    oracle = load(code, "own_oracle")
    assert oracle.state.world is None and oracle.metrics["actor/loss"] != 0


def test_a_jax_environment_of_ones_own_trains_on_the_device():
    (code,) = code_of("docs/device.md")
    metrics = load(code, "puck").metrics
    assert metrics["eval/return"].shape == (2, 2, 2)
    assert metrics["eval/return"][1, :, -1].mean() > 20.0  # of 50 at most; untrained it slides off early


def test_a_policy_of_a_run_acts(pendulum):
    load(code_of("README.md")[0].replace("RUN", repr(str(pendulum))), "readme_acts")
    acts = load(code_of("docs/policies.md")[0].replace("RUN", repr(str(pendulum))), "acts")
    assert -2_000 < acts.total < 0 and acts.rows.shape == (5, 2, 1)


@pytest.mark.skipif(any(map(export.missing, export.FORMATS)), reason="the packages of pbrl[export] are not installed")
def test_an_exported_policy_acts(pendulum, tmp_path):
    policy = pbrl.load(pendulum)
    export.write(policy, tmp_path, list(export.FORMATS))
    ran = load(code_of("docs/policies.md")[1].replace("DIR", repr(str(tmp_path))), "ran")
    for action in (ran.action, ran.same):
        np.testing.assert_allclose(action, policy(np.zeros((1, 3))), atol=1e-5)


TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*TOP, *ROOT.glob("benchmarks/**/README.md"), *ROOT.glob("docs/**/*.md")]
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)")


def anchors_of(page):
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page):
    for target, anchor in LINK.findall(page.read_text()):
        there = (page.parent / target) if target else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors_of(there), f"{page.name} links to {target}#{anchor}"


def test_the_version_is_the_same_everywhere():
    assert re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == pbrl.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == pbrl.__version__


def test_the_site_lists_every_page_once():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    pages, entries = [], list(settings["nav"])
    for entry in entries:  # grows as groups are opened
        value = entry if isinstance(entry, str) else next(iter(entry.values()))
        if isinstance(value, list):
            entries += value
        else:
            pages.append(value)
    docs = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert sorted(pages) == sorted(
        docs | {path.relative_to(ROOT).as_posix() for path in ROOT.glob("benchmarks/**/README.md")}
    )


@pytest.mark.parametrize(
    ("page", "target", "seen"),
    [
        ("diagnosis.md", "../benchmarks/results/x.png", "benchmarks/results/x.png"),
        ("results/mage.md", "../../benchmarks/results/x.png", "../benchmarks/results/x.png"),
        ("results/mage.md", "../algorithms/mage.md", "../algorithms/mage.md"),
        ("benchmarks/README.md", "../docs/results/mage.md", "../results/mage.md"),
        ("benchmarks/README.md", "results/x.png", "results/x.png"),
    ],
)
def test_links_out_of_docs_lead_to_where_the_site_has_their_target(page, target, seen, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import hooks

    assert hooks.seen_from(page, target) == seen
