import jax.numpy as jnp
import numpy as np
import optax
from small_agents import SPEC, config

from pbrl.models.ensemble_world import mage_world
from pbrl.nn import networks


def reference_radam(gradients, rate, clip, decay, b1=0.9, b2=0.999, eps=1e-8):
    """Liu et al. 2020, Algorithm 2, in plain NumPy, with decoupled weight decay."""
    x, m, v, longest = 1.0, 0.0, 0.0, 2 / (1 - b2) - 1
    path = []
    for t, gradient in enumerate(gradients, 1):
        g = np.clip(gradient, -clip, clip)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        direction = m / (1 - b1**t)
        length = longest - 2 * t * b2**t / (1 - b2**t)
        if length >= 5:
            r = np.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
            direction = r * direction / (np.sqrt(v / (1 - b2**t)) + eps)
        x -= rate * (direction + decay * x)
        path.append(x)
    return path


def test_radam_follows_the_paper_from_momentum_to_adaptive_steps():
    gradients = np.random.default_rng(0).normal(0, 4, 30)
    settings = config("mage", model_lr=0.05, grad_clip=5.0, model_weight_decay=0.01)
    tx = mage_world(SPEC, settings).optimizer
    x, state, path = jnp.array(1.0), tx.init(jnp.array(1.0)), []
    for gradient in gradients:
        x, state, *_ = networks.descend(lambda p, g=gradient: (p * g, None), tx, x, state)
        path.append(float(x))
    np.testing.assert_allclose(path, reference_radam(gradients, 0.05, 5.0, 0.01), rtol=2e-4)


def test_descend_reports_the_unclipped_norm():
    tx = optax.chain(optax.clip(1.0), optax.radam(0.0))
    params = {"a": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)}
    *_, value, aux, norm = networks.descend(
        lambda p: (0.5 * (jnp.square(p["a"]).sum() + jnp.square(p["b"])), "aux"), tx, params, tx.init(params)
    )
    assert (float(value), aux, float(norm)) == (12.5, "aux", 5.0)


def test_targets_follow_by_tau():
    assert optax.incremental_update({"w": jnp.array(3.0)}, {"w": jnp.array(1.0)}, 0.25) == {"w": 1.5}
