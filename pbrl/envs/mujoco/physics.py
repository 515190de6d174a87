"""MuJoCo's step in JAX with a derivative: MJX's own stages, and a constraint solver of pbrl's in the place of MJX's.

MJX solves for the acceleration by a `while` loop, which JAX does not differentiate backwards; a loop of one iteration,
the usual way out, is wrong wherever there are contacts. `solver` goes to the end and is differentiated implicitly.

Written here is the step of one state; `batch_last` makes one of many states of it. It relies on MJX's internals, so it
refuses versions that it has not been tested with.
"""

import functools
import importlib.metadata
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.envs import notices
from pbrl.envs.jax_env import precise, within_bounds
from pbrl.envs.mujoco.kinematics import kinematics
from pbrl.envs.mujoco.solver import FOUND, solve
from pbrl.errors import EnvError
from pbrl.types import Array

TESTED = ("3.17.0",)
"""Versions of mujoco and mujoco-mjx, which must be the same for both engines to integrate alike."""


class Physics(NamedTuple):
    """A simulator's state between steps."""

    qpos: Array  # [nq]
    qvel: Array  # [nv]
    warmstart: Array  # [nv], acceleration of the last evaluation, where the solver begins


F = TypeVar("F", bound=Callable)
Seen = Callable[[Any, Any], Any]


def require_tested() -> None:
    """Raise `EnvError` where MuJoCo and MJX are not a pair that the derivative was tested with."""
    found = [importlib.metadata.version(name) for name in ("mujoco", "mujoco-mjx")]
    if found[0] != found[1] or found[0] not in TESTED:
        raise EnvError(
            f"MuJoCo twins were tested with mujoco and mujoco-mjx {' or '.join(TESTED)}, both the same; "
            f"found {found[0]} and {found[1]}: pip install mujoco=={TESTED[-1]} mujoco-mjx=={TESTED[-1]}"
        )


@functools.cache
def _mjx() -> Any:
    require_tested()
    with notices.mjx():
        from mujoco import mjx
    return mjx


class Simulator(NamedTuple):
    """A model's physics. `seen(mjx model, mjx data)` picks what is read off the data of the last evaluation.

    That is as C MuJoCo leaves it behind: positions of bodies are those from before the last integration.
    """

    step: Callable[[Physics, Array, Seen], tuple[Physics, Any, Array]]
    """`(state, control [nu], seen) -> (state, what was seen, sound)`, some frames later. Where `sound`, bool[], is
    False, a state on the way was one of which C MuJoCo would have reset itself."""
    look: Callable[[Physics, Array, Seen], Any]
    """`(state, control, seen) -> what is seen` at a state, without a step: what `mj_forward` computes."""


def simulator(model: Any, frames: int, iterations: tuple[int, int]) -> Simulator:
    """Return the physics of a `mujoco.MjModel` whose environment takes `frames` steps of it at a time.

    `iterations` are the most of solver and line search. Differentiable in state and control, save where contacts begin
    or end; nothing is differentiated in the warm start. Raises `EnvError` for a model that MJX cannot step.
    """
    mjx = _mjx()
    from mujoco.mjx._src import forward

    try:
        m = mjx.put_model(model)
    except NotImplementedError as error:
        raise EnvError(f"MJX cannot step this model: {error}") from None
    m = m.tree_replace({"opt.iterations": iterations[0], "opt.ls_iterations": iterations[1]})
    evaluate = _evaluation(m, mjx.make_data(model))
    integrate = _runge_kutta if m.opt.integrator == forward.IntegratorType.RK4 else _euler

    def step(state: Physics, control: Array, seen: Seen) -> tuple[Physics, Any, Array]:
        def frame(state: Physics, _: None) -> tuple[Physics, Any]:
            after, what = integrate(m, evaluate, state, control, functools.partial(seen, m))
            return after, (what, within_bounds(*after))

        state, (all_seen, sound) = jax.lax.scan(frame, state, None, length=frames)
        return state, jax.tree.map(lambda x: x[-1], all_seen), sound.all()

    def look(state: Physics, control: Array, seen: Seen) -> Any:
        return seen(m, evaluate(state, control))

    return Simulator(precise(step), precise(look))


def _kept_small(function: F) -> F:
    """Let the derivative compute a step anew instead of keeping some hundred small arrays of it, save its solution."""
    policy = jax.checkpoint_policies.save_only_these_names(FOUND)
    return cast(F, jax.checkpoint(function, policy=policy, prevent_cse=False))


def _evaluation(m: Any, blank: Any) -> Callable[[Physics, Array], Any]:
    """Return `(state, control) -> data`: forces and acceleration, MJX's `forward` with another solver."""
    from mujoco.mjx._src import constraint, forward, smooth

    collide, capsules = _collision(m, blank)

    def evaluate(state: Physics, control: Array) -> Any:
        d = blank.replace(qpos=state.qpos, qvel=state.qvel, qacc_warmstart=state.warmstart, ctrl=control)
        for stage in (
            kinematics, smooth.com_pos, smooth.tendon, smooth.crb, smooth.tendon_armature, smooth.factor_m,
        ):  # fmt: skip
            d = stage(m, d)
        d = d.tree_replace({"_impl.contact": collide(d)})
        d = constraint.make_constraint(m, _with_frames_of_c(d, *capsules))
        d = smooth.transmission(m, d)
        for stage in (forward.fwd_velocity, forward.fwd_actuation, forward.fwd_acceleration):
            d = stage(m, d)
        return solve(m, d) if d._impl.efc_J.size else d.replace(qacc=d.qacc_smooth)

    return evaluate


