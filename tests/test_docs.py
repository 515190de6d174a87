"""The programs in the documentation run."""

import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from small_agents import config, ready

import pbrl
from pbrl.envs.gym import GymEnv
from pbrl.runs import checkpoint
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import host
from pbrl.trained import export

ROOT = Path(__file__).parents[1]


def code_of(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


WITH_PROGRAMS = [
    page
    for page in ("README.md", *(str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("docs/**/*.md"))))
    if code_of(page)
]
SMALL = Schedule(
    total_steps=30, warmup_steps=25, batch_size=8, updates_per_step=1, model_every=0, eval_every=30, eval_episodes=1
)


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory):
    """The folder of a short run on Pendulum."""
    run = Run("sac", "Pendulum-v1", (0,), config("sac"), SMALL, tmp_path_factory.mktemp("docs") / "run")
    host.train(run)
    return run.folder


@pytest.mark.parametrize("page", WITH_PROGRAMS)
def test_the_programs_of_a_page_run(page, pendulum, tmp_path, monkeypatch, capsys):
    """All of a page's blocks, one after the other in one module: a page without an entry in `GIVEN` is whole by itself.

    Environments and rewards must be importable and hashable.
    """
    monkeypatch.chdir(tmp_path)
    given, check = GIVEN.get(page, nothing), CHECKS[page]
    module = types.ModuleType(NAMES.get(page, Path(page).stem.lower()))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for number, code in enumerate(code_of(page)):
        module.__dict__.update(given(number, module, pendulum))
        with jax.debug_key_reuse(page in ("README.md", "docs/quickstart.md")):
            exec(compile(code, f"{page}, program {number}", "exec"), module.__dict__)
    check(module, capsys.readouterr().out)


def nothing(number, module, pendulum):
    return {}


def given_readme(number, module, pendulum):
    return {"RUN": pendulum}


def given_policies(number, module, pendulum):
    """What was exported, too: skipped where that cannot be."""
    if number == 0:
        return {"RUN": pendulum}
    if any(map(export.missing, export.FORMATS)):
        pytest.skip("the packages of pbrl[export] are not installed")
    export.write(pbrl.load(pendulum), Path("policy"), list(export.FORMATS))
    return {"DIR": "policy"}


def given_planning(number, module, pendulum):
    """A small agent of MAGE, and observations of it."""
    state, keys = ready("mage"), jax.random.split(jax.random.key(0), 2)
    return {"state": state, "key": jax.random.key(1), "keys": keys, "obs": np.zeros(3), "many_obs": np.zeros((2, 3))}


def given_rail(number, module, pendulum):
    return {"config": config("mage"), "schedule": replace(SMALL, model_every=25)} if number else {}


def given_loop(number, module, pendulum):
    """A checkpoint of the page's first program with small networks, which it takes for its own then."""
    if number == 0:
        return {}
    small = replace(config("maac"), normalize_obs=True, max_epochs=2)
    schedule = replace(SMALL, model_every=10, imagine_every=10, imagine_batch=8, imagine_buffer=32)
    module.start.__defaults__ = small, schedule, 0
    checkpoint.save(Path("own"), 30, module.start(GymEnv("Pendulum-v1").spec), {"seed": 0})
    return {"FOLDER": Path("own")}


NAMES = {"docs/custom_environment.md": "rail"}
GIVEN = {
    "README.md": given_readme,
    "docs/custom_environment.md": given_rail,
    "docs/own_loop.md": given_loop,
    "docs/planning.md": given_planning,
    "docs/policies.md": given_policies,
}
"""Names that a page's programs may use before they are defined, by the number of the program."""


def check_readme(page, said):
    assert page.metrics["critic/loss"] > 0 and -2_000 < page.total < 0
    assert [line.split()[0] for line in said.splitlines()[1:]] == ["episode"] * 3


def check_rail(page, said):
    assert GymEnv("rail:Rail-v0").spec.reward_fn is sys.modules["rail"].reward  # as the command line names it
    assert page.main(Path("rail"), steps=1_000) > -12.0  # standing still is worth -16.7 on average


def check_policies(page, said):
    assert -2_000 < page.total < 0 and page.rows.shape == (5, 2, 1)
    for action in (page.action, page.same):
        np.testing.assert_allclose(action, pbrl.load(page.RUN)(np.zeros((1, 3))), atol=1e-5)


def check_device(page, said):
    returns = page.metrics["eval/return"]
    assert returns.shape == (2, 2, 2)
    assert returns[1, :, -1].mean() > 20.0  # of 50 at most; untrained it slides off early


def check_oracles(page, said):
    assert page.state.world is None and page.metrics["actor/loss"] != 0


CHECKS = {
    "README.md": check_readme,
    "docs/custom_environment.md": check_rail,
    "docs/device.md": check_device,
    "docs/own_loop.md": lambda page, said: page.step == 30 or pytest.fail(said),
    "docs/oracles.md": check_oracles,
    "docs/planning.md": lambda page, said: None,
    "docs/policies.md": check_policies,
    "docs/quickstart.md": lambda page, said: None,
    "docs/reference/training.md": lambda page, said: (
        callable(page.train_until) or pytest.fail(said)
    ),  # tests/train runs it
}


@pytest.mark.parametrize(("page", "example"), [("custom_environment", "rail"), ("own_loop", "own_loop")])
def test_a_page_shows_its_example(page, example):
    assert code_of(f"docs/{page}.md")[0] == (ROOT / f"examples/{example}.py").read_text()


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
