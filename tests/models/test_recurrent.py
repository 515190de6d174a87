import jax
import jax.numpy as jnp
import numpy as np
from small_agents import jitted, ready, transitions

from pbrl.agents import svg
from pbrl.models.sequence_world import Recurrent, SequenceWorld
from pbrl.nn import normalizer

MODEL = Recurrent(3, 2, encoder_hidden=(5,), width=4, layers=2)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(params, obs, actions):
    """The same equations in NumPy, with PyTorch's names for the gates."""
    p = jax.tree.map(np.asarray, params)
    hidden, out = [np.zeros((len(obs), 4)) for _ in range(2)], []
    for action in actions:
        x = np.concatenate([obs, action], -1)
        first, second = p["MLP_0"]["Dense_0"], p["MLP_0"]["Dense_1"]
        x = np.maximum(x @ first["kernel"] + first["bias"], 0) @ second["kernel"] + second["bias"]
        for i in range(2):
            cell = p[f"GRUCell_{i}"]
            ir, iz, i_n = np.split(x @ cell["input"]["kernel"] + cell["input"]["bias"], 3, -1)
            hr, hz, h_n = np.split(hidden[i] @ cell["hidden"]["kernel"] + cell["hidden"]["bias"], 3, -1)
            z = sigmoid(iz + hz)
            hidden[i] = (1 - z) * np.tanh(i_n + sigmoid(ir + hr) * h_n) + z * hidden[i]
            x = hidden[i]
        decoder = p["MLP_1"]["Dense_0"]
        obs = obs + x @ decoder["kernel"] + decoder["bias"]
        out.append(obs)
    return np.stack(out)


def data(steps=3, rows=6):
    rng = np.random.default_rng(1)
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in ((rows, 3), (steps, rows, 2), (steps, rows, 3)))


def test_unroll_follows_the_equations(key):
    params, (obs, actions, targets) = jax.jit(MODEL.init)(key), data()

    @jax.jit
    def say(params):
        both = [MODEL.unroll(params, obs, actions, detach=detach) for detach in (False, True)]
        return both, MODEL.loss(params, obs, actions, targets)

    both, loss = say(params)
    expected = by_hand(params, np.asarray(obs), np.asarray(actions))
    for path in both:  # detaching decides on gradients alone
        np.testing.assert_allclose(path, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loss, ((expected - targets) ** 2).mean(), rtol=1e-5)


def test_remembering_nothing_is_remembering_zeros(key):
    """The first step and its gradient are those of a hidden state of zeros, whose weights it leaves alone."""
    params, (obs, actions, _) = jax.jit(MODEL.init)(key), data()
    zeros = (np.zeros((len(obs), 4), np.float32),) * 2

    def first(params, hidden):
        after, kept = MODEL.step(params, (obs, hidden), actions[0])
        return jnp.square(after).sum() + sum(jnp.square(h).sum() for h in kept)

    both = jax.jit(lambda params: [jax.value_and_grad(first)(params, hidden) for hidden in (None, zeros)])(params)
    for a, b in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_detaching_leaves_the_hidden_state_as_the_only_path(key):
    """The first action reaches the second prediction through x and hidden state; detached, through the latter alone."""
    params, (obs, actions, _) = jax.jit(MODEL.init)(key), data(2)

    def second(params, action, detach):
        return MODEL.unroll(params, obs, jnp.asarray(actions).at[0].set(action), detach=detach)[1].sum()

    slopes = jax.jit(lambda params: [jax.grad(second, 1)(params, actions[0], detach) for detach in (False, True)])
    attached, detached = map(np.asarray, slopes(params))
    assert np.abs(attached - detached).max() > 1e-3 and np.abs(detached).max() > 1e-6
    closed = jax.tree.map(np.array, params)
    for i in range(2):
        cell = closed[f"GRUCell_{i}"]
        cell["hidden"]["kernel"] *= 0.0
        cell["input"]["bias"][4:8] = -100.0  # the update gate keeps nothing
    attached, detached = slopes(closed)
    assert attached.any() and not detached.any()


def test_weights_are_drawn_as_the_released_code_draws_them():
    params = jax.jit(Recurrent(17, 6).init)(jax.random.key(0))
    kernel = np.asarray(params["MLP_0"]["Dense_1"]["kernel"])
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(512), atol=1e-4)
    for name in ("input", "hidden"):
        gates = params["GRUCell_1"][name]
        for leaf in (gates["kernel"], gates["bias"]):
            assert 0.98 / np.sqrt(512) < np.abs(leaf).max() <= 1 / np.sqrt(512)
    assert params["MLP_1"]["Dense_0"]["kernel"].shape == (512, 17)  # the decoder is one linear layer


def test_simulator_predicts_in_the_units_of_the_environment():
    """Start and observe undo each other; a step's change is the network's, scaled by the data's deviation."""
    state, batch = ready("svg"), transitions(8)

    @jax.jit
    def say(state):
        parts = SequenceWorld(state.spec, state.config, state.stats)
        simulator = parts.simulator(state.world)
        latent = simulator.start(batch)
        after, reward, going_on = simulator.step(latent, batch.action, jax.random.key(0))
        x = normalizer.normalize(state.stats.obs.within((0.1, 10.0)), batch.obs)
        inside = parts.recurrent.unroll(state.world.dynamics, x, batch.action[None], detach=False)[0]
        expected = normalizer.denormalize(state.stats.obs.within((0.1, 10.0)), inside)
        return simulator.observe(latent), simulator.observe(after), expected, reward, going_on

    same, after, expected, reward, going_on = say(state)
    np.testing.assert_allclose(same, batch.obs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-6)
    assert reward.shape == going_on.shape == (8,)


def test_fitting_learns_dynamics_reward_and_termination():
    """On the small task: errors fall well below those of predicting no change, the mean, and the base rate."""
    state = ready("svg", model_lr=3e-3, head_lr=3e-3, recurrent_width=32, encoder_hidden=(32,), head_hidden=(32,))
    batch = transitions(1, 256)

    @jax.jit
    def fit(state, key):
        state, dynamics = svg.update_model(state, batch, key)
        flat = jax.tree.map(lambda x: x[0], batch)
        parts = SequenceWorld(state.spec, state.config, state.stats)
        heads, others = parts.fit_heads(state.world, flat)
        return state.replace(world=heads), dynamics | others

    state, metrics = jax.lax.scan(fit, state, jax.random.split(jax.random.key(0), 500))
    first, last = (jax.tree.map(lambda x, i=i: float(x[i]), metrics) for i in (0, -1))
    assert last["model/loss"] < 0.05 * first["model/loss"]
    assert last["model/reward_loss"] < 0.05 * float(batch.reward.var())
    assert last["model/termination_loss"] < 0.5 * first["model/termination_loss"]


def test_an_ensemble_may_take_the_recurrent_models_place():
    state = ready("svg", dynamics="ensemble")
    assert state.config.sequence_length == 1
    assert jax.tree.leaves(state.world.dynamics)[0].shape[0] == 4
    after, metrics = jitted("svg", "update_model")(state, transitions(1, 16), jax.random.key(0))
    assert np.isfinite(metrics["model/loss"]) and np.isfinite(
        jitted("svg", "update")(after, transitions(8), jax.random.key(1))[1]["actor/loss"]
    )
