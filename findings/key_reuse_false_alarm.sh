#!/usr/bin/env bash
# jax 0.10.2 with `jax_debug_key_reuse`: a program that uses every key once is refused as soon as it is mapped.
#
# Guess: the checker accepts `vmap` of what it accepts for one key, since mapping uses no key twice.
# Seen: a scan over `jax.random.split(key, 3)` passes for one key. Under `vmap`, over keys that differ, it raises
# KeyReuseError "In scan, argument 1 is already consumed". So whoever looks for reused keys in a program over several
# seeds is sent after one that is not there. Handing the scan the keys' raw words, and making keys of them within,
# passes in both. (jax 0.12.0.1 does the same.)
#
# Exit 0: as described. Exit 1: something has changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 JAX_PLATFORMS=cpu
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "jax==0.10.2" "jaxlib==0.10.2"
"$folder/venv/bin/python" - <<'PYTHON'
import jax

jax.config.update("jax_debug_key_reuse", True)


def typed(key):
    def step(total, key):
        return total + jax.random.normal(key), None

    return jax.lax.scan(step, 0.0, jax.random.split(key, 3))[0]


def raw(key):
    def step(total, words):
        return total + jax.random.normal(jax.random.wrap_key_data(words)), None

    return jax.lax.scan(step, 0.0, jax.random.key_data(jax.random.split(key, 3)))[0]


def outcome(function, argument):
    try:
        jax.jit(function)(argument)
        return "accepted"
    except jax.errors.KeyReuseError as error:
        return "KeyReuseError: " + str(error).splitlines()[0]


one, several = jax.random.key(0), jax.random.split(jax.random.key(1), 2)
seen = {
    "typed keys, one seed": outcome(typed, one),
    "typed keys, two seeds": outcome(jax.vmap(typed), several),
    "raw words, two seeds": outcome(jax.vmap(raw), jax.random.split(jax.random.key(2), 2)),
}
print(f"jax {jax.__version__}")
for name, what in seen.items():
    print(f"{name}: {what}")
refused = [what.startswith("KeyReuseError") for what in seen.values()]
raise SystemExit(refused != [False, True, False])
PYTHON
