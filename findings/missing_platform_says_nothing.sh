#!/usr/bin/env bash
# jax 0.10.2: JAX_PLATFORMS=cuda without the CUDA plugin ends in an AssertionError without a word.
#
# Guess: jax names the platform that it does not find, and those that it has, as it does for JAX_PLATFORMS=rocm or a
# mistyped name (RuntimeError "Unable to initialize backend ...").
# Seen: a bare `AssertionError`, its message empty, from jax' own code. A job script that names its platform, on a
# machine where `pip install jax` brought the CPU alone, says nothing of what to install. (jax 0.12.0.1 does the same.)
#
# Exit 0: as described. Exit 1: something has changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "jax==0.10.2" "jaxlib==0.10.2"
ask() {
  JAX_PLATFORMS="$1" "$folder/venv/bin/python" -c '
import jax
try:
    print([device.platform for device in jax.devices()])
except BaseException as error:
    print(f"{type(error).__name__}: {str(error)[:90]!r}")' 2> /dev/null
}
cuda="$(ask cuda)" mistyped="$(ask cudda)"
echo "jax 0.10.2, JAX_PLATFORMS=cuda: $cuda"
echo "jax 0.10.2, JAX_PLATFORMS=cudda: $mistyped"
[ "$cuda" = "AssertionError: ''" ] && [[ "$mistyped" == *cudda* ]]
