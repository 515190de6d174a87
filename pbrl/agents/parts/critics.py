"""What counts of several critics, and how large a value may be: options that soft and deterministic agents share.

The contract: an agent's config has the fields of `Options`, and its `init` refuses those that it cannot carry. Nothing
here holds a network: critics come as values `[C, *]` or as parameters stacked along axis 0.
"""

from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp

from pbrl import config as configs
from pbrl.nn.networks import NORMS
from pbrl.types import Array, Key, Metrics, Params

LOWEST, HIGHEST = 0.01, 0.99
"""Quantiles of a batch's rewards that bound values (DHMBPO code, `sac.py`, `reward_q_th_lb`)."""
RATE = 3e-4
"""Step of the bounds at every update (the same code, `update_critic_bound`)."""


class Options(Protocol):
    """The fields of an agent's config that this file reads."""

    critics: int
    critic_norm: str
    target_subset: int
    actor_critics: str
    bound_values: bool


@flax.struct.dataclass
class ValueBounds:
    """What the return of an episode can be, by the rewards that were seen: moving quantiles of `r / (1 - γ)`.

    0, the value behind a termination, is always within. Before the first rewards there is no bound.
    """

    low: Array  # f32[]
    high: Array  # f32[]
    seen: Array  # bool[]

    @classmethod
    def init(cls) -> "ValueBounds":
        """Return bounds that nothing has been seen of."""
        return cls(jnp.zeros(()), jnp.zeros(()), jnp.zeros((), bool))

    def follow(self, rewards: Array, gamma: Array | float) -> "ValueBounds":
        """Move towards the quantiles of rewards `[*]`, a soft agent's with their entropy; the first ones are taken."""
        low, high = jnp.quantile(jax.lax.stop_gradient(rewards), jnp.array([LOWEST, HIGHEST])) / (1.0 - gamma)
        rate = jnp.where(self.seen, RATE, 1.0)
        low, high = (old + rate * (new - old) for old, new in ((self.low, low), (self.high, high)))
        return ValueBounds(low, high, jnp.ones((), bool))

    def ends(self) -> tuple[Array, Array]:
        """Return the least and the largest value, f32[] each."""
        return jnp.minimum(self.low, 0.0), jnp.maximum(self.high, 0.0)

    def clip(self, value: Array) -> Array:
        """Return values `[*]` within the bounds; their gradient is 0 where the clip acts."""
        low, high = self.ends()
        return jnp.where(self.seen, jnp.clip(value, low, high), value)

    def scale(self, raw: Array) -> Array:
        """Return values `[*]` of which -1 and 1 are the bounds: what a network says that knows nothing of rewards."""
        low, high = self.ends()
        return 0.5 * (high - low) * raw + 0.5 * (high + low)

    def metrics(self) -> Metrics:
        """Return both bounds."""
        low, high = self.ends()
        return {"critic/low": low, "critic/high": high}


def bounds(config: Options) -> ValueBounds | None:
    """Return the bounds of a fresh state, where there are any."""
    return ValueBounds.init() if config.bound_values else None


def drawn(config: Options, params: Params, key: Key) -> Params:
    """Return the `target_subset` critics whose minimum is the target, drawn at random for the whole batch.

    (Chen et al. 2021, arXiv 2101.05982, Algorithm 1.) They are all of them for 0, which needs no draw.
    """
    chosen = jax.random.permutation(key, config.critics)[: config.target_subset]
    return jax.tree.map(lambda x: x[chosen], params)


def keep_neighbours(config: Any, agent: str) -> None:
    """Raise `ValueError` for options that an agent with STEVE's mixture cannot carry."""
    for name, usual in {"target_subset": 0, "actor_critics": "min"}.items():
        if getattr(config, name) != usual:
            raise ValueError(
                f"config.{name}: {agent} cannot carry it, STEVE's weights want an estimate of every pair of "
                "neighbours; leave it out"
            )


def validate(config: Any) -> None:
    """Raise `ValueError` for an option that cannot work, naming field, range and value."""
    configs.check(config, critics=(1, 64), target_subset=(0, config.critics))
    configs.check_choice(config, critic_norm=NORMS, actor_critics=("min", "mean"))
