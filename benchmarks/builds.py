"""Two builds of pbrl in processes of their own, to be timed in turn: this tree's, and that of a commit."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Build:
    """A process with the `pbrl` of a tree. It says a line when it is ready, and one for each that it is told."""

    def __init__(self, tree: Path, work: Path, command: list[str], threads: int | None = None):
        """Start it, and wait until it is ready."""
        env = {**os.environ, "PYTHONPATH": str(tree), "JAX_PLATFORMS": "cpu", "MUJOCO_GL": "egl"}
        env |= {} if threads is None else {"JAX_NUM_CPU_DEVICES": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, *command], cwd=work, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ready = self.answer()

    def answer(self) -> str:
        """Return its next line. Raises `SystemExit` where it has ended."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a build ended before it was measured; its error stands above")
        return line

    def ask(self, line: str) -> str:
        """Tell it a line, and return its answer."""
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def commit(revision: str) -> str:
    """Return the whole name of a commit."""
    said = subprocess.run(["git", "-C", str(ROOT), "rev-parse", revision], check=True, capture_output=True, text=True)
    return said.stdout.strip()


@contextmanager
def builds(
    revision: str, command: list[str], names: tuple[str, ...], threads: int | None = None
) -> Iterator[dict[str, Build]]:
    """Yield builds by name: "new" is this tree's, others are the commit's, whose tree lies in a temporary folder."""
    git = ["git", "-C", str(ROOT), "worktree"]
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        subprocess.run([*git, "add", "--detach", "-q", str(work / "old"), commit(revision)], check=True)
        stack.callback(subprocess.run, [*git, "remove", "--force", str(work / "old")], check=True)
        made = {}
        for name in names:
            made[name] = Build(ROOT if name == "new" else work / "old", work, command, threads)
            stack.callback(made[name].close)
        yield made
