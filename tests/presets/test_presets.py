"""Presets: every path exists and every value passes the agent's own checks."""

from dataclasses import replace
from pathlib import Path

import pytest

from pbrl import AGENTS
from pbrl.envs.ids import TASKS
from pbrl.presets import lookup, overrides
from pbrl.runs.feasible import check
from pbrl.runs.run import agent_module
from pbrl.runs.schedule import Schedule

CASES = [
    (name, agent, env) for name, agents in lookup.PRESETS.items() for agent, envs in agents.items() for env in envs
]


@pytest.mark.parametrize(("name", "agent", "env"), CASES)
def test_every_path_exists_and_every_value_is_accepted(name, agent, env):
    module = agent_module(agent)
    changes = lookup.preset(name, agent, env)
    config, schedule = overrides.apply(module.Config(), Schedule(), changes)
    check(module, config, schedule)
    assert len(CASES) == len(set(CASES))


SERVED = {"paper-text": {"svg", "sac", "maac"}, "xqc": {"sac"}, "xqc-cpu": {"sac"}}


def test_every_preset_serves_every_agent_and_names_only_real_environments():
    for name in lookup.PRESETS:
        assert lookup.PRESETS[name].keys() == SERVED.get(name, AGENTS.keys())
        assert name in lookup.SUMMARIES
        for envs in lookup.PRESETS[name].values():
            assert "default" in envs
            assert {env for env in envs if env.startswith("pbrl/")} <= TASKS.keys()


def test_paper_keeps_the_released_settings_where_appendix_d_says_nothing_else():
    assert lookup.preset("paper", "mage", "pbrl/MageHalfCheetah-v0") == {}
    small = lookup.preset("paper", "mage", "pbrl/MagePendulum-v0")
    assert (small["schedule.warmup_steps"], small["schedule.batch_size"]) == (100, 512)
    assert small["config.model_hidden"] == small["config.actor_hidden"] == (128, 128)
    assert lookup.preset("paper", "td3", "Hopper-v5") == {"schedule.model_every": 0, "schedule.updates_per_step": 1}


def test_the_squared_td_loss_is_cartpoles_at_cpu_sizes():
    """Tried there alone; the papers' sizes keep the authors' loss."""
    for agent in ("mage", "dyna", "td3"):
        found = {
            (name, env): lookup.preset(name, agent, env).get("config.td_loss", "huber")
            for name in ("cpu", "paper")
            for env in ("pbrl/MageCartPole-v0", "pbrl/MagePendulum-v0", "pbrl/MageHalfCheetah-v0")
        }
        assert [where for where, loss in found.items() if loss == "squared"] == [("cpu", "pbrl/MageCartPole-v0")]


def test_an_unknown_environment_gets_the_default_and_a_copy_of_it():
    changes = lookup.preset("cpu", "mage", "Ant-v5")
    assert changes == lookup.PRESETS["cpu"]["mage"]["default"]
    changes.clear()
    assert lookup.PRESETS["cpu"]["mage"]["default"]


@pytest.mark.parametrize(("name", "agent", "hint"), [("papr", "mage", "'paper'"), ("cpu", "td2", "'td3'")])
def test_unknown_names_are_refused_with_the_nearest(name, agent, hint):
    with pytest.raises(ValueError, match=f"did you mean {hint}"):
        lookup.preset(name, agent, "Pendulum-v1")


