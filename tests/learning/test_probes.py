"""Probe environments: the simplest tasks on which a part that does not work shows at once, for every agent.

An agent trains on all of them in one program: a probe's numbers are data, over which training is mapped.
"""

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import AGENTS, VARIANTS, config, module

from pbrl.envs import toy
from pbrl.envs.toy import PROBES, Probe
from pbrl.types import EnvSpec, Transition

HEADLINE = ("mage", "svg", "maac")
GAMMA, UPDATES, ROWS = 0.8, 1_200, 32
SETTINGS = {
    "actor_lr": 3e-3,
    "critic_lr": 1e-2,
    "model_lr": 3e-3,
    "head_lr": 3e-3,
    "tau": 0.05,
    "lam": 1.0,
    "loss_scale": 1.0,
    "actor_hidden": (16,),
    "head_hidden": (32, 32),
    # Where entropy is paid for, little is wanted, so that the mode is what the reward asks for.
    "temperature_lr": 0.0,
    "initial_temperature": 1e-3,
}
# Nearly all of the time goes into compiling: less at this level and without Threefry, and programs run as fast.
QUICKLY = {"xla_backend_optimization_level": 1}


class Case(NamedTuple):
    """A probe for an agent that works or, by other numbers than these, for one that does not."""

    probe: Probe
    discount: float = GAMMA
    slope: float = 1.0
    """What derivatives in an oracle's action are multiplied by: at 0 no value gradient reaches the agent."""


SOUND = {name: Case(probe) for name, probe in PROBES.items()}
BROKEN = {
    "ProbeDelay": Case(PROBES["ProbeDelay"], discount=0.0),
    "ProbeAction": Case(PROBES["ProbeAction"], slope=0.0),
    "ProbeCarry": Case(PROBES["ProbeCarry"], slope=0.0),
}
PLACES = np.linspace(-0.8, 0.8, 5, dtype=np.float32)
OBS = np.stack(np.broadcast_arrays(PLACES, np.array([[0.0], [1.0]], np.float32)), -1)  # [2 steps, 5 places, S]
BEST = {"ProbeAction": 0.4, "ProbeBoth": PLACES / 2, "ProbeCarry": 0.4}  # actions at the first step


class Learned(NamedTuple):
    """What an agent does at `OBS`, `[2, 5]`, what its critics hold of it, and the discounted return that it has."""

    action: np.ndarray
    value: np.ndarray
    truth: np.ndarray


@cache
def learned(name, model=False):
    """Train on the cases, with a learned model or with the probe's own dynamics, where an agent has use for either.

    Returns what came of the sound ones and of the broken ones, by the probe's name.
    """
    cases = [*SOUND.values(), *(() if model else BROKEN.values())]
    stacked = jax.tree.map(lambda *numbers: jnp.array(numbers), *cases)
    training = jax.vmap(lambda case: train(name, case, model, jax.random.key(0, impl="unsafe_rbg")))
    results = jax.jit(training, compiler_options=QUICKLY)(stacked)
    each = [Learned(*(np.asarray(x[i]) for x in results)) for i in range(len(cases))]
    return dict(zip(SOUND, each, strict=False)), dict(zip(BROKEN, each[len(SOUND) :], strict=False))


def train(name, case, model, key):
    """Train on transitions of random actions, to which an agent that imagines adds its own. Returns `Learned`."""
    agent, env, settings = module(name), toy.probe(case.probe), config(name, **SETTINGS)
    able, (start_key, seen_key, train_key) = agent.abilities(settings), jax.random.split(key, 3)
    oracle = sloping(env, case.slope) if able.has_model and not model else None
    state = agent.init(start_key, EnvSpec(2, 1, 2), settings, oracle=oracle)
    state = replace(state, config=replace(state.config, discount=jnp.asarray(case.discount)))
    state = agent.observe(state, rows(windows(env, seen_key, 512)))

    def update(state, key):
        data_key, model_key, imagine_key, update_key = jax.random.split(key, 4)
        data = windows(env, data_key, ROWS)
        batch = rows(data)
        if model:
            state, _ = agent.update_model(state, data if able.fits == "windows" else batch, model_key)
        if able.imagines:
            imagined, _ = agent.imagine(state, batch, imagine_key)
            batch = jax.tree.map(lambda *x: jnp.concatenate(x), batch, imagined)
        if able.remembers:
            batch = replace(batch, extras={"log_prob": jnp.full_like(batch.reward, -jnp.log(2.0))})
        return agent.update(state, batch, update_key)[0], None

    state, _ = jax.lax.scan(update, state, jax.random.split(train_key, UPDATES))
    return judge(agent, state, env)


