"""Try damaged and hostile inputs, and count what comes of them. `python benchmarks/reliability.py [--only GROUP ...]`

Each group writes its rows into `benchmarks/results/reliability.json`; the others stay as they were. `--table` prints
the table of `docs/reliability.md`, which lies there between markers. All is tried within one process, without training.

refused: one sentence and a code other than 0. said: gone on, with a warning. harmless: what may be read as it stands,
and was. traceback: an error that is not one of pbrl's. silent: gone on as if nothing had been.
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import hostile
import jax
import numpy as np

from pbrl.cli import main as cli
from pbrl.cli import options
from pbrl.envs.gym import GymEnv
from pbrl.report import plots
from pbrl.runs import checkpoint
from pbrl.runs.folder import load, prepare
from pbrl.runs.log import RunLog, read_rows

RESULTS = Path(__file__).parent / "results" / "reliability.json"
DOCS = Path(__file__).parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- table: python benchmarks/reliability.py -->", "<!-- end of the table -->"
OUTCOMES = ("refused", "said", "harmless", "traceback", "silent")
Case = tuple[str, str, Callable[[], bool], bool]
"""(fault, which one, what is tried, whether it may pass unsaid); what is tried returns whether its result is right."""


def outcome(attempt: Callable[[], bool], may_pass: bool) -> tuple[str, str]:
    """Carry out one attempt; return its outcome and what was said."""
    said, right, code = io.StringIO(), [False], 1
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stderr(said):
        warnings.simplefilter("always")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                code = cli.guarded(lambda: right.__setitem__(0, attempt()))
        except SystemExit as error:  # of tyro, which has said why
            code = error.code if isinstance(error.code, int) else 1
        except BaseException as error:
            return "traceback", f"{type(error).__name__}: {error}"
    text = said.getvalue() + " ".join(str(w.message) for w in caught if w.category is UserWarning)
    if code:
        return ("refused" if text.strip() else "silent"), text
    if not right[0]:
        return "silent", text
    return ("said" if text.strip() else "harmless" if may_pass else "silent"), text


# Checkpoints: two steps of a small tree; right is one of the two, to the bit


def tree(step: int) -> dict[str, Any]:
    """Return what the checkpoint of a step holds."""
    rng = np.random.default_rng(step)
    return {"w": rng.normal(size=(64, 32)).astype(np.float32), "n": np.array(step), "key": jax.random.key(step)}


def equal(a: Any, b: Any) -> bool:
    """Say whether two of them are the same to the bit."""
    plain = lambda t: {**t, "key": jax.random.key_data(t["key"])}  # noqa: E731
    return all(np.array_equal(x, y) for x, y in zip(*(jax.tree.leaves(plain(t)) for t in (a, b)), strict=True))


def checkpoints(work: Path) -> Iterator[Case]:
    """Damage the newest checkpoint, or both."""
    good = work / "good"
    for step in (10, 20):
        checkpoint.save(good, step, tree(step), {"capacity": 1})

    def attempt(damage: Callable[[Path, random.Random], None], seed: int, both: bool) -> bool:
        folder, rng = work / "bad", random.Random(seed)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        newest = sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: int(p.name))
        for one in newest if both else newest[-1:]:
            damage(one, rng)
        found, _, step = checkpoint.restore(folder, tree(0))
        return equal(found, tree(step)) and step == 10

    def any_file(folder: Path, rng: random.Random) -> Path:
        return rng.choice(sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size))

    def flip(folder: Path, rng: random.Random) -> None:
        path = any_file(folder, rng)
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)

    def cut(folder: Path, rng: random.Random) -> None:
        path = any_file(folder, rng)
        os.truncate(path, rng.randrange(path.stat().st_size))

    def link(folder: Path, rng: random.Random) -> None:
        path = any_file(folder, rng)
        shutil.move(path, work / f"moved-{rng.random()}")
        path.symlink_to("/etc/hostname")

    def seal(folder: Path, change: Callable[[dict, random.Random], Any], rng: random.Random) -> None:
        """Write a foreign manifest whose seal is right."""
        import hashlib

        from pbrl.runs.manifest import MANIFEST, SEAL

        content = json.loads((folder / MANIFEST).read_text())
        text = json.dumps(change(content, rng)).encode()
        (folder / MANIFEST).write_bytes(text)
        (folder / SEAL).write_bytes(hashlib.sha256(text).hexdigest().encode())

    def wrong_field(content: dict, rng: random.Random) -> Any:
        name = rng.choice(sorted(content.keys() - {"info"}))  # any `info` that is a mapping is its writer's word
        value = rng.choice([None, [], 3, "x", {"../../x": [1, "y"]}, -1, 1e308])
        return {**content, name: value if value != content[name] else "x"}

    def wrong_leaf(content: dict, rng: random.Random) -> Any:
        name = rng.choice(sorted(content["leaves"]))
        change = rng.choice(
            [("shape", [10**12]), ("shape", [-1]), ("dtype", "object"), ("dtype", "O8"), ("key", "rot13")]
        )
        leaves = {**content["leaves"], name: {**content["leaves"][name], change[0]: change[1]}}
        return {**content, "leaves": leaves}

    faults: list[tuple[str, int, Callable[[Path, random.Random], Any]]] = [
        ("one bit flipped", 80, flip),
        ("a file cut short", 40, cut),
        ("a file missing", 20, lambda folder, rng: any_file(folder, rng).unlink()),
        ("a file that does not belong there", 5, lambda folder, rng: (folder / "x.bin").write_bytes(b"x")),
        ("a file replaced by a link", 15, link),
        ("a foreign manifest, sealed", 30, lambda folder, rng: seal(folder, wrong_field, rng)),
        ("foreign arrays in a sealed manifest", 15, lambda folder, rng: seal(folder, wrong_leaf, rng)),
        ("an empty folder", 1, lambda folder, rng: (shutil.rmtree(folder), folder.mkdir())[1]),
    ]
    for fault, count, damage in faults:
        for seed in range(count):
            yield f"checkpoint: {fault}", str(seed), partial(attempt, damage, seed, False), False
    for seed in range(10):
        yield "checkpoint: all of them damaged", str(seed), partial(attempt, flip, seed, True), False


# Logs, configurations, command lines, environments


def base(work: Path) -> Path:
    """Make the folder of a run that has a log and has not trained."""
    folder = work / "run"
    run = options.parse(["sac", "--env", "Pendulum-v1", "--preset", "cpu", "--steps", "1000", "--out", str(folder)])
    prepare(run)
    log = RunLog(folder, sinks=("jsonl",))
    for step in range(0, 1001, 100):
        log.write("eval", step, {"eval/return": np.array([float(step)])})
        log.write("train", step, {"critic/loss": np.array([1.0])})
    log.close()
    return folder


def logs(work: Path) -> Iterator[Case]:
    """Damage lines of the log, and plot it as it is or resumed: what is lost must be said."""
    good = base(work)
    lines = (good / "metrics.jsonl").read_bytes().splitlines(keepends=True)

    def attempt(text: bytes, resume: bool) -> bool:
        folder = work / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        (folder / "metrics.jsonl").write_bytes(text)
        if resume:
            RunLog(folder, sinks=("jsonl", "csv"), resume_step=1000).close()
        cli.run(["plot", str(folder), "--out", str(work / "x.png")])
        return len(read_rows(folder, "eval")) > 0

    row = json.loads(lines[4])
    bent = {
        "torn in the middle of a line": lambda i: lines[i][: len(lines[i]) // 2] + b"\n",
        "zeros for a line": lambda i: b"\0" * len(lines[i]) + b"\n",
        "binary": lambda i: bytes(range(128, 256)) + b"\n",
        "another object": lambda i: b"{}\n",
        "a number": lambda i: b"3\n",
        "deep": lambda i: b"[" * 100_000 + b"\n",
        "step is text": lambda i: json.dumps({**row, "step": "soon"}).encode() + b"\n",
        "step is a list": lambda i: json.dumps({**row, "step": [1]}).encode() + b"\n",
        "returns are text": lambda i: json.dumps({**row, "eval/return": "high"}).encode() + b"\n",
        "another number of seeds": lambda i: json.dumps({**row, "eval/return": [1.0, 2.0]}).encode() + b"\n",
        "kind is a list": lambda i: json.dumps({**row, "kind": []}).encode() + b"\n",
    }
    for resume in (False, True):
        how = "resumed" if resume else "plotted"
        for name, change in bent.items():
            for i in (0, 10, len(lines) - 2):
                text = b"".join([*lines[:i], change(i), *lines[i + 1 :]])
                yield f"log: {name}, {how}", str(i), partial(attempt, text, resume), False
        yield f"log: last line torn, {how}", "0", partial(attempt, b"".join(lines)[:-9], resume), True
        yield f"log: empty, {how}", "0", partial(attempt, b"", resume), False
        yield f"log: a line twice, {how}", "0", partial(attempt, b"".join([*lines, lines[2]]), resume), True


def configs(work: Path) -> Iterator[Case]:
    """Put something else into config.json, and check the run as all do that use its numbers; then plot it."""
    folder = base(work)
    good = json.loads((folder / "config.json").read_text())
    plots.panels = lambda groups, path, **_: path  # pyright: ignore[reportAttributeAccessIssue], drawing is not tried

    def attempt(text: bytes) -> bool:
        (folder / "config.json").write_bytes(text)
        load(folder).validate()
        cli.run(["plot", str(folder), "--out", str(work / "x.png")])
        return True

    for path, value, text in hostile.configs(good):
        value_is_fine = (path, value) in hostile.FINE or (path in good and value == json.dumps(good[path]))
        deep = path.split(".")
        if len(deep) == 2 and value == json.dumps(good[deep[0]].get(deep[1])):
            value_is_fine = True
        yield f"config.json: {path}", value[:40], partial(attempt, text), value_is_fine


def overrides(work: Path) -> Iterator[Case]:
    """Give a YAML file of overrides that is none."""

    def attempt(text: str) -> bool:
        path = work / "x.yaml"
        path.write_text(text)
        run = options.parse(["sac", "--env", "Pendulum-v1", "--preset", "cpu", "--from", str(path), "--out", "unused"])
        return bool(run.identity())

    for text in hostile.YAMLS:
        yield "YAML of overrides", text[:40], partial(attempt, text), False


def words(work: Path) -> Iterator[Case]:
    """Give command lines that cannot be carried out."""
    for argv in hostile.WORDS:
        yield "words of a command line", " ".join(argv), lambda argv=argv: (cli.run(argv), True)[1], False


def returns(work: Path) -> Iterator[Case]:
    """Let an environment return something else; what comes of it is at most a broken step."""

    def attempt(at: str, place: str, value: Any) -> bool:
        gymnasium.registry.pop("Returns-v0", None)
        settings = {"at": at, "place": place, "value": value}
        make: Any = hostile.Returns
        gymnasium.register("Returns-v0", make, max_episode_steps=9, kwargs=settings, disable_env_checker=True)
        env = GymEnv("Returns-v0")
        env.reset(seed=0)
        steps = [env.step(np.zeros(1)) for _ in range(5)]
        return all(np.allclose(s.next_obs, hostile.GOOD_OBS, atol=1e-3) and s.reward in (0.5, 1.0) for s in steps) and (
            not any(s.terminated or s.truncated for s in steps)
        )

    for where, name, value in hostile.returns():
        at, _, place = where.partition(": ")
        yield f"environment's {at}: {place}", name, partial(attempt, at, place, value), False
    for (place, name), value in hostile.HARMLESS.items():
        yield "environment's returns that mean one thing", name, partial(attempt, "step", place, value), True


GROUPS = {f.__name__: f for f in (checkpoints, logs, configs, overrides, words, returns)}


def tried(name: str) -> dict[str, Any]:
    """Return a group's counts by fault, and what went wrong with which input."""
    counts: dict[str, Counter] = {}
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for fault, which, attempt, may_pass in GROUPS[name](Path(folder)):
            result, said = outcome(attempt, may_pass)
            counts.setdefault(fault, Counter())[result] += 1
            if result in ("traceback", "silent"):
                failures.append(f"{fault} ({which!r}): {result}: {' '.join(said.split())[:160]}")
    return {"faults": {fault: dict(count) for fault, count in counts.items()}, "failures": failures}


