#!/usr/bin/env bash
# mujoco 3.17.0: `data.warning.number` says 1, however often the simulation has gone bad and begun anew.
#
# Guess: the counter of a bad state rises by one each time that a step meets one, as its documentation says ("how many
# times was warning raised"), so that its rise over an episode counts the broken steps.
# Seen: 199 of 400 steps of a stiff one-joint model set the clock back. After each of them the counter is 1. MuJoCo resets its
# data in such a step, its counters included, and counts the one warning after that. A monitor that compares the counter
# before and after a step sees the first reset alone. `data.time`, which goes back, tells of each.
#
# Exit 0: as described. Exit 1: something has changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "mujoco==3.17.0"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import mujoco

MODEL = """
<mujoco>
  <option timestep="0.05"/>
  <worldbody><body><joint name="slide" type="slide" axis="1 0 0"/><geom size="0.1" mass="1"/></body></worldbody>
  <actuator><position joint="slide" kp="1e7" ctrlrange="-1 1"/></actuator>
</mujoco>
"""
mujoco.set_mju_user_warning(lambda text: None)
data = mujoco.MjData(model := mujoco.MjModel.from_xml_string(MODEL))
backwards, rises, counter = 0, 0, 0
for _ in range(400):
    before, data.ctrl[0] = data.time, 1.0
    mujoco.mj_step(model, data)
    backwards += data.time < before
    now = int(data.warning.number.sum())
    rises, counter = rises + (now > counter), now
print(f"mujoco {mujoco.__version__}: the clock went back {backwards} times; the counters rose {rises} time(s), to {counter}")
raise SystemExit(not (backwards > 100 and rises == 1 and counter == 1))
PYTHON
