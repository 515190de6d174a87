"""Tables of times: an update beside the authors' code, where the time goes, whole trainings, what safety costs."""

from collections.abc import Mapping
from typing import Any

from card.evidence import read_json
from tables.markdown import NONE, grid, machine, number, origin, picture, section, significant, spread

SIZES = {
    "halfcheetah": "MAGE, HalfCheetah",
    "pendulum": "MAGE, Pendulum",
    "svg": "SVG",
    "maac": "MAAC",
    "dhmbpo": "DHMBPO",
}
SHARES = ("products", "random", "element-wise", "copies", "dispatch", "unmarked")


def updates(name: str, title: str) -> str:
    """Return the speed of updates, model steps and environment steps, and the peer's over ours."""
    report = read_json(name)
    rows = [
        [f"{SIZES[task]}: {what}", *_update(found["rows"], what)]
        for task, found in report["tasks"].items()
        for what in ("update", "model", "step", "single update")
        if what in found["rows"]
    ]
    head = ["", "ours, ms", "peer, ms: two threads (one)", "peer over ours: two threads (one)"]
    head += ["share of the matmul peak (fastest turn)", "GFLOP", "compiles in"]
    peaks = [
        [SIZES[task], number(found["matmul_peak_gflops"]), *_rates(found)] for task, found in report["tasks"].items()
    ]
    where = origin(report["command"], machine(report["machine"]), f"{report['repeats']} turns")
    rates = ["", "matmul peak, GFLOP/s", "our update", "the peer's update, two threads"]
    return section(title, where, TIMES, grid(head, rows), grid(rates, peaks), picture(name, title))


TIMES = """Times are medians of the turns, ratios medians of the ratios turn by turn. A `step` is an environment step
with its updates and its share of the model's fit: arithmetic over the parts, of each side as its code has them."""


def _update(rows: Mapping[str, Any], what: str) -> list[str]:
    ours, peers = rows[what], [rows.get(f"peer {what}, threads={n}") for n in (2, 1)]
    cells = [significant(ours["ms_median"])]
    for key in ("ms_median", "times_ours"):
        found = [significant(peer[key]) for peer in peers if peer]
        cells.append(f"{found[0]} ({found[1]})" if len(found) == 2 else NONE)
    best = f" ({ours['share_of_peak_best']:.0%})" if "share_of_peak_best" in ours else ""
    cells.append(f"{ours['share_of_peak']:.0%}{best}" if "share_of_peak" in ours else NONE)
    cells.append(number(ours["gflop"], 1) if "gflop" in ours else NONE)
    return [*cells, f"{ours['compile_s']:.1f} s" if "compile_s" in ours else NONE]


def _rates(found: Mapping[str, Any]) -> list[str]:
    """Return both sides' rates of an update in GFLOP/s."""
    ours, peer = found["rows"]["update"], found["rows"].get("peer update, threads=2")
    theirs = number(found["peer"]["update_gflop"] / peer["ms_median"] * 1e3) if peer else NONE
    return [number(ours["gflops"]), theirs]


def profile() -> str:
    """Return where a step's time goes."""
    report = read_json("step-profile")
    rows = [
        [name, f"{significant(row['ms'])} ({significant(row['ms_profiled'])})", *(f"{row[s]:.0%}" for s in SHARES)]
        for name, row in report["rows"].items()
    ]
    words = "Milliseconds without the profiler (and with it), and shares of the latter time."
    where = origin(report["command"], machine(report["machine"]))
    return section("Where the time goes", where, words, grid(["", "ms", *SHARES], rows))


def whole() -> str:
    """Return whole trainings beside rejax'."""
    report, rows = read_json("whole-training"), []
    for agent, found in report["rows"].items():
        for name, row in found["programs"].items():
            times = [number(row["seconds"], 1), number(row["rejax_takes"], 2)]
            rows.append([f"{agent}: {name}", *times, spread(row["return"]), str(row["return"]["n"])])
    found = next(iter(report["rows"].values()))
    settings = ", ".join(f"`{k}={v}`" for k, v in report["settings"].items())
    facts = (machine(found["machine"]), f"rejax {found['rejax']}, {found['turns']} turns", settings)
    head = ["", "seconds", "times as long rejax takes by `vmap`", "return of the last evaluation", "scores"]
    words = "One seed by `map`, and several by `map` over devices, is what `pbrl train` does."
    return section("Whole trainings beside rejax", origin(report["command"], *facts), words, grid(head, rows))


