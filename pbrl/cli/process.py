"""Set a process up for the command line: compilation cache, headless rendering, and no noise that nobody can act on."""

import os
import sys
import warnings
from pathlib import Path

FORMAT = warnings.formatwarning
"""How Python prints a warning."""


def start(float64: bool = False) -> None:
    """Prepare jax, MuJoCo and warnings; call it before the first program is compiled or environment is made."""
    import jax

    jax.config.update("jax_enable_x64", float64)
    _render_without_display()
    _quiet()
    _cache_compilations()


def refused_by_jax(error: BaseException) -> str:
    """Return a sentence where jax could not begin as its environment variables say; empty for any other error.

    Where jax has no plugin for a platform, it raises an assertion without a word.
    """
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    place = Path(frame.tb_frame.f_code.co_filename).as_posix() if frame else ""
    first = next(iter(str(error).splitlines()), "")
    if place.endswith("jax/_src/config.py"):
        return f"jax cannot begin: {first}; unset that variable, or give it a value that jax knows"
    if not place.endswith("jax/_src/xla_bridge.py"):
        return ""
    asked = os.environ.get("JAX_PLATFORMS", "")
    return (
        f"jax cannot begin on JAX_PLATFORMS={asked!r}: {first or 'this machine or this jax has no such device'}; unset "
        "it to take what there is, or install jax for that device, such as pip install 'jax[cuda12]'"
    )


def _render_without_display() -> None:
    """Let MuJoCo render where there is no screen; it reads the variable when it is imported."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ["MUJOCO_GL"] = os.environ.get("MUJOCO_GL") or "egl"
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame, for classic control


def _cache_compilations() -> None:
    """Keep compiled programs between processes, in $JAX_COMPILATION_CACHE_DIR or ~/.cache/pbrl/jax, if that can be."""
    import jax

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)  # a run's smaller programs add up as well
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return  # jax reads it by itself
    try:
        folder = Path.home() / ".cache" / "pbrl" / "jax"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return  # a home that is read-only or missing: compile every time
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _quiet() -> None:
    """Drop what other packages say about themselves; what MuJoCo says about the simulation becomes a warning."""
    import mujoco

    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message=".*JAXopt is no longer maintained.*")
    warnings.filterwarnings("ignore", message=".*os.fork.. was called.*")  # by imageio, only to start ffmpeg
    warnings.formatwarning = _format
    # Its own handler writes MUJOCO_LOG.TXT into the working directory, at every model that Gymnasium loads.
    mujoco.set_mju_user_warning(_warn)  # pyright: ignore[reportAttributeAccessIssue]


def _format(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Print pbrl's own warnings as sentences, without the line of its source; the default for all others.

    NumPy's and jax' warnings are of other kinds, also where they name a line of pbrl.
    """
    if category is UserWarning and Path(filename).is_relative_to(Path(__file__).parents[1]):
        return f"pbrl: warning: {message}\n"
    return FORMAT(message, category, filename, lineno, line)


def _warn(message: str) -> None:
    if "deprecated" not in message:
        warnings.warn(f"MuJoCo: {message}", stacklevel=2)
