"""MuJoCo's constraint solver for many small problems at once, differentiated implicitly.

The acceleration a minimises ½ (a - a₀)ᵀ M (a - a₀) + Σᵢ sᵢ(Jᵢ a - arefᵢ), strictly convex and quadratic by pieces. MJX
solves each problem of a batch by loops of its own. Here the batch is the last axis of every array, so that the small
systems of all problems are solved in step, and a problem that has converged is left alone.

At the minimum the gradient F(a, θ) vanishes, so that da/dθ = -H⁻¹ ∂F/∂θ by the implicit function theorem (H: Hessian).
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from pbrl.envs.mujoco.batch_last import native
from pbrl.envs.mujoco.problem import Line, Problem, total
from pbrl.types import Array

FEW, MANY = 24, 48
"""Problems of at least `MANY` rows are solved on their `FEW` that are in force, where no problem has more of those."""

FOUND = "acceleration"
"""What a checkpointed step keeps, so that nothing is searched for twice."""


class Limits(NamedTuple):
    """When to stop: the most of iterations and of their line searches, and MuJoCo's tolerance."""

    iterations: int
    line_search: int
    tolerance: float


def solve(m: Any, d: Any) -> Any:
    """Return MJX's data with the acceleration and the forces of its constraints.

    Differentiable, twice as well: where no row's state changes, derivatives are those of the minimum itself. The forces
    of elliptic friction cones are not quadratic by pieces: those models go through MJX' solver, and once.
    """
    from mujoco.mjx._src import support
    from mujoco.mjx._src.types import ConeType

    if m.opt.cone == ConeType.ELLIPTIC:
        return _elliptic(m, d)
    problem = _problem(d, support.full_m(m, d))
    limits = Limits(m.opt.iterations, m.opt.ls_iterations, float(m.opt.tolerance))
    qacc = _minimum(limits, *problem, *jax.lax.stop_gradient((d.qacc_warmstart, d.qacc_smooth)))
    push = problem.pushes(problem.jacobian @ qacc - problem.reference)
    return d.tree_replace({
        "qacc": qacc, "qfrc_constraint": problem.jacobian.T @ push, "_impl.efc_force": push,
    })  # fmt: skip


def _elliptic(m: Any, d: Any) -> Any:
    """Solve by MJX; the derivative is that of one Newton step from where it ended, whose value is dropped."""
    from mujoco.mjx._src import solver

    found = solver.solve(m, jax.lax.stop_gradient(d)).qacc
    there = d.replace(qacc=jax.lax.stop_gradient(found))
    newton = -solver.Context.create(m, there).Mgrad
    qacc = there.qacc + newton - jax.lax.stop_gradient(newton)
    context = solver.Context.create(m, d.replace(qacc=qacc), grad=False)
    return d.tree_replace({
        "qacc": qacc, "qfrc_constraint": context.qfrc_constraint, "_impl.efc_force": context.efc_force,
    })  # fmt: skip


def _problem(d: Any, inertia: Array) -> Problem:
    impl = d._impl
    equal, slides, rest = impl.ne, impl.nf, impl.nefc - impl.ne - impl.nf
    loss, free = impl.efc_frictionloss[equal : equal + slides], jnp.full(equal, jnp.inf)
    low = jnp.concatenate([-free, -loss, jnp.zeros(rest)])
    high = jnp.concatenate([free, loss, jnp.full(rest, jnp.inf)])
    return Problem(inertia, d.qfrc_smooth, impl.efc_J, impl.efc_D, impl.efc_aref, low, high)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _minimum(limits: Limits, *args: Array) -> Array:
    """Return the minimum of a problem, from the better of two starts. [n]"""
    return native(_found_by(limits), *args)


