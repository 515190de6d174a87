"""The problem that gives a model's acceleration, and its cost along a line; the last axis is the batch, if any."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pbrl.types import Array

EXACT = 1e-4
"""What is left of the derivative along a step, at most, where a line search ends."""


class Problem(NamedTuple):
    """What an acceleration of size n is found from, with m rows of constraints. A row not in force has a J of zeros."""

    inertia: Array  # [n, n]
    force: Array  # [n], without constraints
    jacobian: Array  # [m, n]
    stiffness: Array  # [m], MuJoCo's D
    reference: Array  # [m]
    low: Array  # [m], bounds of a row's force: 0 and ∞ for a contact, ±friction loss, ±∞ for an equality
    high: Array  # [m]

    def pushes(self, x: Array) -> Array:
        """Return the rows' forces at x = J a - aref."""
        return jnp.clip(-self.stiffness * x, self.low, self.high)

    def bends(self, x: Array) -> Array:
        """Return which rows are within their bounds, where the cost is quadratic."""
        push = -self.stiffness * x
        return (self.low < push) & (push < self.high)


class Line(NamedTuple):
    """The cost along a step, from x = J a - aref."""

    problem: Problem
    x: Array
    jstep: Array
    linear: Array  # [batch], derivative at 0 without constraints
    quadratic: Array

    def slope(self, at: Array | float) -> Array:
        """Return the derivative, which grows with `at`."""
        return self.linear + at * self.quadratic - total(self.jstep * self.problem.pushes(self.x + at * self.jstep))

    def minimum(self, most: int, done: Array) -> tuple[Array, Array]:
        """Return how far to go, 0 where `done`, and half the decrease that the step promises.

        Newton's method for the root of the derivative, in a bracket, from 1, which is the root if no row changes state.
        """
        steepness = -self.slope(0.0)

        def unfinished(carry: tuple) -> Array:
            return (carry[0] < most) & ~carry[-1].all()

        def body(carry: tuple) -> tuple:
            count, at, low, high, best, least, _ = carry
            slope, bends = self.slope(at), self.problem.bends(self.x + at * self.jstep)
            curve = self.quadratic + total(jnp.square(self.jstep) * self.problem.stiffness * bends)
            best, least = jnp.where(jnp.abs(slope) < least, at, best), jnp.minimum(jnp.abs(slope), least)
            low, high = jnp.where(slope < 0.0, at, low), jnp.where(slope < 0.0, high, at)
            ahead = at - slope / curve
            middle = jnp.where(jnp.isinf(high), 2.0 * at, 0.5 * (low + high))
            at = jnp.where((ahead > low) & (ahead < high), ahead, middle)
            return count + 1, at, low, high, best, least, done | (least < EXACT * steepness)

        one = jnp.ones_like(steepness)
        begin = 0, one, 0.0 * one, jnp.inf * one, 0.0 * one, steepness, done
        best = jax.lax.while_loop(unfinished, body, begin)[4]
        return jnp.where(done, 0.0, best), steepness


def total(x: Array) -> Array:
    """Return the sum over the first axis, written out, which XLA makes one run of vector instructions of."""
    return functools.reduce(jnp.add, list(x))
