"""What the benchmark of updates counts and adds up: operations by hand beside those of the traced program."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import jax
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import operations
import update_speed
import workloads
from workloads import WORKLOADS

from pbrl.agents import dhmbpo
from pbrl.envs.tasks import rewards
from pbrl.types import EnvSpec

SIZES = WORKLOADS["dhmbpo"].sizes


def multiplied(jaxpr):
    """Operations of all matrix products in a traced program, a scan's body as often as it runs."""
    total = 0.0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            inner = math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
            total += 2.0 * inner * math.prod(eqn.outvars[0].aval.shape)
        times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
        total += times * sum(multiplied(sub) for sub in jax.core.jaxprs_in_params(eqn.params))
    return total


@pytest.fixture(scope="module")
def traced():
    """State, batch and key of DHMBPO at the timed sizes, as shapes."""
    spec = EnvSpec(SIZES["obs"], SIZES["action"], 1000, rewards.half_cheetah, rewards.never)
    config = workloads.dhmbpo_config(SIZES)
    state = jax.eval_shape(lambda key: dhmbpo.init(key, spec, config), jax.random.key(0))
    batch = jax.eval_shape(lambda: workloads.data(SIZES))
    return state, lambda *rows: jax.tree.map(lambda x: jax.ShapeDtypeStruct((*rows, *x.shape[1:]), x.dtype), batch)


def test_operations_of_an_update_are_those_of_the_program(traced):
    state, batch = traced
    program = jax.make_jaxpr(dhmbpo.update)(state, batch(SIZES["batch"]), jax.random.key(0)).jaxpr
    by_hand = operations.dhmbpo_update_flops({**SIZES, "rollout": 0})
    # A scan goes back to the first state as to all others, and the first of H steps asks for nothing there.
    assert by_hand <= multiplied(program) <= 1.01 * by_hand
    whole = operations.dhmbpo_update_flops(SIZES)
    assert 1.02 < whole / by_hand < 1.05  # what makes the states


def test_operations_of_a_model_step_are_those_of_the_program(traced):
    state, batch = traced
    rows = batch(SIZES["ensemble"], SIZES["model_batch"])
    program = jax.make_jaxpr(dhmbpo.update_model)(state, rows, jax.random.key(0)).jaxpr
    losses = jax.make_jaxpr(dhmbpo.model_losses)(state, rows).jaxpr
    judged = 1.25 * SIZES["transitions"] // 5 / SIZES["model_batch"] / 6  # batches for each gradient step
    assert operations.epoch(SIZES) == 6
    counted = multiplied(program) + judged * multiplied(losses)
    assert operations.dhmbpo_model_flops(SIZES) == pytest.approx(counted, rel=1e-3)


def test_an_environment_step_adds_up_what_each_side_does():
    peer = {
        f"peer {phase}, threads=1": [10.0 * ms, 20.0 * ms]
        for phase, ms in (("update", 1), ("model", 2), ("critics", 3))
    }
    times = {"update": [1.0, 2.0], "model": [3.0, 4.0], **peer}
    workload = replace(WORKLOADS["dhmbpo"], step={"update": 1, "model": 0.5})
    workload = replace(workload, peer_step={"update": 1, "critics": 0.25, "model": 0.5})
    update_speed.add_steps(times, workload)
    assert times["step"] == [2.5, 4.0]
    assert times["peer step, threads=1"] == [10 + 7.5 + 10, 20 + 15 + 20]
    update_speed.add_steps(times, replace(workload, peer_step={}))  # of which the code is the same
    assert times["peer step, threads=1"] == [20, 40]
    table = update_speed.rows(times, {}, workload, 100.0)
    assert "peer critics, threads=1" in table and "times_ours" not in table["peer critics, threads=1"]
    assert table["peer step, threads=1"]["times_ours"] == pytest.approx(9)


@pytest.mark.parametrize("task", [task for task, workload in WORKLOADS.items() if workload.worker])
def test_peers_time_whole_turns_of_what_they_have(task):
    workload = WORKLOADS[task]
    assert {*workload.peer_units} >= {*workload.step, *workload.peer_step, "update", "model"}
    assert (Path(update_speed.__file__).parent / "peers" / str(workload.worker)).exists()


def test_results_add_up_where_they_were_timed_alike(tmp_path):
    report = {"command": "c", "machine": {"cores": 2}, "repeats": 8}
    path = tmp_path / "speed.json"
    assert update_speed.kept(None, report) == update_speed.kept(path, report) == {}
    path.write_text('{"command": "c", "machine": {"cores": 2}, "repeats": 8, "tasks": {"svg": 1}}')
    assert update_speed.kept(path, report) == {"svg": 1}
    with pytest.raises(SystemExit, match="repeats"):
        update_speed.kept(path, {**report, "repeats": 4})
