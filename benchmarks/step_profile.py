"""Where the time of an update or an environment step goes: products, other operations, dispatch.

    python benchmarks/step_profile.py                     # five minutes, most of it compiling
    python benchmarks/step_profile.py --only maac td3

`halfcheetah`, `pendulum`, `svg`, `maac` and `dhmbpo` are the workloads of `update_speed.py`, at the published sizes;
`td3`, `sac` and `mage` are environment steps of one seed by the driver on the device, past the warm-up, at the `cpu`
sizes, as `seed_scaling.py` times them, and `td3 warm-up` those before any update.

jax's profiler notes when each operation of the compiled program began and ended, on every thread. An instant counts for
a matrix product if one runs on any thread, else for random numbers, element-wise work or copies, in this order, else
for dispatch: the program's runtime is between two operations. What a CPU's threads finish after an operation has handed
it to them has no mark; gaps that are too long for dispatch count as `unmarked`, mostly the rest of large products.
Profiling itself costs time, most where operations are small: `ms` is without it, `ms_profiled` with it, and shares are
of the latter.

Writes benchmarks/results/step-profile.json.
"""

import argparse
import json
import re
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.profiler import ProfileData, ProfileOptions
from seed_scaling import Timed
from timing import machine
from workloads import WORKLOADS

RESULTS = Path(__file__).parent / "results" / "step-profile.json"
KINDS = ("products", "random", "element-wise", "copies")  # what an instant counts for, the first that runs
REST = ("dispatch", "unmarked")
RANDOM = re.compile(r"\(_(uniform|normal\w*|shuffle|randint|threefry\w*)\)")
LONGEST_DISPATCH = 100_000  # ns; small programs have no longer gap
DRIVEN = ("td3", "sac", "mage")
CALLS, PROFILED_STEPS = 5, 200


class Timer(NamedTuple):
    """Something compiled: `time()` runs it and returns the milliseconds of a step."""

    time: Callable[[], float]
    hlo: str


def timers(name: str) -> dict[str, Timer]:
    """Compile the phases of a workload, or the environment step of an agent."""
    if name in WORKLOADS:
        programs = WORKLOADS[name].programs(name, WORKLOADS[name].sizes)
        phases = {phase: programs[phase] for phase in ("update", "model")}
        return {f"{name} {phase}": Timer(p.time, p.compiled.as_text() or "") for phase, p in phases.items()}
    one = Timed(name, 1, "map")
    one.count = min(one.count, PROFILED_STEPS)
    hlo = one.epoch.as_text() or ""
    steps = {f"{name} step": Timer(lambda: 1e3 * one.time(), hlo)}
    if name == "td3":
        steps["td3 warm-up"] = Timer(lambda: 1e3 * one.time_warmup(), hlo)
    return steps


def kinds(hlo: str) -> dict[str, str]:
    """Return the kind of every operation of a compiled program, by name; not of those that only hold others."""
    found, multiplying, computation = {}, set(), ""
    for line in hlo.splitlines():
        if opened := re.match(r"(?:ENTRY )?%([\w.\-]+) \(.*\{$", line):
            computation = opened[1]
        match = re.match(r"\s*(?:ROOT )?%([\w.\-]+) = .*? ([a-z][\w\-]*)\((.*)$", line)
        if not match:
            continue
        name, operation, rest = match.groups()
        source, called = re.search(r'op_name="([^"]*)"', rest), re.search(r"calls=%([\w.\-]+)", rest)
        if operation == "dot":
            multiplying.add(computation)
        if operation in ("while", "conditional") or (operation == "call" and "xla_cpu_small_call" not in rest):
            continue
        if operation == "dot" or (called and called[1] in multiplying):  # what is called stands before its caller
            found[name] = "products"
        elif source and RANDOM.search(source[1]):
            found[name] = "random"
        elif operation in ("copy", "transpose") or name.startswith(("copy", "transpose")):
            found[name] = "copies"
        else:
            found[name] = "element-wise"
    return found


def shares(folder: Path, hlo: str) -> dict[str, float]:
    """Return each kind's share of the time that the profile in `folder` covers."""
    kind_of, marks = kinds(hlo), []
    (path,) = folder.rglob("*.xplane.pb")
    for plane in ProfileData.from_file(str(path)).planes:
        for line in plane.lines:
            for event in line.events if "XLA" in line.name else ():
                kind = kind_of.get(event.name)
                if kind or event.name.startswith("ThunkExecutor::Execute"):  # the second spans the whole program
                    marks.append((event.start_ns, 1, kind or "gap"))
                    marks.append((event.start_ns + event.duration_ns, -1, kind or "gap"))
    running: dict[str, int] = defaultdict(int)
    spent: dict[str, float] = defaultdict(float)
    before = gap = 0.0
    for at, change, marked in sorted(marks):
        current = next((kind for kind in (*KINDS, "gap") if running[kind]), "outside")
        if current == "gap":
            gap += at - before
        else:
            spent["dispatch" if gap < LONGEST_DISPATCH else "unmarked"] += gap
            spent[current] += at - before
            gap = 0.0
        before = at
        running[marked] += change
    whole = sum(spent[kind] for kind in (*KINDS, *REST))
    return {kind: spent[kind] / whole for kind in (*KINDS, *REST)}


def profile(timer: Timer) -> dict[str, float]:
    """Time a program without and with the profiler."""
    timer.time()
    plain = statistics.median(timer.time() for _ in range(CALLS))
    options = ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            profiled = timer.time()
        found = shares(Path(folder), timer.hlo)
    return {"ms": plain, "ms_profiled": profiled, **found}


def main() -> None:
    """Run from the command line."""
    names = [*WORKLOADS, *DRIVEN]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    only = parser.parse_args().only
    report: dict[str, Any] = {"command": "python benchmarks/step_profile.py", "machine": machine(), "rows": {}}
    for name in only:
        for row, timer in timers(name).items():
            report["rows"][row] = found = profile(timer)
            cells = (f"{key} {value:.0%}" for key, value in found.items() if not key.startswith("ms"))
            print(f"{row:18s} {found['ms']:8.3f} ms ({found['ms_profiled']:.3f})  {'  '.join(cells)}", flush=True)
    if only == names:
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
