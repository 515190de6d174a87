"""Pictures of environments in JAX, for a film: MuJoCo's own of what has its bodies, simple drawings of the toys.

A picture is drawn on the host, from a state that has left the device.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

SIZE = 400
"""Pixels of a side."""
SLIDE, CART, ROD, SPEED, AIM = (205, 205, 205), (59, 111, 182), (209, 112, 60), (75, 154, 95), (184, 73, 79)


class Picture(NamedTuple):
    """How a state is drawn."""

    draw: Callable[[Any], np.ndarray]
    """`state -> u8[H, W, 3]`."""
    frames_per_second: float = 30.0
    """How many steps make a second."""


class Stroke(NamedTuple):
    """A line with round ends in the plane; a disc where both ends are one."""

    start: tuple[float, float]
    """Where it begins."""
    end: tuple[float, float]
    """Where it ends."""
    width: float
    """How thick it is, in the same unit."""
    colour: tuple[int, int, int]
    """Red, green and blue, to 255 each."""


def drawing(strokes: Sequence[Stroke], extent: float) -> np.ndarray:
    """Draw strokes one over the other, on white, within ±`extent` of the origin, as u8[SIZE, SIZE, 3]."""
    pixel, image = 2.0 * extent / SIZE, np.full((SIZE, SIZE, 3), 255.0, np.float32)
    across = ((np.arange(SIZE) + 0.5) * pixel - extent).astype(np.float32)
    for (ax, ay), (bx, by), width, colour in strokes:
        near = 0.5 * width + pixel
        columns = slice(*np.searchsorted(across, [min(ax, bx) - near, max(ax, bx) + near]))  # where there is any of it
        rows = slice(*np.searchsorted(across, [min(-ay, -by) - near, max(-ay, -by) + near]))
        x, y = across[None, columns] - ax, -across[rows, None] - ay
        dx, dy = bx - ax, by - ay
        along = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-12), 0.0, 1.0)
        distance = np.sqrt((x - along * dx) ** 2 + (y - along * dy) ** 2)
        cover = np.clip((0.5 * width - distance) / pixel + 0.5, 0.0, 1.0)[..., None]
        image[rows, columns] += cover * (np.array(colour) - image[rows, columns])
    return image.round().astype(np.uint8)


def pendulum(state: Any) -> np.ndarray:
    """Draw a rod from its hinge; the angle is 0 upright."""
    angle = float(state[0])
    tip = -np.sin(angle), np.cos(angle)
    return drawing([Stroke((0.0, 0.0), tip, 0.2, ROD), Stroke((0.0, 0.0), (0.0, 0.0), 0.1, (40, 40, 40))], 1.3)


def cartpole(state: Any) -> np.ndarray:
    """Draw a cart on its rail, and the pole on it; beyond ±2.4 the episode ends."""
    x, _, angle, _ = map(float, state)
    foot, low = (x, -0.5), -0.62
    rail, cart = Stroke((-2.4, low), (2.4, low), 0.04, SLIDE), Stroke((x - 0.2, -0.55), (x + 0.2, -0.55), 0.2, CART)
    pole = Stroke(foot, (x + np.sin(angle), foot[1] + np.cos(angle)), 0.1, ROD)
    return drawing([rail, cart, pole], 2.6)


def double_integrator(state: Any) -> np.ndarray:
    """Draw a point on its line, its speed, and the origin, where it should rest."""
    x, speed = map(float, state)
    line, aim = Stroke((-3.0, 0.0), (3.0, 0.0), 0.04, SLIDE), Stroke((0.0, -0.2), (0.0, 0.2), 0.05, AIM)
    return drawing([line, aim, *_moving((x, 0.0), (speed, 0.0), 0.25)], 3.0)


def point_mass(state: Any) -> np.ndarray:
    """Draw a point in the plane, its speed, and the origin, where it should rest."""
    x, y, dx, dy = map(float, state)
    cross = [Stroke((-0.1, 0.0), (0.1, 0.0), 0.03, AIM), Stroke((0.0, -0.1), (0.0, 0.1), 0.03, AIM)]
    return drawing([*cross, *_moving((x, y), (dx, dy), 0.12)], 1.5)


def _moving(at: tuple[float, float], speed: tuple[float, float], size: float) -> list[Stroke]:
    ahead = at[0] + 0.5 * speed[0], at[1] + 0.5 * speed[1]
    return [Stroke(at, ahead, 0.3 * size, SPEED), Stroke(at, at, size, CART)]


def of_mujoco(model: Any, qpos: Callable[[Any], Any], frames_per_second: float) -> Picture:
    """Return how MuJoCo renders a state with the positions `qpos(state)` in its model.

    The camera is the model's "track", or its first, or one that follows the first body. What the renderer needs is
    made at the first picture.
    """
    made: list[Any] = []

    def draw(state: Any) -> np.ndarray:
        mujoco: Any = importlib.import_module("mujoco")  # `Any`, as its stubs lack these functions
        if not made:
            made.extend((mujoco.MjData(model), mujoco.Renderer(model, SIZE, SIZE), _camera(model)))
        data, renderer, camera = made
        data.qpos[:] = np.asarray(qpos(state))
        mujoco.mj_forward(model, data)
        renderer.update_scene(data, camera)
        return renderer.render()

    return Picture(draw, frames_per_second)


def _camera(model: Any) -> Any:
    mujoco: Any = importlib.import_module("mujoco")
    names = [model.camera(i).name for i in range(model.ncam)]
    if names:
        return "track" if "track" in names else 0
    camera: Any = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, min(1, model.nbody - 1)
    return camera
