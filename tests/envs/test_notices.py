"""HalfCheetah is made without MuJoCo's notice about its XML; other warnings stay."""

import mujoco
import numpy as np
import pytest

from pbrl.envs import notices
from pbrl.envs.gym import GymEnv

FALLING = "<mujoco><worldbody><body><freejoint/><geom size='1'/></body></worldbody></mujoco>"


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """In a folder of its own, where MuJoCo writes its log, and without the handler that the command line installs."""
    monkeypatch.chdir(tmp_path)
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(None)
    yield
    mujoco.set_mju_user_warning(before)


def warn():
    model = mujoco.MjModel.from_xml_string(FALLING)
    data = mujoco.MjData(model)
    data.qvel[:] = np.nan
    mujoco.mj_step(model, data)


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "pbrl/MageHalfCheetah-v0", "pbrl/PetsHalfCheetah-v0"])
def test_making_a_cheetah_prints_and_writes_nothing(env_id, capfd, tmp_path):
    GymEnv(env_id)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert mujoco.get_mju_user_warning() is None


def test_the_notice_is_still_mujocos(capfd):
    """Once this fails `notices.cheetah` can go."""
    import gymnasium

    gymnasium.make("HalfCheetah-v5")
    assert notices.NOTICE in capfd.readouterr().err


def test_other_warnings_come_through_as_without_it(capfd, tmp_path):
    warn()
    plain = capfd.readouterr()
    with notices.cheetah():
        warn()
    assert capfd.readouterr() == plain and plain.err.startswith("WARNING: ")
    message = plain.err.removeprefix("WARNING: ").strip()
    assert (tmp_path / "MUJOCO_LOG.TXT").read_text().count(message) == 2


def test_a_users_own_handler_gets_the_other_warnings_and_stays():
    seen = []
    mujoco.set_mju_user_warning(seen.append)
    try:
        handler = mujoco.get_mju_user_warning()
        with notices.cheetah():
            warn()
            GymEnv("HalfCheetah-v5")
        assert len(seen) == 1 and "QVEL" in seen[0].upper()
        assert mujoco.get_mju_user_warning() == handler
    finally:
        mujoco.set_mju_user_warning(None)
