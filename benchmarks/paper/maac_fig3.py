"""MAAC, Figure 3: how wrong the policy gradient is for each horizon, with a learned model and with the true dynamics.

    python benchmarks/paper/maac_fig3.py

The double integrator with a linear policy `a = K s`, γ = 0.9. An actor-critic learns as MAAC does: an ensemble and a
critic are fitted to the transitions so far, and K ascends the objective of two imagined steps. On the way the gradient
of

    J_H(K) = E[ Σ_{t<H} γ^t r(ŝ_t, a_t) + γ^H Q̂(ŝ_H, K ŝ_H) ]

is compared for every H with the gradient of the true value at the *current* K, in closed form (`pbrl.envs.lqr`,
float64): mean absolute difference over the two weights. J_H differentiates the first H + 1 actions; where even the true
dynamics fall short, that and Q̂'s error are missing. All of it twice: with a model that is fitted well after every
episode, and with one that gets a tenth of the gradient steps. Next to it the factors of Lemma 4.1, for this system and
these gains. The paper compares with a gradient at the optimal gain, up to H = 10, and names no number of seeds.

Writes `results/maac-fig3.csv`, `.json` and `.png`.
"""

import argparse
import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pbrl.envs.lqr import Lqr, double_integrator
from pbrl.equations import expansion
from pbrl.equations.expansion import rollout
from pbrl.models.ensemble import BoundedEnsemble
from pbrl.nn import networks
from pbrl.nn.normalizer import Statistics
from pbrl.report import plots, stats
from pbrl.types import Array, Dynamics, Key, Params, Transition

RESULTS = Path(__file__).parents[1] / "results"
HORIZONS = (0, 2, 3, 5, 10, 20, 40)  # the paper's, and two beyond, as this system is slow
SEEDS, STEPS, EPISODE, RANDOM = 20, 2_496, 26, 130  # environment steps; the paper's figure ends at 2,500
AT = (130, 260, 520, 1_040, 1_560, 2_080, 2_496)  # where gradients are compared
FITS = {"well fitted": 40, "poorly fitted": 4}  # gradient steps of the model after every episode
CRITIC_STEPS, BATCH, STATES = 40, 256, 256
NOISE, MODEL_RATE, CRITIC_RATE, ACTOR_RATE, TAU = 0.3, 1e-3, 1e-3, 5e-3, 0.05
WIDTHS, MEMBERS, ACTOR_HORIZON = (64, 64), 5, 2
FIRST_GAIN = (-0.5, 0.2)  # stable, far from the best one, (-0.16, -0.49)

ENSEMBLE = BoundedEnsemble(2, 1, WIDTHS, MEMBERS)
CRITIC = networks.Critic(WIDTHS, "tanh")


class Learner(NamedTuple):
    """Everything that training changes, for one seed."""

    gain: Array  # [1, 2]
    model: Params
    critic: Params
    target: Params
    opts: tuple
    data: Transition  # [STEPS], filled from the front
    moments: Statistics


def start(key: Key) -> Learner:
    """Draw networks; the buffer is empty."""
    model_key, critic_key = jax.random.split(key)
    model = ENSEMBLE.init(model_key)
    critic = networks.init(CRITIC, critic_key, jnp.zeros(2), jnp.zeros(1))
    gain = jnp.array([FIRST_GAIN])
    opts = tuple(optax.adam(0.0).init(p) for p in (model, critic, gain))
    obs, action, number = (jnp.zeros((STEPS, *shape)) for shape in ((2,), (1,), ()))
    empty = Transition(obs, action, number, number, obs)
    return Learner(gain, model, critic, critic, opts, empty, Statistics.init(2, 1, bounded=False))


def play(lqr: Lqr, gain: Array, key: Key, random: Array) -> Transition:
    """Play one episode from (1, 1) with Gaussian noise, or uniformly random actions."""

    def step(state: Array, key: Key) -> tuple[Array, Transition]:
        noisy = state @ gain.T + NOISE * jax.random.normal(key, (1,))
        action = jnp.where(random, jax.random.uniform(key, (1,), minval=-1.0, maxval=1.0), noisy)
        after, reward, discount = lqr.step(state, action, key)
        return after, Transition(state, action, reward, discount, after)

    return jax.lax.scan(step, jnp.ones(2), jax.random.split(key, EPISODE))[1]


