"""The pages under `docs/results`: which sections stand on which, in which order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tables import figures, frontier, gaps, scaling, speed, twins
from tables.markdown import picture, section
from tables.suite import suite

FOLDER = Path(__file__).parents[2] / "docs" / "results"
WRITTEN = "This page is written by `python benchmarks/results_pages.py`, from `benchmarks/results/`."
CURVES = """Each evaluation is 10 whole episodes of the deterministic policy. The area under the curve is the mean
return over the steps. Brackets hold 95 % percentile bootstrap intervals of the mean over seeds."""


GAP = picture("oracle-gap", "Learned model and true dynamics: returns and cosines")


@dataclass(frozen=True)
class Page:
    """A page: its title, what to know before its tables, and its sections."""

    title: str
    intro: str
    sections: tuple[Callable[[], str], ...]


MAGE_TRAINING = "pbrl train mage --env pbrl/MagePendulum-v0 --preset cpu --seeds 5 --steps 600 --out pendulum"
MAAC_TRAINING = "pbrl train maac --env Pendulum-v1 --preset cpu --seeds 5 --steps 1500"
FRONTIER = f"""What they mean is on [DHMBPO's page](../algorithms/dhmbpo.md#results). {CURVES}

Published means are of the curves that `4kubo/erl_lib` and `danielpalenicek/xqc` release, at their own sizes. XQC's
tasks have Gymnasium's own observations.

{picture("report-frontier", "MBPO's tasks: ours, and the curves that authors release")}"""
PLANNED = """5 seeds, 10 episodes each, two CPU cores. The numbers are as printed: no value by seed is kept. """
PAGES = {
    "mage": Page("MAGE: results", f"What they mean is on [MAGE's page](../algorithms/mage.md#curves). {CURVES}", (
        partial(suite, "mage-classic"), partial(suite, "mage-classic-cpu"), partial(suite, "mage-mujoco"),
        partial(suite, "mage-mujoco-paper"), partial(suite, "mage-lambda"), partial(suite, "mage-reward"),
        partial(suite, "mage-capacity"), figures.mage_fig3, figures.mage_fig5, figures.mage_bound,
        figures.td_loss_trial, partial(suite, "mage-td-loss"),
    )),
    "maac": Page("MAAC: results", f"What they mean is on [MAAC's page](../algorithms/maac.md#results). {CURVES}", (
        partial(suite, "maac-classic"), partial(suite, "maac-mujoco"), partial(suite, "maac-ablations"),
        partial(suite, "maac-parts"), partial(suite, "maac-halfcheetah"), figures.maac_fig3, figures.maac_variance,
        figures.maac_table2,
    )),
    "svg": Page("SAC-SVG(H): results", f"What they mean is on [SVG's page](../algorithms/svg.md#curves). {CURVES}", (
        partial(suite, "svg-classic"), partial(suite, "svg-mujoco"), partial(suite, "svg-poplin"),
        partial(suite, "svg-horizon"), partial(suite, "svg-hopper"), figures.svg_fig3,
        figures.svg_fig4, figures.svg_fig6,
    )),
    "frontier": Page("The frontier: results", FRONTIER, (
        frontier.table, partial(suite, "frontier"), partial(suite, "dhmbpo-parts"), partial(suite, "mage-critics"),
    )),
    "model_or_truth": Page(
        "Model or truth: results",
        f"What they mean is under [diagnosis](../diagnosis.md#model-or-truth). {CURVES}\n\n{GAP}", (
            partial(gaps.gap, "oracle-pendulum", "Pendulum"),
            partial(gaps.gap, "oracle-mujoco", "InvertedDoublePendulum and Hopper"),
            partial(gaps.gap, "oracle-contact", "Brax' hopper"),
        ),
    ),
    "oracles": Page("Oracles: results", "How to use them is under [oracles](../oracles.md).", (
        twins.fidelity, twins.gradients, speed.oracles,
    )),
    "planning": Page("Planning: results", "What they mean is under [planning](../planning.md#when-it-helps).", (
        partial(figures.planning, "mage-planning", "MAGE", MAGE_TRAINING,
                PLANNED + "The 5,000-step agents are of an earlier version with the same settings"),
        partial(figures.planning, "maac-table1", "MAAC (Table 1)", MAAC_TRAINING,
                PLANNED + "The 5,000-step agents are the suite `maac-classic`'s"),
    )),
    "speed": Page("Speed: results", "What is measured, and how, is under [benchmarks](../../benchmarks/README.md).", (
        partial(speed.updates, "update_speed", "An update beside the authors' code, AMD EPYC"),
        partial(speed.updates, "update_speed_xeon", "An update beside the authors' code, Intel Xeon"),
        speed.profile, speed.whole, speed.brax, speed.trainings, speed.guard,
    )),
    "scaling": Page("Seeds and devices: results", "What they mean is under [parallel](../parallel.md).", (
        scaling.seeds, scaling.devices, scaling.pod, partial(suite, "drivers"),
    )),
}  # fmt: skip


def index() -> str:
    """Return the page that lists the others."""
    lines = [f"- [{page.title.removesuffix(': results')}]({name}.md)" for name, page in PAGES.items()]
    more = ["- [Report card](../report_card.md): the papers' claims, each judged by a rule"]
    more += [
        "- [Accelerators](../accelerators.md): one GPU",
        "- [Reliability](../reliability.md#faults-tried): faults tried",
    ]
    return section("Results", f"Tables of everything that is measured. {WRITTEN}", "\n".join(lines + more), level=1)


def texts() -> Iterator[tuple[Path, str]]:
    """Yield every page's path and text."""
    yield FOLDER / "index.md", index() + "\n"
    for name, page in PAGES.items():
        parts = [part() for part in page.sections]
        yield FOLDER / f"{name}.md", section(page.title, WRITTEN, page.intro, *parts, level=1) + "\n"