@_minimum.defjvp
def _(limits: Limits, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    problem, a = Problem(*primals[:-2]), checkpoint_name(_minimum(limits, *primals), FOUND)

    def slope(*parts: Array) -> Array:
        at = Problem(*parts)
        return at.inertia @ a - at.force - at.jacobian.T @ at.pushes(at.jacobian @ a - at.reference)

    bends = problem.bends(problem.jacobian @ a - problem.reference)
    weighed = problem.jacobian * (problem.stiffness * bends)[:, None]
    hessian = problem.inertia + problem.jacobian.T @ weighed
    return a, divided(hessian, -jax.jvp(slope, tuple(problem), tangents[:-2])[1])


def divided(matrix: Array, vector: Array) -> Array:
    """Return A⁻¹ v for positive definite A. [n, n], [n] -> [n]"""

    def solve(_: Any, vector: Array) -> Array:
        return native(_eliminated, jnp.concatenate([matrix, vector[:, None]], 1))

    return jax.lax.custom_linear_solve(lambda x: matrix @ x, vector, solve, symmetric=True)


# Below, the last axis of every array is the batch.


@functools.cache
def _found_by(limits: Limits) -> Any:
    """Return the search as an operation that puts all axes that `vmap` adds into the batch."""

    @jax.custom_batching.custom_vmap
    def found(*args: Array) -> Array:
        return _search(limits, *args)

    @found.def_vmap
    def _(size: int, batched: Any, *args: Array) -> tuple[Array, bool]:
        full = [x if b else jnp.broadcast_to(x, (size, *x.shape)) for x, b in zip(args, batched, strict=True)]
        flat = [jnp.moveaxis(x, 0, -2) for x in full]
        out = found(*(x.reshape(*x.shape[:-2], -1) for x in flat))
        return jnp.moveaxis(out.reshape(*out.shape[:-1], size, -1), -2, 0), True

    return found


def _search(limits: Limits, *args: Array) -> Array:
    """Return the minima of a batch: of the rows in force where they are few in every problem, else of all rows."""
    problem, starts = Problem(*args[:-2]), args[-2:]
    if len(problem.jacobian) < MANY:
        return _newton(limits, problem, *starts)
    in_force = (problem.jacobian != 0.0).any(1)
    below = jnp.tril(jnp.ones((len(in_force), len(in_force)), jnp.float32))
    counts = (below @ in_force.astype(jnp.float32)).astype(jnp.int32)  # a cumulative sum, but XLA's is slow

    def few() -> Array:
        wanted = jnp.arange(1, FEW + 1, dtype=jnp.int32)
        find = functools.partial(jnp.searchsorted, v=wanted, method="scan_unrolled")
        at = jax.vmap(find, -1, -1)(counts)
        take = functools.partial(jnp.take_along_axis, axis=0, mode="fill", fill_value=0.0)
        parts = [take(x, at) for x in problem[3:]]
        jacobian = take(problem.jacobian, at[:, None])
        return _newton(limits, Problem(problem.inertia, problem.force, jacobian, *parts), *starts)

    return jax.lax.cond((counts[-1] <= FEW).all(), few, lambda: _newton(limits, problem, *starts))


def _newton(limits: Limits, problem: Problem, *starts: Array) -> Array:
    """Take Newton steps with a line search. A problem whose step changed no row's state has its minimum."""
    scale = limits.tolerance * jnp.trace(problem.inertia)

    def tried(_: None, a: Array) -> tuple[None, tuple]:
        ma, x = _times(problem.inertia, a), _times(problem.jacobian, a) - problem.reference
        push, soft = problem.pushes(x), problem.stiffness + (problem.stiffness == 0.0)
        cost = total(a * (0.5 * ma - problem.force)) - total(push * (x + 0.5 * push / soft))
        return None, (cost, a, ma, x)

    def unfinished(carry: tuple) -> Array:
        return (carry[0] < limits.iterations) & ~carry[-1].all()

    def body(carry: tuple) -> tuple:
        count, a, ma, x, done = carry
        bends, slope = problem.bends(x), ma - problem.force
        step = -_divided_by_sum(problem, bends, slope, -problem.pushes(x))
        mstep, jstep = _times(problem.inertia, step), _times(problem.jacobian, step)
        line = Line(problem, x, jstep, total(step * slope), total(step * mstep))
        along, gained = line.minimum(limits.line_search, done)
        after = x + along * jstep
        changed = total((problem.bends(after) != bends).astype(x.dtype))
        same = (changed == 0.0) & (jnp.abs(along - 1.0) < 1e-3)
        done |= same | (gained < scale)
        return count + 1, a + along * step, ma + along * mstep, after, done

    _, (cost, *both) = jax.lax.scan(tried, None, jnp.stack(starts))
    begin = [jnp.where(cost[0] < cost[1], *x) for x in both]
    last: tuple = jax.lax.while_loop(unfinished, body, (0, *begin, jnp.zeros(cost.shape[-1], bool)))
    return last[1]


# Products of small matrices, in forms that XLA makes vector instructions of on a CPU.


def _times(matrix: Array, vector: Array) -> Array:
    return functools.reduce(jnp.add, (matrix[:, j] * vector[j] for j in range(matrix.shape[1])))


def _divided_by_sum(problem: Problem, weights: Array, slope: Array, push: Array) -> Array:
    """Return (M + Jᵀ diag(D w) J)⁻¹ (slope + Jᵀ push); both sums are one loop over the rows."""
    jacobian = problem.jacobian
    rows = jnp.concatenate([jacobian * (problem.stiffness * weights)[:, None], push[:, None]], 1)
    table = jnp.concatenate([problem.inertia, slope[:, None]], 1)
    return _eliminated(
        jax.lax.fori_loop(0, len(rows), lambda i, sum_: sum_ + jacobian[i][:, None] * rows[i][None], table)
    )


def _eliminated(table: Array) -> Array:
    """Return A⁻¹ v by elimination, of A and v side by side: [n, n + 1, batch] -> [n, batch].

    Each pass uses up the first row and column and moves the others up, so that all passes are one body of a loop.
    """

    def body(_: int, table: Array) -> Array:
        pivot = table[0] / table[0, 0]
        rest = table[1:] - table[1:, :1] * pivot
        table = jnp.concatenate([rest, pivot[None]])
        return jnp.concatenate([table[:, 1:], table[:, :1]], 1)

    return jax.lax.fori_loop(0, len(table), body, table)[:, 0]