def learned(lqr: Lqr, state: Learner) -> Dynamics:
    """Return the ensemble with the true reward, which MAAC knows."""

    def step(obs: Array, action: Array, key: Key) -> tuple[Array, Array, Array]:
        _, reward, discount = lqr.step(obs, action, key)
        return ENSEMBLE.sample(state.model, state.moments, obs, action, key), reward, discount

    return Dynamics(start=lambda batch: batch.obs, step=step, observe=lambda obs: obs)


def objective(
    gain: Array, dynamics: Dynamics, critic: Params, gamma: float, obs: Array, key: Key, horizon: int
) -> Array:
    """Return J_H, averaged over start states `obs [B, 2]`."""
    path = rollout(dynamics, lambda s, k: (s @ gain.T, ()), obs, key, horizon)
    q = networks.apply(CRITIC, critic, path.final_obs, path.final_obs @ gain.T)
    return expansion.value_expansion(path.reward, path.discount, q, gamma).mean()


def rows(state: Learner, key: Key, filled: Array, *shape: int) -> Transition:
    """Draw replayed transitions."""
    index = jax.random.randint(key, shape, 0, filled)
    return jax.tree.map(lambda x: x[index], state.data)


def improve(lqr: Lqr, state: Learner, key: Key, filled: Array, actor: bool, fit_steps: int) -> Learner:
    """Fit the model and the critic to the data so far, then take a step up J_2 for each of the critic's."""

    def fit(carry: tuple, key: Key) -> tuple[tuple, None]:
        batch = rows(state, key, filled, MEMBERS, BATCH)
        loss = lambda p: (ENSEMBLE.loss(p, state.moments, batch), None)  # noqa: E731
        return networks.descend(loss, optax.adam(MODEL_RATE), *carry)[:2], None

    (model, model_opt), _ = jax.lax.scan(fit, (state.model, state.opts[0]), jax.random.split(key, fit_steps))
    state = state._replace(model=model)

    def learn(carry: tuple, key: Key) -> tuple[tuple, None]:
        gain, critic, target, critic_opt, gain_opt = carry
        batch_key, actor_key = jax.random.split(key)
        batch = rows(state, batch_key, filled, BATCH)
        y = batch.reward + lqr.discount * networks.apply(CRITIC, target, batch.next_obs, batch.next_obs @ gain.T)
        loss = lambda p: (jnp.square(y - networks.apply(CRITIC, p, batch.obs, batch.action)).mean(), None)  # noqa: E731
        critic, critic_opt = networks.descend(loss, optax.adam(CRITIC_RATE), critic, critic_opt)[:2]
        if actor:
            ascend = lambda k: (  # noqa: E731
                -objective(k, learned(lqr, state), critic, lqr.discount, batch.obs, actor_key, ACTOR_HORIZON),
                None,
            )
            gain, gain_opt = networks.descend(ascend, optax.adam(ACTOR_RATE), gain, gain_opt)[:2]
        return (gain, critic, optax.incremental_update(critic, target, TAU), critic_opt, gain_opt), None

    carry = state.gain, state.critic, state.target, state.opts[1], state.opts[2]
    carry, _ = jax.lax.scan(learn, carry, jax.random.split(jax.random.fold_in(key, 1), CRITIC_STEPS))
    gain, critic, target, critic_opt, gain_opt = carry
    return state._replace(gain=gain, critic=critic, target=target, opts=(model_opt, critic_opt, gain_opt))


def errors(lqr: Lqr, state: Learner, key: Key, filled: Array) -> dict[str, Array]:
    """Return each horizon's error with both models, the size of the exact gradient, and its relative error."""
    obs = rows(state, key, filled, STATES).obs
    exact = _exact(lqr, state.gain, obs.T @ obs / STATES)
    out = {"gradient": jnp.abs(exact).mean()}
    for kind, dynamics in (("learned", learned(lqr, state)), ("true", lqr.oracle)):
        for h in HORIZONS:
            estimate = jax.grad(objective)(state.gain, dynamics, state.critic, lqr.discount, obs, key, h)
            out[f"{kind} {h}"] = jnp.abs(estimate - exact).mean()
    return out


