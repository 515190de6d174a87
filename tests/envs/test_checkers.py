"""Gymnasium's own checker, and that of Stable-Baselines3 where it is installed, on every id of pbrl's."""

import warnings

import pytest
from gymnasium.utils.env_checker import check_env

from pbrl.envs.ids import TASKS, TOY_IDS
from pbrl.envs.make_gym import make

IDS = [*TASKS, *TOY_IDS]
WISHES = ("is different from the unwrapped", "infinity", "symmetric and normalized")
"""What Gymnasium's checker would like: no wrappers, bounded observations, actions within ±1. Agents here need none."""


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasiums_checker_finds_nothing(env_id):
    env = make(env_id)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True, skip_close_check=True)
    env.close()
    told = [str(warning.message) for warning in said if not issubclass(warning.category, DeprecationWarning)]
    assert [text for text in told if not any(wish in text for wish in WISHES)] == []


@pytest.mark.parametrize("env_id", IDS)
def test_stable_baselines_checker_raises_nothing(env_id):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    env = make(env_id)
    checker.check_env(env, warn=False, skip_render_check=True)
    env.close()
