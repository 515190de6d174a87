"""The command line as a user meets it: speed of help, refusals, and a whole small run."""

import json
import os
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pbrl
from pbrl.cli import main, options, process
from pbrl.envs import oracles
from pbrl.envs.gym import GymEnv
from pbrl.errors import ActionError, CheckpointError, Diverged, RunError, Stopped
from pbrl.runs.folder import prepare

PENDULUM = ("train", "mage", "--env", "Pendulum-v1")
SMALL = (
    *("--steps=60", "--schedule.warmup-steps=30", "--schedule.batch-size=8", "--schedule.updates-per-step=1"),
    *("--schedule.eval-every=30", "--schedule.eval-episodes=1", "--schedule.log-every=20", "--config.ensemble-size=2"),
    *("--schedule.model-batch-size=16", "--schedule.model-min-batches=2", "--config.actor-hidden=8"),
    *("--config.critic-hidden=8,8", "--config.model-hidden", "8", "8"),
)


def call(*argv):
    """Carry out a command line in this process; return its exit code."""
    try:
        return main.guarded(partial(main.run, argv))
    except SystemExit as error:
        return error.code


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "unused"))  # jax has been imported: no effect on it


@pytest.mark.parametrize(
    ("variable", "argv", "said"),
    [
        ("JAX_PLATFORMS=cuda", ("train", "sac", "--env", "Pendulum-v1"), "jax cannot begin on JAX_PLATFORMS='cuda': "),
        ("JAX_PLATFORMS=cuda", ("gradcheck", "pbrl/ToyPointMass-v0"), "jax cannot begin on JAX_PLATFORMS='cuda': "),
        ("JAX_ENABLE_X64=maybe", ("train", "sac", "--env", "Pendulum-v1"), "jax cannot begin: invalid truth value"),
    ],
)
def test_what_jax_cannot_begin_on_is_one_sentence(variable, argv, said, tmp_path):
    name, _, value = variable.partition("=")
    program = "from pbrl.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *argv],
        env=os.environ | {name: value},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.startswith(f"pbrl: {said}") and len(done.stderr.splitlines()) == 1


