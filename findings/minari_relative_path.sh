#!/usr/bin/env bash
# minari 0.5.4: with a relative MINARI_DATASETS_PATH no dataset can be written.
#
# Guess: a relative MINARI_DATASETS_PATH is taken from the working directory, for reading and for writing.
# Seen: writing a dataset raises FileNotFoundError, for a path that has the dataset's folder twice. `get_size` globs the
# data folder, whose paths hold the folder already, and joins each with the folder again. An absolute folder hides
# it, since joining an absolute path drops what is before it. The data are left in the folder, without their size.
#
# Exit 0: as described. Exit 1: something has changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "minari[hdf5]==0.5.4" "gymnasium==1.2.2" "h5py==3.16.0" "numpy==2.4.6" "pillow==12.0.0"
cd "$folder"
cat > write.py << 'PYTHON'
import minari
import numpy as np
from gymnasium.spaces import Box
from minari.data_collector import EpisodeBuffer

box = Box(-1, 1, (1,), np.float64)
episode = EpisodeBuffer(
    observations=np.zeros((3, 1)), actions=np.zeros((2, 1)), rewards=[0.0, 0.0], terminations=[False, False],
    truncations=[False, True],
)
try:
    dataset = minari.create_dataset_from_buffers("toy-v0", [episode], observation_space=box, action_space=box)
    print(f"written, {dataset.total_steps} steps")
except FileNotFoundError as error:
    print(f"FileNotFoundError: {error.filename}")
PYTHON
absolute="$(MINARI_DATASETS_PATH="$folder/absolute" "$folder/venv/bin/python" -W ignore write.py)"
relative="$(MINARI_DATASETS_PATH=relative "$folder/venv/bin/python" -W ignore write.py)"
echo "minari 0.5.4, an absolute path: $absolute; a relative one: $relative"
[ "$absolute" = "written, 2 steps" ] && [[ "$relative" == "FileNotFoundError: relative/toy-v0/data/relative/toy-v0/data/"* ]]
