"""Tables of many seeds and devices: measured on two cores, and on paper for a TPU slice."""

from card.evidence import read_json
from tables.markdown import NONE, grid, machine, number, origin, section, significant

AGENTS = {"mage": "MAGE", "svg": "SVG(2)", "maac": "MAAC"}


def seeds() -> str:
    """Return the time of a step of all seeds over one seed's, by mode and devices."""
    report = read_json("seed-scaling")
    where = origin(report["command"], machine(report["machine"]), f"{report['turns']} turns")
    words = """Milliseconds of an environment step of all seeds with all that belongs to it, `cpu` sizes on the toy
pendulum. In brackets: times one seed by the faster mode. Before any update actions are random and nothing is
learned."""
    parts = []
    for warmup, title in ((False, "With updates"), (True, "Before any update")):
        rows = [
            [agent, str(n), *(_cell(rows, n, mode, devices, warmup) for devices in (1, 2) for mode in ("vmap", "map"))]
            for agent, rows in report["rows"].items()
            for n in (1, 2, 4, 8, 16, 32, 64)
            if f"{n} seeds by vmap, 1 device" in rows
        ]
        head = ["agent", "seeds", *(f"`{m}`, {d}" for d in ("one device", "two devices") for m in ("vmap", "map"))]
        parts.append(section(title, grid(head, rows), level=3))
    return section("Seeds in one program", where, words, *parts)


def _cell(rows: dict, n: int, mode: str, devices: int, warmup: bool) -> str:
    row = rows.get(f"{n} seeds by {mode}, {devices} device{'s' * (devices > 1)}")
    if row is None or (warmup and "warmup_us_per_step" not in row):
        return NONE
    ms, times = row["ms_per_step"], row["times_one"]
    if warmup:
        ms, times = row["warmup_us_per_step"] / 1e3, row["warmup_times_one"]
    return f"{significant(ms)} ({number(times, 1)})"


def devices() -> str:
    """Return the time of eight seeds over 1 to 8 devices of one process."""
    report = read_json("seed-devices")
    rows = []
    for agent, found in report["rows"].items():
        for mode in ("vmap", "map"):
            cells = [found[f"8 seeds by {mode}, {n} device{'s' * (n > 1)}"] for n in (1, 2, 4, 8)]
            rows.append(
                [agent, f"`{mode}`", *(f"{significant(c['ms_per_step'])} ({number(c['times_one'], 2)})" for c in cells)]
            )
    where = origin(report["command"], machine(report["machine"]), f"{report['turns']} turns")
    words = """Milliseconds of an environment step of 8 seeds in a process that has 8 devices, and times one device by
the faster mode."""
    head = ["agent", "mode", *(f"{n} device{'s' * (n > 1)}" for n in (1, 2, 4, 8))]
    return section("Devices of one process", where, words, grid(head, rows))


def pod() -> str:
    """Return what an update costs each chip of a large slice, on paper."""
    report, rows, exchanged = read_json("pod-cost"), [], []
    for name, row in report["rows"].items():
        agent, what = name.split(", ", 1)
        if "chips" in row:
            cells = [AGENTS[agent], f"{int(what.split()[0]):,}", str(row["chips"]), str(row["seeds_per_chip"])]
            cells += [number(row["gflop"], 1), number(row["least_mib"]), number(row["xla_mib"])]
            rows.append([*cells, f"{significant(row['at_least_ms'], 2)} ms"])
        else:
            exchanged.append([AGENTS[agent], what, str(row["collectives"]), number(row["exchanged_mib"], 1)])
    words = """One update at the papers' HalfCheetah sizes on each chip of a v5e-256 slice, from programs compiled for a
CPU. Nothing of this was timed on a TPU."""
    head = ["agent", "seeds", "chips", "seeds a chip", "GFLOP", "least MiB", "MiB by XLA's count", "at least"]
    where = origin(report["command"], machine(report["machine"]))
    cut = grid(["agent", "what is spread", "collectives an update", "MiB of results"], exchanged)
    return section("A TPU slice, on paper", where, words, grid(head, rows), cut)
