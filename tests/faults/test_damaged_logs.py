"""Three hundred damaged logs: each is resumed, and every line that was there is still somewhere, or was told."""

import csv
import json
import random
import warnings
from collections import Counter

import pytest
from damage import damage

from pbrl.errors import RunError
from pbrl.runs import rows
from pbrl.runs.log import RunLog

STEPS = range(0, 200, 10)


def lines_of(path):
    return [line for line in path.read_bytes().split(b"\n") if line.strip()] if path.exists() else []


def csv_steps(folder):
    found = set()
    for path in [*folder.glob("*.csv"), *folder.glob("*.csv.kept*")]:
        with open(path, newline="", errors="replace") as file:
            kind = path.name.partition(".")[0]
            found |= {(kind, line["step"]) for line in csv.DictReader(file) if (line.get("step") or "").isdigit()}
    return found


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    log = RunLog(folder, sinks=("jsonl", "csv"))
    for step in STEPS:
        log.write("train", step, {"critic/loss": [1.0, step], "train/seconds": step})
        log.write("eval", step, {"eval/return": [-1.0, -step / 7]})
    return {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "train.csv", "eval.csv")}


@pytest.mark.parametrize("part", range(10))
def test_what_was_there_is_kept_or_named(tmp_path, sound, part):
    for number in range(30 * part, 30 * part + 30):
        rng, folder = random.Random(number), tmp_path / str(number)
        folder.mkdir()
        for name, content in sound.items():
            (folder / name).write_bytes(damage(content, rng) if name == "metrics.jsonl" else content)
        if rng.random() < 0.1:
            (folder / "metrics.jsonl").unlink()
        before, copies = lines_of(folder / "metrics.jsonl"), csv_steps(folder)
        resume = rng.choice([-1, 0, 100, 190])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                log = RunLog(folder, sinks=("jsonl", "csv"), resume_step=resume)
            except RunError as error:
                assert "\n" not in str(error)
                continue
            log.write("train", resume + 5, {"critic/loss": [1.0, 2.0]})
        told = " ".join(str(warning.message) for warning in caught)
        check_lines(folder, before, resume, told)
        kept = csv_steps(folder)
        dropped = {
            (row["kind"], str(row["step"])) for row in map(json.loads, lines_of(folder / "metrics.jsonl.dropped"))
        }
        first = {(kind, "0") for kind in rows.KINDS} if resume == -1 else set()  # written again, and alike
        assert copies <= kept | dropped | first, number
        for kind in ("train", "eval"):
            steps = [row["step"] for row in rows.read_rows(folder, kind)]
            assert len(steps) == len(set(steps)), number


def check_lines(folder, before, resume, told):
    """Every line is in one of three files; one that is not is a torn last one, or a row whose place another took."""
    after = Counter(line for name in ("", ".dropped", ".damaged") for line in lines_of(folder / f"metrics.jsonl{name}"))
    missing = list((Counter(before) - after).elements())
    if before and missing and missing[-1] == before[-1] and rows._row(before[-1]) is None:
        missing.pop()  # torn
    if "of steps that have a later one" not in told:
        assert all((row := rows._row(line)) and row["step"] == 0 and resume == -1 for line in missing), missing
    if (folder / "metrics.jsonl.damaged").exists():
        assert "damaged" in told
    if (folder / "metrics.jsonl.dropped").exists():
        assert "metrics.jsonl.dropped" in told
