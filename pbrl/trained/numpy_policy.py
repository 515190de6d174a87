"""A trained policy in NumPy alone, from policy.npz and policy.json beside this file.

    python policy.py 0.1 0.2 0.3        # an observation; prints the action
    from policy import Policy           # or: action = Policy()(obs), with any leading axes

Actions are in the environment's own units. `pbrl export` wrote this file; it needs no pbrl and no JAX.
"""

import json
import sys
from pathlib import Path

import numpy as np

ACTIVATIONS = {
    "swish": lambda x: x * (0.5 + 0.5 * np.tanh(0.5 * x)),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
}


class Policy:
    """Observations `[..., S]` to actions `[..., A]`."""

    def __init__(self, folder=Path(__file__).parent):
        """Read the policy of a folder."""
        self.about = json.loads((Path(folder) / "policy.json").read_text())
        with np.load(Path(folder) / "policy.npz", allow_pickle=False) as arrays:
            self.arrays = dict(arrays)

    def __call__(self, obs):
        """Return the mode of the policy."""
        a, last = self.arrays, self.about["layers"] - 1
        x = np.asarray(obs, a["mean"].dtype)
        if x.ndim == 0 or x.shape[-1] != len(a["mean"]):
            raise ValueError(f"expected observations [..., {len(a['mean'])}], got {list(x.shape)}")
        x = (x - a["mean"]) / a["std"]
        for i in range(last + 1):
            x = x @ a[f"kernel{i}"] + a[f"bias{i}"]
            x = ACTIVATIONS[self.about["activation"]](x) if i < last else np.tanh(x)
        return np.clip(a["low"] + 0.5 * (x + 1) * (a["high"] - a["low"]), a["low"], a["high"])


if __name__ == "__main__":
    print(*Policy()([float(word) for word in sys.argv[1:]]))
