"""The accelerator sheet: it goes on where it was, times an update, and the page is what its files say."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from sheet import page, training, updates  # noqa: E402
from sheet.cells import Cells  # noqa: E402


def test_a_second_call_measures_what_is_missing(tmp_path):
    first = Cells(tmp_path / "part.json", 10.0, quick=True)
    first.record("a", {"ms": 1.0})
    first.failed("b", MemoryError("80 GiB are needed, 78 are there"))
    again = Cells(tmp_path / "part.json", 10.0, quick=True)
    assert again.missing(["a", "b", "c"]) == ["b", "c"]
    assert again["b"] == {"error": "MemoryError: 80 GiB are needed, 78 are there"}
    with pytest.raises(SystemExit, match="give another --out"):
        Cells(tmp_path / "part.json", 10.0, quick=False)


def test_seeds_are_added_until_they_do_not_pay(tmp_path):
    cells = Cells(tmp_path / "part.json", 10.0, quick=False)
    for seeds, rate in ((1, 100.0), (4, 390.0), (16, 400.0)):
        cells.record(updates.Work("sac", "update", seeds, "highest").name, {"updates_per_second": rate})
    assert updates.stalled(cells, updates.Work("sac", "update", 64, "highest"))
    assert not updates.stalled(cells, updates.Work("sac", "update", 16, "highest"))
    assert not updates.stalled(cells, updates.Work("sac", "update", 64, "default"))


def test_an_update_is_timed_and_counted(tmp_path):
    row = updates.Timed(updates.Work("td3", "update", 2, "highest"), quick=True).measure()
    config, schedule, spec = updates.settings("td3", "highest", quick=True)
    once = updates.flops("td3", "update", config, schedule, spec)
    assert row["ms"] >= row["ms_min"] > 0 and row["gflop"] == pytest.approx(2e-9 * once)
    (tmp_path / "updates.json").write_text(
        json.dumps(
            {
                "machine": {"device": "chip", "jax": "0", "cores": 2, "cpu": "cpu"},
                "quick": False,
                "complete": True,
                "peaks": {"highest": 1.0},
                "cells": {"td3 update, 2 seeds, highest": row | {"share_of_peak": 0.5}},
            }
        )
    )
    assert "| td3 update, 2 seeds, highest | " in page.table(tmp_path, "updates")


def test_every_training_can_be_run():
    for one in (*training.PENDULUM, *training.HALF_CHEETAH, *training.QUICK):
        training.run_of(one).validate()


def test_the_page_is_what_the_files_say():
    text = page.PAGE.read_text()
    for name in page.TABLES:
        assert f"{page.table(BENCHMARKS / 'results' / 'accelerator', name)}\n<!-- end of {name} -->" in text