def sloping(env, slope):
    """The probe as an oracle with the same outcomes, and derivatives in the action multiplied by `slope`."""

    def step(state, action, key):
        still = jax.lax.stop_gradient(action)
        return env.step(state, still + slope * (action - still), key)

    return env.oracle._replace(step=step)


def windows(env, key, count):
    """Draw transitions `[2, count]`, two steps with random actions from each start, whether or not the first one ends.

    Where it does the second, whose place is the first action, is the start of an episode as good as any.
    """
    place_key, action_key = jax.random.split(key)
    state = jax.vmap(env.reset)(jax.random.split(place_key, count))
    actions = jax.random.uniform(action_key, (2, count, 1), minval=-1.0, maxval=1.0)

    def step(state, action):
        after, reward, discount = env.step(state, action)
        return after, Transition(env.observe(state), action, reward, discount, env.observe(after))

    return jax.lax.scan(step, state, actions)[1]


def rows(data):
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), data)


def judge(agent, state, env):
    """Ask for actions and values at `OBS`, and play the actions' episodes, of at most two steps."""
    act = lambda obs: agent.act(state, obs, jax.random.key(0), explore=False)  # noqa: E731
    action = act(OBS)
    if agent.abilities(state.config).plans:
        value = agent.value(state, OBS, action)
    else:
        value = agent.networks(state).q(state.ac.critic, OBS, action).min(0)
    after, reward, discount = env.step(OBS, action)
    return Learned(action[..., 0], value, reward + GAMMA * discount * env.step(after, act(after))[1])


def check_value(result, atol=0.1):
    np.testing.assert_allclose(result.value, result.truth, atol=atol, err_msg="value")


def check_action(result, probe, atol=0.12):
    np.testing.assert_allclose(result.action[0], np.broadcast_to(BEST[probe], 5), atol=atol, err_msg="action")


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("name", [*AGENTS, *VARIANTS])
def test_critics_tell_what_the_policy_earns(name, probe):
    check_value(learned(name)[0][probe])


@pytest.mark.parametrize("probe", BEST)
@pytest.mark.parametrize("name", [name for name in (*AGENTS, *VARIANTS) if name != "dyna"])
def test_the_policy_finds_the_best_action(name, probe):
    """Dyna-TD3 is not among them. It evaluates only the policy's own actions, and a noiseless oracle shows it no other.

    Nothing tells its critic the slope in the action, right as its values are. That is the gap which MAGE closes.
    """
    check_action(learned(name)[0][probe], probe)


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("name", HEADLINE)
def test_a_learned_model_teaches_the_same(name, probe):
    """Dynamics, reward and termination are learned beside. SVG's reward is piecewise linear, its best action coarse."""
    result = learned(name, model=True)[0][probe]
    check_value(result, atol=0.15)
    if probe in BEST:
        check_action(result, probe, atol=0.2)


@pytest.mark.parametrize("name", HEADLINE)
def test_an_agent_that_does_not_work_fails(name):
    """Critics without a discounted value of the next state, and actors without slopes of reward or of value."""
    broken = learned(name)[1]
    with pytest.raises(AssertionError, match="value"):
        check_value(broken["ProbeDelay"])
    for probe in ("ProbeAction", "ProbeCarry"):
        with pytest.raises(AssertionError, match="action"):
            check_action(broken[probe], probe)