def _exact(lqr: Lqr, gain: Array, second_moment: Array) -> Array:
    """Return the closed form's gradient, computed in float64 on the host."""

    def host(gain: np.ndarray, moment: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            double = replace(
                lqr, **{n: jnp.asarray(np.asarray(getattr(lqr, n), np.float64)) for n in ("A", "B", "Q", "R", "W")}
            )
            exact = double.gradient(
                jnp.asarray(np.asarray(gain, np.float64)), jnp.asarray(np.asarray(moment, np.float64))
            )
            return np.asarray(exact, np.float32)

    shape = jax.ShapeDtypeStruct(gain.shape, jnp.float32)
    return jax.pure_callback(host, shape, gain, second_moment, vmap_method="sequential")


def bound(lqr: Lqr, gain: np.ndarray) -> dict[str, Any]:
    """Return c1(H) and c2(H) of Lemma 4.1 for this system and gain.

    `L = L_f + L_f L_π`; K is the smallest number above 1 with `‖∇_K s_t‖ ≤ K^t` for the 20 steps from (1, 1).
    """
    a, b = (np.asarray(x, np.float64) for x in (lqr.A, lqr.B))
    slope_f, slope_pi = np.linalg.norm(np.hstack([a, b]), 2), np.linalg.norm(gain, 2)
    lipschitz, gamma = slope_f + slope_f * slope_pi, lqr.discount
    state, sensitivity, k = np.ones(2), np.zeros((2, 2)), 1.01
    for t in range(1, 21):
        sensitivity = (a + b @ gain) @ sensitivity + b @ state[None]
        state = (a + b @ gain) @ state
        k = max(k, np.linalg.norm(sensitivity, 2) ** (1 / t))
    slope_q = float(np.linalg.norm(np.asarray(lqr.value_matrix(jnp.asarray(gain)))))
    c1, c2 = [], []
    for h in HORIZONS:
        gk, gkl = gamma * k, gamma * k * lipschitz
        sums = (gkl**h - 1) / (gkl - 1) - (gk**h - 1) / (gk - 1)
        c1.append(float(lipschitz / (lipschitz - 1) * sums + slope_q * (lipschitz**h - 1) / (lipschitz - 1) * gk**h))
        c2.append(float(gk**h))
    return {"c1": c1, "c2": c2, "L": float(lipschitz), "K": float(k)}


def run_seed(seed: int, lqr: Lqr, programs: dict[str, Any]) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Train one seed; return its errors at every point of `AT`, and its last gain."""
    key = jax.random.key(seed)
    state, found = programs["start"](key), []
    for episode in range(STEPS // EPISODE):
        done, key = (episode + 1) * EPISODE, jax.random.fold_in(key, episode)
        batch = programs["play"](state.gain, key, done <= RANDOM)
        data = jax.tree.map(lambda ring, x, at=done: ring.at[at - EPISODE : at].set(x), state.data, batch)
        state = state._replace(data=data, moments=state.moments.update(batch))
        state = programs["improve" if done > RANDOM else "wait"](state, key, done)
        if done in AT:
            measured = programs["errors"](state, jax.random.fold_in(key, 1), done)
            found.append({"seed": seed, "step": done, **{name: float(x) for name, x in measured.items()}})
    return found, np.asarray(state.gain)


def draw(table: list[dict[str, Any]], lemma: dict[str, Any]) -> None:
    """Draw errors over training, errors against H for both models and the truth, and the lemma's factors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(19, 4.3))
    over, *against, factors = figure.subplots(1, 5)

    def curve(fit: str, name: str) -> np.ndarray:
        return np.array([[r[name] for r in table if (r["fit"], r["seed"]) == (fit, s)] for s in range(SEEDS)])

    good, poor = FITS
    for h in HORIZONS:
        over.plot(AT, curve(poor, f"learned {h}").mean(0), label=f"H = {h}")
    over.plot(AT, curve(poor, "true 5").mean(0), "k--", label="true dynamics, H = 5")
    over.set(xlabel="environment steps", title=f"{poor} model", ylabel="L1 error of the gradient", yscale="log")
    panels = ((poor, "learned", f"{poor} model"), (good, "learned", f"{good} model"), (good, "true", "true dynamics"))
    for axis, (fit, kind, title) in zip(against, panels, strict=True):
        for i in (0, 3, len(AT) - 1):
            at = np.stack([curve(fit, f"{kind} {h}")[:, i] for h in HORIZONS], 1)  # [seeds, H]
            low, high = stats.bootstrap_band(at, stats.mean)
            axis.plot(HORIZONS, at.mean(0), marker="o", label=f"{AT[i]:,} steps")
            axis.fill_between(HORIZONS, low, high, alpha=0.16, linewidth=0)
        axis.set(xlabel="H", title=title, yscale="log", ylim=(0.05, 20))
    for name in ("c1", "c2"):
        factors.plot(HORIZONS, lemma[name], marker="o", label=f"{name}(H)")
    factors.set(xlabel="H", title="factors of Lemma 4.1")
    factors.set_yscale("symlog", linthresh=0.01)
    for axis in (over, *against, factors):
        plots.finish(axis, legend=8)
    figure.suptitle(f"MAAC, Fig. 3: gradient of a linear policy on the double integrator (n = {SEEDS})", fontsize=12)
    figure.tight_layout()
    figure.savefig(RESULTS / "maac-fig3.png", dpi=130)


def train(lqr: Lqr, fit: str) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Train all seeds with one of `FITS`; return the rows of the table and the last gains."""
    improving = partial(improve, lqr, fit_steps=FITS[fit])
    programs = {
        "start": jax.jit(start),
        "play": jax.jit(partial(play, lqr)),
        "improve": jax.jit(partial(improving, actor=True)),
        "wait": jax.jit(partial(improving, actor=False)),
        "errors": jax.jit(partial(errors, lqr)),
    }
    table, gains = [], []
    for seed in range(SEEDS):
        found, gain = run_seed(seed, lqr, programs)
        table, gains = [*table, *({"fit": fit, **row} for row in found)], [*gains, gain]
        print(f"{fit} model, seed {seed}: gain {np.round(gain[0], 3).tolist()}", flush=True)
    return table, gains


def main() -> None:
    """Run from the command line."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    lqr = double_integrator()
    trained = [train(lqr, fit) for fit in FITS]
    table = [row for rows, _ in trained for row in rows]
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / "maac-fig3.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows([{k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in table])
    lemma = bound(lqr, np.mean(trained[0][1], 0).astype(np.float64))
    names = ("STEPS", "EPISODE", "RANDOM", "FITS", "CRITIC_STEPS", "BATCH", "STATES", "NOISE", "MODEL_RATE")
    names += ("CRITIC_RATE", "ACTOR_RATE", "TAU", "WIDTHS", "MEMBERS", "ACTOR_HORIZON", "FIRST_GAIN")

    def mean(fit: str, step: int, name: str) -> float:
        return float(np.mean([row[name] for row in table if (row["fit"], row["step"]) == (fit, step)]))

    means = {
        f"{fit}, {kind}": {str(at): [mean(fit, at, f"{kind} {h}") for h in HORIZONS] for at in AT}
        for fit in FITS
        for kind in ("learned", "true")
    }
    report = {
        "command": "python benchmarks/paper/maac_fig3.py",
        "seeds": SEEDS,
        "horizons": HORIZONS,
        "settings": {name.lower(): globals()[name] for name in names},
        "error": means,
        "gradient": {fit: {str(at): mean(fit, at, "gradient") for at in AT} for fit in FITS},
        "lemma": lemma,
    }
    (RESULTS / "maac-fig3.json").write_text(json.dumps(report, indent=1) + "\n")
    for kind, by_step in means.items():
        for step, of_h in by_step.items():
            cells = (f"H={h}: {e:.3f}" for h, e in zip(HORIZONS, of_h, strict=True))
            print(f"{kind:22s} {step:>5s} steps  " + "  ".join(cells))
    draw(table, lemma)


if __name__ == "__main__":
    main()
