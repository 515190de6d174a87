"""MuJoCo's forward kinematics in JAX, with a barrier after each body.

MJX's own is equal to rounding, but XLA's fusion on a CPU computes the orientation of a body anew in everything that
reads it, its children's included: the work doubles with each body of a chain, which makes Pusher's arm useless.
"""

from typing import Any

import jax
import jax.numpy as jnp

from pbrl.types import Array


def kinematics(m: Any, d: Any) -> Any:
    """Place bodies, joints, geoms and sites for `d.qpos`, from the root outwards. No mocap bodies."""
    from mujoco.mjx._src import math, scan, support
    from mujoco.mjx._src.types import JointType

    def place(parent: Any, kinds: Any, anchors: Array, axes: Array, qpos: Array, qpos0: Array, pos: Array, quat: Array):
        """Return a body's normalised coordinates, its joints' anchors and axes, its position and orientation."""
        if parent is not None:
            above, turned = parent[3:5]
            pos, quat = above + math.rotate(pos, turned), math.quat_mul(turned, quat)
        places, directions, at = [jnp.zeros((0, 3))], [jnp.zeros((0, 3))], 0
        for i, kind in enumerate(kinds):
            if kind == JointType.FREE:
                quat = math.normalize(qpos[at + 3 : at + 7])
                pos, qpos = qpos[at : at + 3], qpos.at[at + 3 : at + 7].set(quat)
                place, direction, at = pos, jnp.array([0.0, 0.0, 1.0]), at + 7
            else:
                place, direction = pos + math.rotate(anchors[i], quat), math.rotate(axes[i], quat)
                if kind == JointType.SLIDE:
                    pos, at = pos + direction * (qpos[at] - qpos0[at]), at + 1
                elif kind == JointType.HINGE:
                    quat = math.quat_mul(quat, math.axis_angle_to_quat(axes[i], qpos[at] - qpos0[at]))
                    pos, at = place - math.rotate(anchors[i], quat), at + 1
                else:
                    turn = math.normalize(qpos[at : at + 4])
                    quat, qpos = math.quat_mul(quat, turn), qpos.at[at : at + 4].set(turn)
                    pos, at = place - math.rotate(anchors[i], quat), at + 4
            places.append(place[None])
            directions.append(direction[None])
        placed = qpos, jnp.concatenate(places), jnp.concatenate(directions), pos, quat
        return jax.lax.optimization_barrier(placed)

    qpos, anchors, axes, pos, quat = scan.body_tree(
        m, place, "jjjqqbb", "qjjbb",
        m.jnt_type, m.jnt_pos, m.jnt_axis, d.qpos, m.qpos0, m.body_pos, m.body_quat,
    )  # fmt: skip
    at_body = jax.vmap(support.local_to_global)
    xipos, ximat = at_body(pos, quat, m.body_ipos, m.body_iquat)
    geoms = at_body(pos[m.geom_bodyid], quat[m.geom_bodyid], m.geom_pos, m.geom_quat)
    d = d.replace(qpos=qpos, xanchor=anchors, xaxis=axes, xpos=pos, xquat=quat, xmat=jax.vmap(math.quat_to_mat)(quat))
    d = d.replace(xipos=xipos, ximat=ximat, geom_xpos=geoms[0], geom_xmat=geoms[1])
    if m.nsite:
        sites = at_body(pos[m.site_bodyid], quat[m.site_bodyid], m.site_pos, m.site_quat)
        d = d.replace(site_xpos=sites[0], site_xmat=sites[1])
    return d
