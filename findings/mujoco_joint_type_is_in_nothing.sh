#!/usr/bin/env bash
# mujoco 3.17.0: a joint's type from the model is equal to its enum on the left of `==`, unequal on the right, and in no tuple.
#
# Guess: `model.jnt_type[0]` is a NumPy integer, and the enum `mjtJoint.mjJNT_HINGE` compares with it as with any other
# integer, so that the usual `model.jnt_type[j] in (mjJNT_HINGE, mjJNT_SLIDE)` finds the hinges and slides.
# Seen: with 3.8.0 it does. With 3.17.0 `jnt_type[0] == HINGE` is True and `HINGE == jnt_type[0]` False. Python asks a tuple's
# own element first, and so `in` says False without an error: code that counts or checks joints so finds none. `int()`
# around the type, or `numpy.isin`, is right with both.
#
# Exit 0: as described. Exit 1: something has changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1
cat >"$folder/joints.py" <<'PYTHON'
import sys

import mujoco
import numpy as np

MODEL = '<mujoco><worldbody><body><joint type="hinge"/><geom size="0.1"/></body></worldbody></mujoco>'
kind, hinge = mujoco.MjModel.from_xml_string(MODEL).jnt_type[0], mujoco.mjtJoint.mjJNT_HINGE
found = kind == hinge, hinge == kind, kind in (hinge,), int(kind) in (hinge,), bool(np.isin(kind, [hinge]))
print(f"mujoco {mujoco.__version__}: type == hinge, hinge == type, type in (hinge,), by int, by isin: {found}")
raise SystemExit(found != (True, *[sys.argv[1] == "alike"] * 2, True, True))
PYTHON
for pair in 3.8.0:alike 3.17.0:apart; do
  python3 -m venv "$folder/${pair%:*}"
  "$folder/${pair%:*}/bin/pip" install --quiet "mujoco==${pair%:*}"
  "$folder/${pair%:*}/bin/python" "$folder/joints.py" "${pair#*:}"
done