def brax() -> str:
    """Return SAC on a Brax task beside Brax' own."""
    report = read_json("brax-training")
    rows = [
        [
            name, number(row["seconds"], 2), number(row["brax_takes"], 2),
            ", ".join(number(x, 2) for x in row["seconds_per_seed"]),
            f"{number(row['return']['iqm'])} [{number(row['return']['iqm_low'])}, {number(row['return']['iqm_high'])}]",
        ]
        for name, row in report["rows"].items()
    ]  # fmt: skip
    head = ["", "seconds", "times as long Brax takes", "seconds by turn", "interquartile mean return"]
    where = origin(report["command"], machine(report["machine"]), f"Brax {report['brax']}")
    return section("SAC beside Brax' own", where, grid(head, rows))


def trainings() -> str:
    """Return an environment step of whole trainings beside SBX' and Brax'."""
    report, rows = read_json("training-speed"), []
    for name, row in report["rows"].items():
        times = [significant(row["median_ms"][side]) for side in (row["peer"], "before", "pbrl")]
        ratios = [number(row[what], 2) for what in ("peer_takes_before", "peer_takes", "before_takes")]
        rows.append([name, PEERS[row["peer"]], *times, *ratios])
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    facts = (machine(report["machine"]), f"{report['turns']} turns", versions)
    where = f"on {report['cores_used']} core" + "s" * (report["cores_used"] > 1)
    words = f"""{CLOCKS[report["clock"]]} of an environment step with its updates {where}, medians of the turns.
Ratios are medians of the ratios turn by turn. `before` is this library before
[its updates became faster](../../benchmarks/README.md#sac-and-td3-on-a-cpu)."""
    head = ["", "peer", "peer's step", "ours before", "ours", "peer over ours before", "peer over ours"]
    table = grid([*head, "ours before over ours"], rows)
    return section("Whole trainings beside SBX' and Brax'", origin(report["command"], *facts), words, table)


PEERS = {"sbx": "SBX", "brax": "Brax"}
CLOCKS = {"cpu": "Milliseconds of processor time", "wall": "Milliseconds"}


def guard() -> str:
    """Return what the checks of data and updates cost."""
    report = read_json("guard-cost")
    rows = [
        [
            what,
            *(number(row["us"][k]) for k in ("old", "new")),
            *(number(row["ratio"][k], 3) for k in ("new", "control")),
        ]
        for what, row in report.items()
        if isinstance(row, dict)
    ]
    command = f"python benchmarks/guard_cost.py --against {report['against'][:12]}"
    words = "Microseconds of this build and of one without the checks; the control is the old build against itself."
    head = ["", "old, µs", "new, µs", "new over old", "control over old"]
    return section("What sound data costs", origin(command, f"{report['turns']} turns"), words, grid(head, rows))


def oracles() -> str:
    """Return what a step and a gradient of each oracle cost."""
    report, rows = read_json("oracle-speed"), []
    kinds = [f"fidelity, batch {n}, {what}" for n in (1, 256) for what in ("step", "gradient")]
    kinds += [f"speed, batch 256, {what}" for what in ("step", "gradient")]
    for env, row in report["rows"].items():
        times = [significant(row[kind]["ms"]) if kind in row else NONE for kind in ("live", *kinds)]
        rows.append([env, *times, f"{row['fidelity, batch 256, gradient']['compile_s']:.0f} s"])
    head = ["", "live", "step", "gradient", "step of 256", "gradient of 256", "`speed`: step of 256", "gradient of 256"]
    where = origin(report["command"], machine(report["machine"]), f"{report['turns']} turns, float32")
    words = """Milliseconds, medians of the turns. A gradient is that of one step in state and action; `live` is a step
of the environment that Gymnasium makes."""
    return section("Cost of an oracle", where, words, grid([*head, "gradient of 256 compiles in"], rows))
