"""How much memory is left for arrays: of the machine, within the limits that the process is under, of devices."""

import contextlib
import resource
from pathlib import Path

import jax

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def available() -> int | None:
    """Return the bytes that this process' devices have left together; `None` where nobody says."""
    if jax.default_backend() == "cpu":
        return of_machine()
    left = 0
    for device in jax.local_devices():
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        left += stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return left


def of_machine() -> int | None:
    """Return the bytes of main memory that this process can still get: the least of what anything allows."""
    found = [value for value in (_free(), _group(), *_limits()) if value is not None]
    return max(min(found), 0) if found else None


def _free() -> int | None:
    """Return what Linux expects to be able to give without swapping, and the free swap."""
    with contextlib.suppress(OSError, KeyError, ValueError, IndexError):
        lines = (line.split(":") for line in (PROC / "meminfo").read_text().splitlines())
        sizes = {name: int(value.split()[0]) * 1024 for name, value in lines}
        return sizes["MemAvailable"] + sizes.get("SwapFree", 0) + _zfs_cache()
    return None


def _zfs_cache() -> int:
    """Return what ZFS would give back of its cache, which Linux does not count as available."""
    with contextlib.suppress(OSError, KeyError, ValueError):
        lines = (line.split() for line in (PROC / "spl/kstat/zfs/arcstats").read_text().splitlines())
        sizes = {line[0]: int(line[2]) for line in lines if len(line) == 3 and line[2].isdigit()}
        return max(sizes["size"] - sizes["c_min"], 0)
    return 0


def _group() -> int | None:
    """Return what the control group of the process, such as a container's or a job's, has left."""
    with contextlib.suppress(OSError, ValueError):
        for line in (PROC / "self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if not kinds:
                return _left(GROUPS, path, "memory.max", "memory.current", "inactive_file")
            if "memory" in kinds.split(","):
                names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
                return _left(GROUPS / "memory", path, *names)
    return None


def _left(root: Path, path: str, limit: str, usage: str, cache: str) -> int | None:
    """Return the least that a group and those around it have left; files in the cache make room where it is needed."""
    group, found = Path(path.lstrip("/")), []
    for place in (root / group, *(root / parent for parent in group.parents)):
        with contextlib.suppress(OSError, ValueError, KeyError):
            most, used = int((place / limit).read_text()), int((place / usage).read_text())
            counts = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
            if most < 2**60:  # the older kind's word for no limit
                found.append(most - used + int(counts.get(cache, 0)))
    return min(found, default=None)


def _limits() -> list[int]:
    """Return what `ulimit -v` and `ulimit -d` leave."""
    found = []
    for kind, place in ((resource.RLIMIT_AS, 0), (resource.RLIMIT_DATA, 5)):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            with contextlib.suppress(OSError, ValueError, IndexError):
                pages = int((PROC / "self/statm").read_text().split()[place])
                found.append(limit - pages * resource.getpagesize())
    return found