def _collision(m: Any, blank: Any) -> tuple[Callable[[Any], Any], tuple[np.ndarray, np.ndarray]]:
    """Return `data -> contacts`, and which contacts are a plane's with a capsule, with those capsules' geoms.

    The pairs are the same at every step. MJX searches the contacts of cylinders and ellipsoids with other curved shapes
    by descent on a distance, whose reverse-mode derivative is NaN in some states, near or far. There the derivative is
    multiplied out from the forward-mode Jacobian in qpos, which is finite.
    """
    from mujoco.mjx._src import collision_driver
    from mujoco.mjx._src.types import GeomType

    if not blank._impl.ncon:
        return lambda d: d._impl.contact, (np.zeros(0, int), np.zeros(0, int))

    def collide(d: Any) -> Any:
        return collision_driver.collision(m, d)._impl.contact  # pyright: ignore[reportAttributeAccessIssue]

    geoms = np.asarray(jax.jit(lambda: collide(kinematics(m, blank)).geom)())
    kinds = np.asarray(m.geom_type)[geoms]
    rows = np.flatnonzero((kinds[:, 0] == GeomType.PLANE) & (kinds[:, 1] == GeomType.CAPSULE))
    curved = np.isin(kinds[:, 1], (GeomType.CYLINDER, GeomType.ELLIPSOID)) & (kinds[:, 0] != GeomType.PLANE)
    if not curved.any():
        return collide, (rows, geoms[rows, 1])

    def places(qpos: Array) -> tuple[Array, Array, Array]:
        contact = collide(kinematics(m, blank.replace(qpos=qpos)))
        return contact.dist, contact.pos, contact.frame

    @jax.custom_jvp
    def of_qpos(qpos: Array) -> tuple[Array, Array, Array]:
        return places(qpos)

    @of_qpos.defjvp
    def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple:
        jacobian = jax.jacfwd(places)(jax.lax.stop_gradient(primals[0]))
        return of_qpos(primals[0]), jax.tree.map(lambda j: j @ tangents[0], jacobian)

    def collide_curved(d: Any) -> Any:
        dist, pos, frame = of_qpos(d.qpos)
        return collide(jax.lax.stop_gradient(d)).replace(dist=dist, pos=pos, frame=frame)

    return collide_curved, (rows, geoms[rows, 1])


def _with_frames_of_c(d: Any, rows: np.ndarray, capsules: np.ndarray) -> Any:
    """Turn the tangents of plane-capsule contacts as C MuJoCo does: along the capsule's axis, however steep.

    MJX takes other tangents for a steep capsule (google-deepmind/mujoco#2774), and the forces of a pyramidal friction
    cone depend on them.
    """
    if not rows.size:
        return d
    contact = d._impl.contact
    normal, axis = contact.frame[rows, 0], d.geom_xmat[capsules][..., 2]
    tangent = axis - normal * (normal * axis).sum(-1, keepdims=True)
    tangent /= jnp.sqrt(jnp.square(tangent).sum(-1, keepdims=True) + jnp.finfo(tangent.dtype).tiny)
    frame = jnp.stack([normal, tangent, jnp.cross(normal, tangent)], 1)
    return d.tree_replace({"_impl.contact.frame": contact.frame.at[rows].set(frame)})


def _euler(m: Any, evaluate: Callable, state: Physics, control: Array, seen: Callable) -> tuple[Physics, Any]:
    """Take MuJoCo's semi-implicit Euler step, damping implicit."""
    from mujoco.mjx._src import forward

    @_kept_small
    def moved(state: Physics, control: Array) -> tuple[Physics, Any]:
        d = evaluate(state, control)
        after = forward.euler(m, d)
        return Physics(after.qpos, after.qvel, jax.lax.stop_gradient(d.qacc)), seen(d)

    return moved(state, control)


def _runge_kutta(m: Any, evaluate: Callable, state: Physics, control: Array, seen: Callable) -> tuple[Physics, Any]:
    """Take a step of the classical fourth order; its four evaluations are one body of a scan, compiled once."""
    from mujoco.mjx._src import forward, scan

    dt = m.opt.timestep

    def moved(velocity: Array) -> Array:
        return scan.flat(
            m, lambda *args: forward._integrate_pos(*args, dt=dt), "jqv", "q", m.jnt_type, state.qpos, velocity
        )

    @_kept_small
    def stage(carry: tuple, weights: tuple[Array, Array]) -> tuple[tuple, Any]:
        velocity, acceleration, mean_velocity, mean_acceleration = carry
        ahead, share = weights
        velocity, qpos = state.qvel + dt * ahead * acceleration, moved(ahead * velocity)
        d = evaluate(Physics(qpos, velocity, state.warmstart), control)
        carry = velocity, d.qacc, mean_velocity + share * velocity, mean_acceleration + share * d.qacc
        return carry, seen(d)

    still = jnp.zeros_like(state.qvel)
    weights = jnp.array([0.0, 0.5, 0.5, 1.0], still.dtype), jnp.array([1.0, 2.0, 2.0, 1.0], still.dtype) / 6.0
    (_, last, velocity, acceleration), all_seen = jax.lax.scan(stage, (still, still, still, still), weights)
    after = Physics(moved(velocity), state.qvel + dt * acceleration, jax.lax.stop_gradient(last))
    return after, jax.tree.map(lambda x: x[-1], all_seen)