def table(results: dict[str, Any]) -> str:
    """Return all counts as Markdown, a row for each fault."""
    lines = [f"| fault | tried | {' | '.join(OUTCOMES)} | command |", f"|---|{'---|' * (len(OUTCOMES) + 2)}"]
    total: Counter = Counter()
    for group in (name for name in GROUPS if name in results):
        for fault, counts in results[group]["faults"].items():
            total.update(counts)
            cells = " | ".join(str(counts.get(o, 0)) for o in OUTCOMES)
            lines.append(f"| {fault} | {sum(counts.values())} | {cells} | `benchmarks/reliability.py --only {group}` |")
    cells = " | ".join(str(total[o]) for o in OUTCOMES)
    return "\n".join([*lines, f"| **all** | {sum(total.values())} | {cells} | `benchmarks/reliability.py` |"])


def main() -> None:
    """Try the groups asked for, and write results and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--dry", action="store_true", help="print what failed, write nothing")
    given = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in given.only:
        results[name] = tried(name)
        counts = sum((Counter(c) for c in results[name]["faults"].values()), Counter())
        print(name, dict(counts), *results[name]["failures"], sep="\n  ", flush=True)
        if not given.dry:
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    if not given.dry and DOCS.exists():
        before, _, rest = DOCS.read_text().partition(BEGIN)
        DOCS.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
