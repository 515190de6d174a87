"""Every `pbrl …` that a page shows is a command that there is, with options that it has; nothing of it is run."""

import functools
import importlib
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import tyro

from pbrl.cli import doctor, options, sweep, words

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/**/*.md")))]
DEFAULTS = {"train": options.Train(), "sweep": sweep.Sweep(), "doctor": doctor.Doctor()}


def commands():
    """Give each command line of the pages' blocks, as words after `pbrl`."""
    for page in PAGES:
        blocks = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
        shown = "\n".join(text for language, text in blocks if language in ("", "bash", "sh"))
        for line in re.findall(r"^(?:\$ )?(?:\w+=\S+ )*pbrl (.+)$", shown.replace("\\\n", " "), re.MULTILINE):
            yield pytest.param(line, id=f"{page}: {line}")


def only_parsed(function, argv, prog):
    """Stand in for `words.call`: read the words, and call nothing."""
    words.refuse_unknown(argv, [name.strip("_") for name in words.inspect.signature(function).parameters])
    tyro.cli(functools.wraps(function)(lambda *args, **options: None), args=argv, prog=prog)


@pytest.mark.parametrize("line", commands())
def test_every_command_parses(line, monkeypatch):
    name, *argv = shlex.split(line, comments=True)
    if name == "doctor":
        argv = ["--env", *argv]
    if name in DEFAULTS:
        assert options.read(argv, replace(DEFAULTS[name], preset="cpu"), f"pbrl {name}").env
    else:
        monkeypatch.setattr(words, "call", only_parsed)
        importlib.import_module(f"pbrl.cli.{name}").command(argv)


def test_a_word_that_is_no_option_is_noticed(monkeypatch):
    monkeypatch.setattr(words, "call", only_parsed)
    with pytest.raises(Exception, match="there is no option --epsodes"):
        importlib.import_module("pbrl.cli.eval").command(["RUN", "--epsodes", "3"])
    assert len(list(commands())) > 15
