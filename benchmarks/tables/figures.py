"""Tables of the papers' figures that are not learning curves, from their programs' JSON and CSV files."""

from collections.abc import Mapping, Sequence
from typing import Any

from card.evidence import read_csv, read_json
from tables.markdown import NONE, grid, listed, machine, number, origin, picture, section, significant, spread


def size(report: Mapping[str, Any], name: str) -> str:
    """Return a setting of the first row's schedule, in words."""
    row = next(iter(report["rows"].values()))
    return f"{row['settings']['schedule'][name]:,}"


def mage_fig3() -> str:
    """Errors of the action gradient, by the mean and the median over episodes, with the floor that the measure has."""
    report = read_json("mage-fig3")
    rows = []
    for label, row in report["rows"].items():
        cells = [label]
        for reduced in ("mean", "median"):
            cells += [spread(row[reduced]["at_the_end"], 1), listed(row[reduced]["per_seed"], 2)]
        rows.append([*cells, listed(row["floor"]["per_seed"], 2), number(row["training_seconds"])])
    head = ["agent", "mean over episodes", "by seed", "median over episodes", "by seed"]
    head += ["Q's exact gradient, median, by seed", "seconds of training"]
    first = next(iter(report["rows"].values()))
    facts = f"{size(report, 'total_steps')} steps, `cpu` sizes, {len(first['mean']['per_seed'])} seeds"
    words = "Error of ∇ₐQ at the end, for first policies that never change. Lower is better."
    where = origin(report["command"], facts, f"Each error is over {report['episodes']} episodes")
    return section("Error of the action gradient (Fig. 3)", where, words, grid(head, rows), picture("mage-fig3", words))


def mage_fig5() -> str:
    """What becomes of slope and return without the TD error."""
    report = read_json("mage-fig5")
    rows = [[label, spread(r["return"]), spread(r["‖∇ₐQ‖"], 5)] for label, r in report["rows"].items()]
    first = next(iter(report["rows"].values()))
    facts = f"{size(report, 'total_steps')} steps, {first['return']['n']} seeds"
    words = "MAGE-DDPG on Pendulum with the true dynamics in the model's place."
    return section(
        "Without the TD error (Fig. 5)", origin(report["command"], facts), words,
        grid(["", "last return", "last ‖∇ₐQ‖"], rows), picture("mage-fig5", "Return and slope by λ"),
    )  # fmt: skip


def mage_bound() -> str:
    """Proposition 3.1 on linear systems."""
    report = read_json("mage-bound")
    rows = [
        [words, significant(report[key]["median"]), significant(report[key]["largest"])]
        for key, words in (
            ("error_over_bound", "error of the policy gradient over its bound"),
            ("gradient_against_differences", "relative error of the exact gradient against differences"),
        )
    ]
    where = origin(report["command"], f"{report['systems']} linear systems")
    return section("Proposition 3.1", where, grid(["", "median", "largest"], rows))


def td_loss_trial() -> str:
    """The trial of both TD losses on CartPole, as it was printed."""
    rows = read_csv("mage-td-loss-trial")
    head = ["agent", "TD loss", "steps", "area by seed", "last return by seed", "mean Q in the last update, by seed"]
    cells = [[r["agent"], r["loss"], f"{int(r['steps']):,}", r["area"], r["final"], r["q"]] for r in rows]
    command = (
        "pbrl train mage --env pbrl/MageCartPole-v0 --preset cpu --seeds 2 --first-seed 1000 --config.td-loss squared"
    )
    facts = (
        "Likewise `huber`, and `td3` with `--schedule.updates-per-step 10`",
        "One core, two seeds each",
        "The numbers are as printed; the suite below replaces this trial when it has run",
    )
    return section("A trial of both TD losses on CartPole", origin(command, *facts), grid(head, cells))


def svg_fig3() -> str:
    """Multi-step errors of GRU and ensemble, with all data."""
    report = read_json("svg-fig3")
    settings, models = report["settings"], list(report["final"]["train"])
    names = {"train": "trained on", "holdout": "held out of the same episodes", "test": "other episodes"}
    rows = [[names[k], *(significant(v[m], 2) for m in models)] for k, v in report["final"].items()]
    facts = f"{settings['env']}, {settings['run']['schedule']['total_steps']:,} transitions of a SAC run"
    words = f"Squared error of {settings['measured']} predicted steps, with all data."
    where = origin(report["command"], facts, f"{len(settings['run']['seeds'])} seeds")
    return section("GRU and ensemble (Fig. 3)", where, words, grid(["data", *models], rows), picture("svg-fig3", words))


