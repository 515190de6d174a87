"""Pictures of environments in JAX: by hand where they are drawn, MuJoCo's own of what has a model of its."""

from types import SimpleNamespace

import mujoco
import numpy as np
import pytest

from pbrl.envs import pictures, toy
from pbrl.envs.gym import GymEnv
from pbrl.errors import EnvError

BODY = '<body pos="0 0 1"><joint type="slide"/><geom size="1"/></body>'


def pixel(picture, x, y, extent):
    """The colour at a place."""
    at = lambda z: int((z + extent) / (2 * extent) * pictures.SIZE)  # noqa: E731
    return tuple(picture[at(-y), at(x)])


def test_strokes_are_where_they_should_be():
    picture = pictures.drawing([pictures.Stroke((0.0, 0.0), (1.0, 1.0), 0.2, (10, 20, 30))], 2.0)
    assert picture.shape == (pictures.SIZE, pictures.SIZE, 3) and picture.dtype == np.uint8
    assert pixel(picture, 0.5, 0.5, 2.0) == (10, 20, 30) and pixel(picture, 0.5, -0.5, 2.0) == (255, 255, 255)
    covered = (picture < 250).any(-1).mean() * 16  # in the plane's units
    assert covered == pytest.approx(np.sqrt(2) * 0.2 + np.pi * 0.01, rel=0.1)


def test_what_is_beyond_the_picture_is_not_drawn():
    assert (pictures.point_mass([9.0, 0.0, 0.0, 0.0])[:, 300:] == 255).all()


def test_toys_are_drawn_as_gymnasium_counts_their_angles():
    assert pixel(pictures.pendulum([0.0, 0.0]), 0.0, 0.9, 1.3) == pictures.ROD  # upright
    assert pixel(pictures.pendulum([np.pi / 2, 0.0]), -0.9, 0.0, 1.3) == pictures.ROD  # anticlockwise
    assert pixel(pictures.cartpole([1.0, 0.0, np.pi / 2, 0.0]), 1.9, -0.5, 2.6) == pictures.ROD  # to the right
    assert pixel(pictures.double_integrator([-1.0, 0.0]), -1.0, 0.0, 3.0) == pictures.CART
    assert pixel(pictures.point_mass([0.5, -0.5, 0.0, 1.0]), 0.5, -0.2, 1.5) == pictures.SPEED


def test_gymnasium_renders_toys_but_probes():
    assert [name for name, env in toy.TOYS.items() if env.picture is None] == list(toy.PROBES)
    env = GymEnv("pbrl/ToyPointMass-v0", render=True)
    env.reset(0)
    before = env.render()
    env.step(np.ones(2))
    assert env.frames_per_second == 10 and (env.render() != before).any()
    with pytest.raises(EnvError, match="pbrl/ToyProbeBoth-v0 cannot be filmed: it has no picture of its state"):
        GymEnv("pbrl/ToyProbeBoth-v0", render=True)


@pytest.mark.parametrize(
    ("cameras", "chosen"),
    [('<camera/><camera name="track"/>', "track"), ("<camera/>", 0), ("", mujoco.mjtCamera.mjCAMERA_TRACKING)],
)
def test_mujoco_renders_the_positions_of_a_state(cameras, chosen, monkeypatch):
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{cameras}{BODY}</worldbody></mujoco>")
    seen, made = [], []
    renderer = SimpleNamespace(
        update_scene=lambda data, camera: seen.append((data.xpos[1, 2], camera)), render=lambda: "picture"
    )
    monkeypatch.setattr(mujoco, "Renderer", lambda *size: made.append(size) or renderer)  # needs no graphics
    picture = pictures.of_mujoco(model, lambda state: state["q"], 25.0)
    assert [picture.draw({"q": [0.5]}), picture.draw({"q": [2.0]})] == ["picture"] * 2 and len(made) == 1
    assert [height for height, _ in seen] == [1.5, 3.0] and picture.frames_per_second == 25.0
    camera = seen[0][1]
    assert camera == chosen if cameras else (camera.type, camera.trackbodyid) == (chosen, 1)