def test_help_list_and_version_import_nothing_heavy():
    program = """
import contextlib, sys
from pbrl.cli import main
helps = [[name, "--help"] for name in main.COMMANDS]
for argv in [], ["--help"], ["--version"], ["list"], *helps:
    with contextlib.suppress(SystemExit):
        main.run(argv)
print("heavy:", *sorted({"jax", "flax", "mujoco", "matplotlib", "orbax", "brax"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy:"
    for word in (
        "usage: pbrl",
        f"pbrl {pbrl.__version__}",
        "dyna",
        "cpu",
        "pbrl/MageHopper-v0",
        "--first-seed",
        "--schedule.batch-size",
        "PATH=log:LOW,HIGH",
    ):
        assert word in done.stdout


BAD = [
    (("trian",), "did you mean 'train'"),
    (("train", "mgae", "--env", "Pendulum-v1"), "did you mean 'mage'"),
    (("train",), "which agent?"),
    (("train", "--env", "Pendulum-v1"), "known agents: mage, maac, svg"),
    (("train", "mage"), "Give one with --env"),
    ((*PENDULUM, "--preset", "cup"), "did you mean 'cpu'"),
    ((*PENDULUM, "--sedes", "3"), "did you mean '--seeds'"),
    ((*PENDULUM, "--stpes=300"), "did you mean '--steps'"),
    ((*PENDULUM, "-seeds", "3"), "did you mean '--seeds'"),
    ((*PENDULUM, "--config.model-hiden=512,512,512,512"), "did you mean '--config.model-hidden'"),
    ((*PENDULUM, "--config.actr-lr=1e-3"), "did you mean '--config.actor-lr'"),
    ((*PENDULUM, "--schedule.warm-up-steps=3"), "did you mean '--schedule.warmup-steps'"),
    ((*PENDULUM, "--config.actor-lr=fast"), "could not convert string to float: 'fast'"),
    ((*PENDULUM, "--config.actor-hidden=8,x"), "invalid literal for int() with base 10: 'x'"),
    ((*PENDULUM, "--seed-mode=vamp"), "'map', 'vmap'"),
    ((*PENDULUM, "--config.activation=swsh"), "did you mean 'swish'"),
    ((*PENDULUM, "--config.activation=relu"), "needs a second derivative"),
    ((*PENDULUM, "--config.ensemble-size=0"), "config.ensemble_size: expected a value in [1, 1024], got 0"),
    ((*PENDULUM, "--config.critic-lr=-1e-3"), "config.critic_lr: expected a value in [0, 1], got -0.001"),
    ((*PENDULUM, "--config.discount=nan"), "config.discount: expected a value in [0, 1], got nan"),
    ((*PENDULUM, "--schedule.batch-size=0"), "schedule.batch_size: expected an integer from 1 to 2147483647, got 0"),
    ((*PENDULUM, "--steps=50", "--schedule.warmup-steps=60"), "expected at most total_steps (50), got 60"),
    ((*PENDULUM, "--steps=1.5e0"), "--steps: expected a whole number, such as 10000 or 1e4, got 1.5e0"),
    (("eval", "nowhere", "--episodes", "0.5"), "--episodes: expected a whole number, such as 10000 or 1e4, got 0.5"),
    ((*PENDULUM, "--schedule.model-every=0"), "this agent learns from a model"),
    (("train", "td3", "--env", "Pendulum-v1", "--schedule.model-every=5"), "expected 0 for an agent without a model"),
    ((*PENDULUM, "--seeds=0"), "--seeds: expected an integer from 1 to 65536, got 0"),
    ((*PENDULUM, "--seeds=100000000000"), "--seeds: expected an integer from 1 to 65536, got 100000000000"),
    ((*PENDULUM, "--steps=100000000000"), "schedule.total_steps: expected an integer from 1 to 2147483647"),
    ((*PENDULUM, "--schedule.imagine-buffer=100000000000"), "schedule.imagine_buffer: expected an integer from 1 to"),
    (
        ("sweep", "sac", "--env=Pendulum-v1", "--trials=1000000000", "--space=config.tau=0.1,0.2"),
        "--trials: expected an integer from 1 to 21845, got 1000000000",
    ),
    ((*PENDULUM, "--first-seed=-1"), "expected numbers from 0 to 4294967295, got [-1]"),
    ((*PENDULUM, "--steps=" + "1" * 5000), "--steps: a number of 5000 digits is more than anything here can be"),
    (("eval", "nowhere", "--episodes", "1" * 5000), "a number of 5000 digits"),
    ((*PENDULUM, "--steps=" + "1" * 300), "expected an integer from 1 to 2147483647, got 111"),
    ((*PENDULUM, "--from=nowhere.yaml"), "--from nowhere.yaml: cannot be read"),
    (("eval", "nowhere"), "not a run folder"),
    (("train", "--agnt", "mage"), "did you mean '--agent'"),
    (("--hlep",), "did you mean '--help'"),
    (("eval", "nowhere", "--episods=3"), "did you mean '--episodes'"),
    (("plot", "nowhere", "--hlp"), "did you mean '--help'"),
    ((*PENDULUM, "--sinks", "wand"), "--sinks: there is no 'wand'; did you mean 'wandb'"),
    (("eval", "nowhere", "--mcp"), "did you mean '--mpc'"),
    (("eval", "nowhere", "--mpc.horzon=3"), "--mpc.horizon INT"),
    (("eval", "nowhere", "--mpc.horizon=far"), "invalid literal for int() with base 10: 'far'"),
    (("eval", "nowhere", "--episodes=0"), "--episodes: expected an integer from 1 to 10000, got 0"),
    (("eval", "nowhere", "--episodes=1000000000"), "--episodes: expected an integer from 1 to 10000, got 1000000000"),
    (("video", "nowhere", "--episodes=1000000000"), "--episodes: expected an integer from 1 to 10000, got 1000000000"),
    (("diagnose", "nowhere", "--states=1000000000"), "--states: expected an integer from 1 to 100000, got 1000000000"),
    ((*PENDULUM, "--schedule.eval-episodes=20000"), "schedule.eval_episodes: expected an integer from 1 to 10000"),
    (("plot",), "which runs?"),
    (("video", "nowhere"), "not a run folder"),
    (("export", "nowhere"), "not a run folder"),
    ((*PENDULUM, "--init=nowhere"), "--init nowhere: there is no checkpoint in it to begin from"),
]


@pytest.mark.parametrize(("argv", "message"), BAD, ids=[" ".join(argv)[:80] for argv, _ in BAD])
def test_a_bad_command_line_exits_with_2_before_any_environment_is_made(argv, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(GymEnv, "__init__", lambda *_, **__: pytest.fail("an environment was made"))
    assert call(*argv) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    text = " ".join(" ".join(lines).replace("│", " ").split())
    assert message in text
    assert "Traceback" not in text
    if "For full helptext" not in text:  # tyro's own messages repeat the option's help
        assert text.startswith("pbrl: ")
        assert len(lines) <= 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("Pendulm-v1", "did you mean 'Pendulum-v1'"),
        ("CartPole-v1", "use a Box version"),
        ("no_such_module:Puck-v0", "there is no module 'no_such_module'"),
    ],
)
def test_an_environment_that_cannot_be_used_leaves_no_folder(env, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call("train", "mage", "--env", env) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("pbrl: ")
    assert message in captured.err
    assert not list(tmp_path.iterdir())


def test_an_environment_of_another_module_is_named_by_both(capsys, monkeypatch, tmp_path):
    source = """
        from pbrl.envs import registry, toy
        registry.register("Elsewhere-v0", toy.TOYS["ProbeCarry"])
    """
    (tmp_path / "elsewhere.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    assert oracles.oracle("elsewhere:Pendulum-v1") == oracles.oracle("Pendulum-v1")
    assert ":" not in str(options.parse(["sac", "--env", "elsewhere:Elsewhere-v0"]).folder)  # no drive of Windows
    folder, small = str(tmp_path / "run"), [*SMALL[1:6], "--config.actor-hidden=8", "--config.critic-hidden=8,8"]
    assert call("train", "sac", "--env", "elsewhere:Elsewhere-v0", "--steps=60", "--out", folder, *small) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["driver"] == "device"
    assert call("eval", folder, "--episodes=2") == 2
    assert "add --trust-env elsewhere" in capsys.readouterr().err
    assert call("eval", folder, "--episodes=2", "--trust-env", "elsewhere") == 0
    assert "on elsewhere:Elsewhere-v0, step 60, 2 fresh episodes" in capsys.readouterr().out
    assert call("video", folder, "--trust-env", "elsewhere") == 2
    assert "elsewhere:Elsewhere-v0 cannot be filmed: its functions in JAX have no picture" in capsys.readouterr().err


@pytest.mark.parametrize(("accelerated", "preset", "widths"), [(False, "cpu", (64, 64)), (True, "paper", (128, 128))])
def test_without_a_preset_the_machine_chooses_and_says_which(accelerated, preset, widths, capsys, monkeypatch):
    monkeypatch.setattr("pbrl.parallel.devices.accelerated", lambda: accelerated)
    for words in ([], ["--preset=auto"]):
        assert options.parse([*PENDULUM[1:], *words]).config.actor_hidden == widths
        assert capsys.readouterr().out.startswith(f"preset: {preset} (")
    assert options.parse([*PENDULUM[1:], "--preset=cpu"]).config.actor_hidden == (64, 64)
    assert not capsys.readouterr().out


def test_later_sources_win_over_earlier_ones(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("config.actor_lr: 1e-3\nconfig: {tau: 0.01, model_hidden: [7, 7]}\nschedule.eval_every: 77\n")
    run = options.parse([*PENDULUM[1:], "--preset=paper", f"--from={file}", "--config.tau=0.02", "--seeds=2"])
    assert run.config.actor_lr == 1e-3  # text to YAML, a number to us
    assert run.config.tau == 0.02  # command line over file
    assert run.config.model_hidden == (7, 7)  # file over preset
    assert run.config.actor_hidden == (128, 128)  # preset over the agent's default
    assert (run.schedule.eval_every, run.schedule.total_steps, run.seeds) == (77, 100_000, (0, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config.actr_lr: 0.1", "config.actr_lr: there is no such field; did you mean 'actor_lr'"),
        ("confg.actor_lr: 0.1", "did you mean 'config'"),
        ("config.actor_lr: fast", "config.actor_lr: expected float, got 'fast'"),
        ("schedule: {batch_size: 1.5}", "schedule.batch_size: expected int, got 1.5"),
        ("config: 3", "config: expected a mapping of its fields, got 3"),
        ("config: {tau: {a: 1}}", "config.tau has no fields"),
        ("config.tau: 1\nconfig.tau: 2", "'config.tau' is given twice, again in line 2; keep one"),
        ("config: {tau: 1}\nschedule: {}\nconfig: {}", "'config' is given twice, again in line 3"),
        ("config: {tau: 1}\nconfig.tau: 2", "'config.tau' is given twice, nested and by its path"),
        ("config: &a {tau: *a}", "it is nested too deeply"),
        ("config.tau: 1" + "0" * 5000, "bad.yaml: this is not YAML: Exceeds the limit"),
        ("config.tau: 1" + "0" * 400, "config.tau: expected float, got 1000"),
        ("#" * 2**21, "is larger than 1 MiB"),
        ("- 1", "expected a mapping"),
        ("a: [", "this is not YAML"),
        ("a: !!python/object/apply:os.getcwd []", "this is not YAML"),
    ],
)
def test_a_bad_file_is_refused(text, message, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(RunError) as error:
        options.parse([*PENDULUM[1:], "--from", str(file)])
    assert message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.timeout(60)
def test_a_device_is_no_file_of_settings():
    with pytest.raises(RunError, match=r"^--from /dev/zero: /dev/zero is not a regular file, which alone is read"):
        options.parse([*PENDULUM[1:], "--from", "/dev/zero"])


def test_whole_numbers_may_be_written_with_an_exponent(tmp_path):
    run = options.parse([*PENDULUM[1:], "--steps=1e4", "--schedule.eval-every", "2e3", "--config.model-hidden=1e2,64"])
    assert (run.schedule.total_steps, run.schedule.eval_every, run.config.model_hidden) == (10_000, 2_000, (100, 64))
    (tmp_path / "mine.yaml").write_text("schedule.total_steps: 2e4")
    assert options.parse([*PENDULUM[1:], f"--from={tmp_path / 'mine.yaml'}"]).schedule.total_steps == 20_000


@pytest.mark.parametrize(
    ("words", "sinks"),
    [
        (["wandb"], ("jsonl", "wandb")),
        (["csv,wandb"], ("jsonl", "csv", "wandb")),
        (["wandb", "csv"], ("jsonl", "csv", "wandb")),
        (["jsonl"], ("jsonl",)),
    ],
)
def test_sinks_are_words_or_a_list_with_commas_beside_the_record(words, sinks):
    assert options.parse([*PENDULUM[1:], "--sinks", *words]).sinks == sinks


def test_a_run_that_would_end_in_its_warm_up_gets_a_shorter_one_and_says_so(capsys):
    run = options.parse([*PENDULUM[1:], "--preset=cpu", "--steps=10"])
    assert (run.schedule.total_steps, run.schedule.warmup_steps, run.schedule.model_every) == (10, 5, 5)
    assert "10 steps end within the warm-up of 200, so this run's is shortened to 5" in capsys.readouterr().err
    assert options.parse([*PENDULUM[1:], "--preset=cpu", "--steps=201"]).schedule.warmup_steps == 200
    assert not capsys.readouterr().err


def test_the_folder_is_named_after_what_was_asked_for():
    same = options.parse([*PENDULUM[1:], "--steps=500"]).folder, options.parse([*PENDULUM[1:], "--steps=900"]).folder
    assert same[0] == same[1]  # more steps go on in the same folder
    assert options.parse([*PENDULUM[1:], "--config.tau=0.01"]).folder != same[0]
    assert options.parse([*PENDULUM[1:], "--out", "here"]).folder == Path("here")


def test_a_run_from_training_to_pictures(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call(*PENDULUM, "--seeds=2", *SMALL) == 0
    out = capsys.readouterr().out
    (folder,) = (tmp_path / "runs").iterdir()
    assert "device: cpu" in out
    assert "matmul precision: highest" in out
    assert "step 60/60" in out
    assert "interquartile mean" in out
    assert "\nreturns compare with: random actions -" in out and "episodes of random actions" in out
    assert f"to film the policy: pbrl video {folder.relative_to(tmp_path)}" in out
    assert str(folder.relative_to(tmp_path)) in out
    assert (folder / "curve.png").stat().st_size > 5_000
    assert json.loads((folder / "config.json").read_text())["schedule"]["total_steps"] == 60

    rows = (folder / "metrics.jsonl").read_text()
    assert call(*PENDULUM, "--seeds=2", *SMALL) == 0
    assert "this run is complete: it is at step 60" in capsys.readouterr().out
    assert (folder / "metrics.jsonl").read_text() == rows

    assert call(*PENDULUM, "--seeds=2", *SMALL, "--config.tau=0.1", "--out", str(folder)) == 2
    assert "config.tau (0.005 there, 0.1 here)" in capsys.readouterr().err

    assert call("eval", str(folder), "--episodes=2") == 0
    fresh = capsys.readouterr().out
    assert "step 60, 2 fresh episodes" in fresh
    assert call("eval", str(folder), "--episodes=2") == 0
    assert capsys.readouterr().out == fresh  # the same episodes every time
    scores = [float(line.split()[1]) for line in fresh.splitlines()[2:4]]
    assert all(-2000 < score < 0 for score in scores)
    last = json.loads(rows.splitlines()[-1])
    assert not np.allclose(scores, last["eval/return"])  # but none that training has used

    plan = ("eval", str(folder), "--episodes=2", "--mpc.horizon=1", "--mpc.candidates=8", "--mpc.elite-fraction=0.5")
    assert call(*plan, "--mpc.iterations=1") == 0
    both = capsys.readouterr().out
    assert "planned: horizon 1, iterations 1, candidates 8, elite_fraction 0.5, smoothing 0.1, particles 1" in both
    rows = [
        [float(x) for x in line.split()] for line in both.splitlines()[3:5]
    ]  # seed, return, length, planned, length
    np.testing.assert_array_equal([row[1] for row in rows], scores)  # the same episodes as without
    assert all(row[1] != row[3] and row[2] == row[4] == 200 for row in rows)
    assert [line.partition(":")[0] for line in both.splitlines()[5:]] == ["policy", "planned", "difference"]
    difference = np.mean([row[3] - row[1] for row in rows])
    assert f"difference: mean {difference:.1f} [" in both.splitlines()[-1]
    assert call(*plan, "--mpc.iterations=1") == 0
    assert capsys.readouterr().out == both  # and the same search every time
    assert call("eval", str(folder), "--episodes=2", "--mpc", "--mpc.iterations=0") == 0
    idle = [[float(x) for x in line.split()] for line in capsys.readouterr().out.splitlines()[3:5]]
    np.testing.assert_allclose([row[3] for row in idle], scores, atol=0.1)  # no search: the policy's own actions
    assert call("eval", str(folder), "--mpc.horizon=-1") == 2
    assert "mpc.horizon: expected a value in [0, 1000], got -1" in capsys.readouterr().err

    assert call("eval", str(folder), "--episodes=2", "--out=scores.json") == 0
    assert capsys.readouterr().out == fresh
    written = json.loads((tmp_path / "scores.json").read_text())
    assert [(row["seed"], row["step"], row["episodes"]) for row in written["policy"]] == [(0, 60, 2), (1, 60, 2)]
    np.testing.assert_allclose([np.mean(row["returns"]) for row in written["policy"]], scores, atol=0.01)
    assert all(row["return_min"] == min(row["returns"]) and row["lengths"] == [200, 200] for row in written["policy"])
    assert call("eval", str(folder), "--best", "--episodes=1") == 0
    assert "1 fresh episode for each seed" in capsys.readouterr().out
    assert call("eval", str(folder), "--best", "--step=60") == 2
    assert "--best, --step: expected one of them" in capsys.readouterr().err
    assert call("eval", str(folder), "--out=nowhere/scores.json") == 2
    assert "there is no folder nowhere" in capsys.readouterr().err

    assert call("export", str(folder), "--out=policy", "--best", "--seed-index=1", "--formats=numpy") == 0
    said = capsys.readouterr().out
    assert (
        said.startswith("policy: mage on Pendulum-v1, seed 1, step ") and "policy.npz, policy.json, policy.py" in said
    )
    assert sorted(path.name for path in (tmp_path / "policy").iterdir()) == ["policy.json", "policy.npz", "policy.py"]
    assert call("export", str(folder), "--seed-index=2") == 2
    assert "--seed-index: expected 0 to 1, got 2" in capsys.readouterr().err
    assert call("export", str(folder), "--formats=torch") == 2
    assert "there is no format 'torch'" in capsys.readouterr().err

    assert call("plot", str(folder), "--out", "both.png") == 0
    assert (tmp_path / "both.png").stat().st_size > 5_000
    assert call("plot", str(folder), "--out", "both.xyz") == 2
    capsys.readouterr()

    assert call("eval", str(folder), "--step=7") == 2
    assert "it has 60" in capsys.readouterr().err
    assert call("video", str(folder), "--seed-index=2") == 2
    assert "expected 0 to 1" in capsys.readouterr().err
    monkeypatch.setattr(GymEnv, "render", lambda env: np.full((32, 32, 3), 128, np.uint8))  # needs no graphics
    assert call("video", str(folder), "--out", "film.mp4") == 0
    assert capsys.readouterr().out.startswith("film.mp4: step 60, seed 0, return -")
    assert (tmp_path / "film.mp4").stat().st_size > 500
    assert call("video", str(folder), "--best", "--seed-index=1", "--out", "film.mp4") == 0
    assert "seed 1, return -" in capsys.readouterr().out
    monkeypatch.setattr("pbrl.trained.film.find_spec", lambda name: None)
    assert call("video", str(folder)) == 2
    assert "pip install -e '.[video]'" in capsys.readouterr().err

    manifest = folder / "checkpoints" / "60" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("60", "61", 1))
    assert call("eval", str(folder)) == 3
    assert capsys.readouterr().err.startswith("pbrl: ")


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        (
            ("td3", "--schedule.model-every=0"),
            "td3 has no model to plan with; leave planning (--mpc) out, or use an agent",
        ),
        (
            ("sac", "--schedule.model-every=0"),
            "sac has no model to plan with; leave planning (--mpc) out, or use an agent",
        ),
        (("svg", "--config.horizon=0"), "svg learns no model with config.horizon 0"),
    ],
)
def test_planning_without_a_model_is_refused_in_one_sentence(agent, message, capsys, tmp_path):
    prepare(options.parse([*agent, "--env", "Pendulum-v1", "--out", str(tmp_path / "run")]))
    assert call("eval", str(tmp_path / "run"), "--mpc") == 2
    error = capsys.readouterr().err
    assert error.startswith("pbrl: ") and message in error and len(error.splitlines()) == 1


def test_the_example_takes_the_options_of_train(tmp_path):
    example = Path(__file__).parents[2] / "examples" / "run_mujoco.py"
    words = ["--steps=10", "--schedule.warmup-steps=20"]
    done = subprocess.run([sys.executable, example, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("pbrl: schedule.warmup_steps: expected at most total_steps (10)")


@pytest.mark.parametrize("buffering", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
def test_a_reader_that_has_seen_enough_gets_no_traceback(buffering):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | buffering
    listing = subprocess.Popen(
        [sys.executable, "-c", "from pbrl.cli.main import main; main()", "list"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    listing.stdout.close()
    assert listing.stderr.read() == ""
    assert listing.wait() == 141


def failing(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Diverged("seeds [0]: …"), 1),
        (ActionError("Pendulum-v1: the action …"), 2),
        (CheckpointError("none is good"), 3),
        (Stopped("stopped at step 3", 143), 143),
        (PermissionError(13, "Permission denied", "runs"), 2),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 4),
        (OSError(28, "No space left on device"), 2),
    ],
)
def test_expected_errors_have_their_exit_codes(error, code):
    assert main.guarded(failing(error)) == code


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        main.guarded(failing(ZeroDivisionError()))
    with pytest.raises(ValueError, match="broadcast"):
        main.guarded(failing(ValueError("operands could not be broadcast")))


def test_a_home_that_cannot_be_written_is_no_obstacle(monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("HOME", "/dev/null/home")
    process._cache_compilations()


def test_own_warnings_are_sentences_and_others_say_where_they_come_from():
    for file in (process.__file__, oracles.__file__):
        assert process._format("too long", UserWarning, file, 3) == "pbrl: warning: too long\n"
    assert "RuntimeWarning: overflow" in process._format("overflow", RuntimeWarning, process.__file__, 3)
    assert "/elsewhere/x.py:3: UserWarning: too long" in process._format("too long", UserWarning, "/elsewhere/x.py", 3)


GOOD = '{"agent": "sac", "env": "Pendulum-v1", "seeds": [0], "seed_mode": "map", "config": {}, "schedule": %s}'
BAD_CONFIGS = [
    "", "{", "[]", "null", "3", "{}", "[" * 50_000, '{"agent": 3}', GOOD % "3", GOOD % '{"total_steps": 1e99}',
    GOOD % '{"total_steps": 10000000000}', GOOD % '{"model_every": [25]}', GOOD.replace("Pendulum-v1", "x:Y-v0") % "{}",
    GOOD.replace("[0]", "[[0]]") % "{}", GOOD.replace('"map"', "NaN") % "{}", GOOD.replace("sac", "../sac") % "{}",
    GOOD.replace('"config": {}', '"config": {"horizon": -1}') % "{}",
    GOOD.replace("[0]", "[1" + "0" * 5000 + "]") % "{}",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_CONFIGS, ids=range(len(BAD_CONFIGS)))
def test_a_malformed_config_is_one_sentence_of_every_command(text, capsys, tmp_path):
    """But where it names a module, which `plot` has no need to import; there is no evaluation to draw either way."""
    (tmp_path / "config.json").write_text(text)
    for command in ("eval", "video", "diagnose", "plot"):
        assert call(command, str(tmp_path)) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4 and all(line.startswith("pbrl: ") and len(line) < 900 for line in told)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