def svg_fig4() -> str:
    """A weak model in the actor, the critic and both."""
    report = read_json("svg-fig4")
    rows = [[label, spread(cell["return"]), spread(cell["bias_size"])] for label, cell in report["cells"].items()]
    weak = ", ".join(f"`{k}={v}`" for k, v in report["weak"].items())
    seeds = next(iter(report["cells"].values()))["return"]["n"]
    where = origin(report["command"], f"{report['env']}, {seeds} seeds", f"The model is kept weak on purpose: {weak}")
    head = ["", "last return", "the critic's error, mean |Q - Monte-Carlo soft return|"]
    return section("A weak model (Fig. 4)", where, grid(head, rows), picture("svg-fig4", "Returns and errors"))


def svg_fig6() -> str:
    """The entropy schedules, which are drawn alone."""
    title = "Schedules of the target entropy"
    return section(
        "Entropy schedules (Fig. 6)", origin("python benchmarks/paper/svg_fig6.py"), picture("svg-fig6", title)
    )


def maac_fig3() -> str:
    """Errors of the policy gradient by horizon, a table a fit."""
    report = read_json("maac-fig3")
    horizons, parts = report["horizons"], []
    for fit, by_step in report["error"].items():
        rows = [[f"{int(step):,}", *(number(x, 2) for x in errors)] for step, errors in by_step.items()]
        parts.append(f"Model {fit.replace(', ', '; gradient through the ')} dynamics:")
        parts.append(grid(["steps", *(f"H = {h}" for h in horizons)], rows))
    where = origin(report["command"], f"Double integrator, linear policy, {report['seeds']} seeds")
    words = "Mean absolute difference from the exact policy gradient, by horizon and steps of the environment."
    return section("Error of the policy gradient (Fig. 3)", where, words, *parts, picture("maac-fig3", words))


def maac_variance() -> str:
    """Noise of the actor's gradient by samples and states."""
    report = read_json("maac-variance")
    settings, rows = report["settings"], []
    for task, ways in report["relative_deviation"].items():
        rows += [[task, way, *(number(x, 2) for x in values)] for way, values in ways.items()]
    head = ["task", "the same rows spent on", *(f"N = {n}" for n in settings["samples"])]
    facts = f"{settings['draws']} gradients a point, {settings['states']} start states, H = {settings['horizon']}"
    words = "Standard deviation of the actor's gradient over the norm of its mean."
    where = origin(report["command"], facts)
    return section("Samples and batches", where, words, grid(head, rows), picture("maac-variance", words))


def planning(name: str, title: str, command: str, words: str) -> str:
    """Return a table of policies and planners; `command` made the runs that `pbrl eval RUN --mpc` compares."""
    rows = [
        [
            f"{int(row['steps']):,}", row["policy"], f"`{row.get('options') or '--mpc'}`", row["planned"],
            f"{row['difference']} [{row['low']}, {row['high']}]",
        ]
        for row in read_csv(name)
    ]  # fmt: skip
    where = origin(command, "Then `pbrl eval RUN` with the options below", words)
    return section(title, where, grid(["steps", "policy", "planned with", "planned", "difference"], rows))


def seconds(report: Mapping[str, Any]) -> str:
    """Return where the time of one of MAAC's iterations goes."""
    parts = report["seconds_of_an_iteration"]
    rows = [["8,000 updates", number(parts["updates"], 1)], ["imagination", number(parts["imagination"], 1)]]
    rows += [[f"a fit of {n} epochs", number(x, 1)] for n, x in parts["fit_by_epochs"].items()]
    return grid(["part", "seconds"], rows)


def maac_table2() -> str:
    """What an update of MAAC costs by H, members and samples."""
    report = read_json("maac-table2")
    rows = [[_varied(key), number(ms, 1)] for key, ms in report["ms_per_update"].items()]
    rows.append(["times one of MBPO", number(report["ratio_to_mbpo"], 1)])
    rows.append(["H = 4, times H = 0", number(report["ratio_to_h0"], 1)])
    where = origin(report["command"], machine(report["machine"]), f"{report['repeats']} turns")
    words = "An iteration of 1,000 environment steps at the released sizes, then one update by what is varied."
    return section("Cost of MAAC (Table 2)", where, words, seconds(report), grid(["", "ms an update"], rows))


def _varied(key: str) -> str:
    names: Sequence[tuple[str, str]] = (
        ("horizon", "H"),
        ("target_members", "members a candidate"),
        ("samples", "samples"),
    )
    for name, words in names:
        key = key.replace(f'"{name}": ', f"{words} = ")
    return key.strip("{}") or NONE
