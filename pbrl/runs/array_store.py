"""The arrays of a checkpoint: what each is, and how Orbax writes and reads them."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.parallel import devices, hosts
from pbrl.runs.manifest import Leaf


def describe(leaf: Any) -> Leaf:
    """Say what an array, a `ShapeDtypeStruct` or a Python number is, once stored."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        leaf = np.asarray(leaf)
    elif jnp.issubdtype(dtype, jax.dtypes.prng_key):
        impl = []  # known while tracing, so of a ShapeDtypeStruct as well

        def words(key: jax.Array) -> jax.Array:
            impl.append(str(jax.random.key_impl(key)))
            return jax.random.key_data(key)

        data = jax.eval_shape(words, leaf)
        return Leaf(list(data.shape), data.dtype.name, impl[0])
    return Leaf(list(leaf.shape), np.dtype(leaf.dtype).name, None)


def flatten(tree: Any) -> tuple[dict[str, Any], dict[str, Leaf]]:
    """Return `({path: array}, {path: what it is})`; of a typed key the array has its raw words."""
    arrays, leaves = {}, {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path)
        leaves[name] = describe(leaf)
        words = jax.random.key_data(leaf) if leaves[name].key else leaf
        spread = isinstance(words, jax.Array) and not words.is_fully_addressable  # over hosts: Orbax takes it as it is
        arrays[name] = words if spread else np.asarray(words)
        if arrays[name].dtype.kind in "OSUMm":
            raise ValueError(f"leaf {name} is {leaves[name]}, expected numbers")
    return arrays, leaves


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays, each as the leaf of its name, into a new folder. Raises whatever Orbax and its storage do."""
    import orbax.checkpoint as ocp  # imported here: it takes seconds

    with _quiet(), ocp.PyTreeCheckpointer() as writer:
        writer.save(path.absolute(), arrays)


def read(path: Path, leaves: dict[str, Leaf], *, part: bool = False) -> dict[str, np.ndarray]:
    """Read exactly `leaves`, of which there may be more with `part`.

    Raises `ValueError` where the store states other leaves, shapes or types, before reading.
    """
    import orbax.checkpoint as ocp

    how: dict[str, Any] = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in leaves}
    for name, leaf in leaves.items():
        if not hosts.alone() and np.dtype(leaf.dtype).itemsize <= 4:  # jax would narrow what is wider
            how[name] = ocp.ArrayRestoreArgs(sharding=devices.layout(leaf.shape[0]))
    with _quiet(), ocp.PyTreeCheckpointer() as reader:
        stored = reader.metadata(path.absolute()).item_metadata.tree
        if stored.keys() != leaves.keys() and not (part and leaves.keys() <= stored.keys()):
            raise ValueError("it stores other leaves than its manifest states")
        for name, leaf in leaves.items():
            if (list(stored[name].shape), np.dtype(stored[name].dtype).name) != (leaf.shape, leaf.dtype):
                raise ValueError(f"leaf {name} does not have the shape or type that its manifest states")
        asked = ocp.args.PyTreeRestore(dict.fromkeys(leaves, 0), restore_args=how, partial_restore=True)
        return reader.restore(path.absolute(), asked) if part else reader.restore(path.absolute(), restore_args=how)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Orbax' informational log lines off the terminal."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
