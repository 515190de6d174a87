"""Two hundred damaged `config.json`: each is refused with a sentence, or still says what the checkpoint says."""

import random
import shutil

import numpy as np
import pytest
from damage import damage
from small_agents import config

from pbrl.errors import RunError
from pbrl.runs import checkpoint
from pbrl.runs.folder import load, prepare
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    run = Run("mage", "Pendulum-v1", (0, 7), config("mage"), Schedule(), folder)
    prepare(run)
    info = {"run": run.identity(), "seconds": 1.0, "capacity": 10, "diverged_at": [-1, -1]}
    checkpoint.save(folder / "checkpoints", 5, {"w": np.zeros(2)}, info)
    return run


@pytest.mark.parametrize("part", range(10))
def test_it_is_refused_or_says_the_same(tmp_path, sound, part):
    folder = tmp_path / "run"
    shutil.copytree(sound.folder, folder)
    content, refused = (folder / "config.json").read_bytes(), 0
    for number in range(20 * part, 20 * part + 20):
        (folder / "config.json").write_bytes(damage(content, random.Random(number)))
        try:
            assert load(folder).identity() == sound.identity(), number
        except RunError as error:
            assert "\n" not in str(error) and len(str(error)) < 1500
            refused += 1
    assert refused > 5
