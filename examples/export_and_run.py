"""Export a policy, and run it where there is neither pbrl nor JAX.

    pip install -e '.[export]'
    python examples/export_and_run.py RUN [FOLDER]     # seconds; RUN is the folder that `pbrl train` made

FOLDER then holds all that a robot needs. The two small programs below import nothing else.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import pbrl
from pbrl.trained import export

BY_NUMPY = """
import json, sys
from policy import Policy                                    # policy.py lies in the folder
print(json.dumps(Policy()(json.loads(sys.argv[1])).tolist()))
assert not {"jax", "pbrl"} & sys.modules.keys()
"""
BY_ONNX = """
import json, sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession("policy.onnx", providers=["CPUExecutionProvider"])
obs = numpy.array(json.loads(sys.argv[1]), numpy.float32)    # [batch, S]
print(json.dumps(session.run(["action"], {"obs": obs})[0].tolist()))
assert not {"jax", "pbrl"} & sys.modules.keys()
"""


def elsewhere(program, obs, folder):
    """Run a program in a Python process of its own, within the folder; return the actions that it prints."""
    words = [sys.executable, "-c", program, json.dumps(obs.tolist())]
    return np.array(json.loads(subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout))


def main(run, folder):
    """Export the policy of a run's first seed; return its actions, NumPy's and ONNX' for the same observations."""
    every = pbrl.load(run)
    policy = pbrl.load(run, seed=every.seeds[0])
    for one in export.write(policy, folder, ["numpy", "onnx"]):
        print(f"{one.format}: off by {one.difference:.1e}, {1e6 * one.median:.0f} µs for one observation")
    obs = np.random.default_rng(0).normal(size=(4, policy.spec.obs_size)).astype(np.float32)
    actions = policy(obs), elsewhere(BY_NUMPY, obs, folder), elsewhere(BY_ONNX, obs, folder)
    print("actions of four observations by pbrl, NumPy and ONNX:", *(np.round(x[:, 0], 4) for x in actions), sep="\n")
    return actions


if __name__ == "__main__":
    main(sys.argv[1], Path(*sys.argv[2:] or ["policy"]))