def test_svg_takes_the_released_settings_and_the_printed_ones_on_demand():
    """`config/env/mbpo_hopper.yaml` and `poplin_walker2d.yaml`, against Tables 3 and 4."""
    hopper = lookup.preset("paper", "svg", "pbrl/MbpoHopper-v0")
    assert [hopper[f"config.{k}"] for k in ("initial_entropy", "final_entropy", "entropy_decay")] == [0, -2, 1 / 32]
    assert hopper["config.entropy_steps"] == hopper["schedule.total_steps"] == 1_000_000
    assert hopper["schedule.model_batch_size"] == 512 and "config.horizon" not in hopper  # the default, H = 2
    walker = lookup.preset("paper-text", "svg", "pbrl/PoplinWalker2d-v0")
    assert walker["config.horizon"] == 5 and walker["config.temperature_lr"] == 5e-4
    assert (walker["schedule.batch_size"], walker["schedule.model_batch_size"]) == (512, 1024)
    assert "config.horizon" not in lookup.preset("paper-text", "sac", "pbrl/PoplinWalker2d-v0")
    assert lookup.preset("paper-text", "svg", "pbrl/MaacWalker2d-v0") == walker  # the same task, one step longer


def test_svg_and_sac_have_the_published_target_entropies_at_cpu_sizes_too():
    for agent in ("svg", "sac"):
        hopper = lookup.preset("cpu", agent, "pbrl/MbpoHopper-v0")
        assert (hopper["config.initial_entropy"], hopper["config.final_entropy"]) == (0, -2)
        assert hopper["config.entropy_steps"] == 1_000_000 and hopper["config.actor_hidden"] == (64, 64)
        assert "config.initial_entropy" not in lookup.preset("cpu", agent, "pbrl/MaacHopper-v0")


def test_xqc_is_a_preset_of_sac_alone_whose_small_one_has_cpus_networks():
    """`conf/agent/base_agent.yaml` and `conf/config.yaml` of the released code."""
    released, small = (lookup.preset(name, "sac", "pbrl/MbpoHopper-v0") for name in ("xqc", "xqc-cpu"))
    assert released["config.critic"] == small["config.critic"] == "categorical"
    assert (released["config.critic_hidden"], released["config.actor_hidden"]) == ((512,) * 4, (256,) * 4)
    assert (released["schedule.updates_per_step"], released["config.actor_every"]) == (2, 3)
    cpu = lookup.preset("cpu", "sac", "pbrl/MbpoHopper-v0")
    assert all(small[f"config.{part}_hidden"] == cpu[f"config.{part}_hidden"] for part in ("actor", "critic"))
    for preset in ("cpu", "paper"):  # over another preset they are the same agent
        over = lookup.preset(preset, "sac", "pbrl/MbpoHopper-v0") | small
        made, alone = (overrides.apply(agent_module("sac").Config(), Schedule(), x)[0] for x in (over, small))
        unread = {"entropy_decay": alone.entropy_decay, "entropy_steps": alone.entropy_steps}  # of no schedule
        assert replace(made, **unread) == alone
    with pytest.raises(ValueError, match="preset 'xqc' has nothing for the agent 'svg'"):
        lookup.preset("xqc", "svg", "pbrl/MbpoHopper-v0")


def test_maac_takes_the_released_settings_and_the_papers_text_on_demand():
    """`maac_run_sweep.py`: T + 1 model steps, activations by task; the text unrolls its rollouts."""
    ant, walker = (lookup.preset("paper", "maac", f"pbrl/Maac{name}-v0") for name in ("Ant", "Walker2d"))
    assert [(t["config.horizon"], t["config.actor_activation"], t["config.activation"]) for t in (ant, walker)] == [
        (4, "tanh", "relu"),
        (2, "tanh", "tanh"),
    ]
    assert (ant["schedule.updates_per_step"], ant["schedule.batch_size"], ant["config.critics"]) == (8, 256, 2)
    assert not ant["schedule.imagine_chained"]
    text = lookup.preset("paper-text", "maac", "pbrl/MaacWalker2d-v0")
    assert text["schedule.imagine_chained"] and (text["config.critics"], text["config.target_horizon"]) == (2, 2)


def test_the_page_of_the_preset_cpu_is_what_the_presets_say(monkeypatch):
    """`python benchmarks/preset_tables.py` writes it; a setting without a reason has no line."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    tables = __import__("preset_tables")
    assert tables.PAGE.read_text() == tables.page(), "run python benchmarks/preset_tables.py"
