"""The deviation of the running discounted return, by which rewards are divided so that values keep to a fixed range."""

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp

from pbrl.nn import normalizer
from pbrl.nn.normalizer import Normalizer
from pbrl.types import Array, Transition

CLOSE = 1e-5
"""Of an observation's size: a program may round one that it computes twice in two ways."""


@flax.struct.dataclass
class ReturnScale:
    """Moments of `G_t = r_t + γ d_{t-1} G_{t-1}` over all steps so far, and what the next step needs of the last."""

    carried: Array  # f32[], d G of the last transition
    next_obs: Array  # f32[S], where it led
    moments: Normalizer  # of G

    @property
    def scale(self) -> Array:
        """The deviation of G, f32[]; 1 where there is none yet, or where rewards are constant."""
        return self.moments.std


def init(obs_size: int) -> ReturnScale:
    """Make the scale of no transitions, which is 1."""
    return ReturnScale(carried=jnp.zeros(()), next_obs=jnp.zeros(obs_size), moments=normalizer.init())


def update(returns: ReturnScale, batch: Transition, gamma: Array | float) -> ReturnScale:
    """Fold transitions `[B]` in, in the order in which they were collected.

    A row goes on with the return of the row before it where it begins where that one led; else its G begins anew, with
    its own reward. So nobody has to say where an episode was cut. Of rows in no order, which never go on, G is the
    reward alone, and the scale its deviation.
    """
    came_from = jnp.concatenate([returns.next_obs[None], batch.next_obs[:-1]])
    goes_on = (jnp.abs(batch.obs - came_from) <= CLOSE * (1.0 + jnp.abs(batch.obs))).all(-1)
    alive = jnp.concatenate([jnp.ones(1), batch.discount[:-1]])  # the first row's is in `carried`
    decay = gamma * alive * goes_on
    decays, sums = jax.lax.associative_scan(
        lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1]), (decay, batch.reward.astype(decay.dtype))
    )
    g = sums + decays * returns.carried[None]
    return replace(
        returns,
        carried=batch.discount[-1] * g[-1],
        next_obs=batch.next_obs[-1],
        moments=normalizer.update(returns.moments, g),
    )
