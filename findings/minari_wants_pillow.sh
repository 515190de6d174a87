#!/usr/bin/env bash
# minari 0.5.4: `pip install "minari[hdf5]"` is not enough to use HDF5; the first use fails for want of Pillow.
#
# Guess: it installs cleanly, and then works: the extra `hdf5` brings what Minari's HDF5 storage imports.
# Seen: it installs cleanly, `import minari` and `import h5py` pass, and the first DataCollector, whose default format
# is HDF5, raises ModuleNotFoundError "No module named 'PIL'". The module of that storage imports Pillow at its top;
# neither Minari nor its extra requires it. It is used for images alone, and there are none here. After `pip install pillow`
# the same lines pass. Who has Matplotlib or another package that brings Pillow never sees it. (Python 3.11.7.)
#
# Exit 0: as described. Exit 1: something has changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 MINARI_DATASETS_PATH="$folder/datasets"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "minari[hdf5]==0.5.4" "gymnasium==1.2.2" "h5py==3.16.0" "numpy==2.4.6"
ask() {
  "$folder/venv/bin/python" - << 'PYTHON'
import gymnasium
import h5py
import minari

try:
    minari.DataCollector(gymnasium.make("Pendulum-v1"))
    print("accepted")
except ModuleNotFoundError as error:
    print(f"{type(error).__name__}: {error}")
PYTHON
}
bare="$(ask)"
"$folder/venv/bin/pip" install --quiet "pillow==12.0.0"
pillow="$(ask)"
echo "minari[hdf5] 0.5.4, $("$folder/venv/bin/python" --version): $bare; with Pillow: $pillow"
[ "$bare" = "ModuleNotFoundError: No module named 'PIL'" ] && [ "$pillow" = accepted ]
