"""What stands in the reference is documented, and what the documentation's programs import stands in the reference."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from glossary import explained

import pbrl

ROOT = Path(__file__).parents[1]
ENTRY = re.compile(r"^::: (pbrl[\w.]*)\n((?: {4}.*\n)*)", re.MULTILINE)
PLAIN = {"exit_code"}
"""Members that need no words of their own: `pbrl.errors` begins with what each code means."""
INTERNAL = {"pbrl.cli"}
"""Rooms that examples show at work, and that are no part of the reference."""


@cache
def body_of(module):
    """Return the statements of a module, or `None` for what is no module."""
    path = ROOT.joinpath(*module.split("."))
    file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    return ast.parse(file.read_text()).body if file.exists() else None


def named(statement):
    """Return the public names that a statement defines."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        names = [statement.name]
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
    else:
        names = []
    return [name for name in names if not name.startswith("_")]


def is_text(statement):
    return isinstance(statement, ast.Expr) and isinstance(getattr(statement.value, "value", None), str)


def said(body, name):
    """Return the docstring of a name in the statements of a module or class, "" without one; `None` for no name."""
    for statement, after in zip(body, [*body[1:], None], strict=True):
        if name in named(statement):
            if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                return ast.get_docstring(statement) or ""
            return after.value.value if is_text(after) else ""
    return None


def undocumented(body, name, place):
    """Return what has no docstring: a module's name, and a class' members, unless the class' own docstring has them."""
    text = said(body, name)
    assert text is not None, f"{place} has no {name}; docs/reference names it"
    bare = [] if text else [f"{place}.{name}"]
    for one in body:
        if isinstance(one, ast.ClassDef) and one.name == name:
            members = [member for statement in one.body for member in named(statement)]
            silent = [x for x in members if not said(one.body, x) and not re.search(rf"\b{x}\b", text)]
            bare += [f"{place}.{name}.{x}" for x in silent if x not in PLAIN]
    return bare


def entries():
    """Return each entry of the reference: a module, and its names there."""
    found = []
    for page in sorted(ROOT.glob("docs/reference/*.md")):
        for target, options in ENTRY.findall(page.read_text()):
            members = (yaml.safe_load(options) or {}).get("options", {}).get("members") if options else None
            if body_of(target) is not None:
                assert members, f"{page.name}: name the members of {target}"
                found.append((target, tuple(members)))
            else:
                module, _, name = target.rpartition(".")
                found.append((module, (name,)))
    return found


@pytest.mark.parametrize(("module", "names"), entries(), ids=lambda x: x if isinstance(x, str) else "")
def test_every_public_name_has_a_docstring(module, names):
    body = body_of(module)
    assert body is not None, f"docs/reference names {module}, which is no module"
    bare = [one for name in names for one in undocumented(body, name, module)]
    assert not bare, f"no docstring: {', '.join(bare)}"


def test_every_agent_is_in_the_reference():
    assert {f"pbrl.agents.{name}" for name in pbrl.AGENTS} <= {module for module, _ in entries()}


def test_every_error_is_in_the_reference():
    errors = {one.name for one in body_of("pbrl.errors") if isinstance(one, ast.ClassDef)}
    assert errors <= {name for module, names in entries() if module == "pbrl.errors" for name in names}


def programs():
    """Return the Python programs of README, docs and examples, each with where it stands."""
    for page in (ROOT / "README.md", *ROOT.glob("docs/**/*.md")):
        yield from ((page.name, code) for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    yield from ((path.name, path.read_text()) for path in ROOT.glob("examples/*.py"))


def test_what_programs_import_is_in_the_reference():
    there = {(module, name) for module, names in entries() for name in names}
    modules = {module for module, _ in there}
    for place, code in programs():
        for one in ast.walk(ast.parse(code)):
            if not isinstance(one, ast.ImportFrom) or not (one.module or "").startswith("pbrl."):
                continue
            if any(one.module == room or one.module.startswith(f"{room}.") for room in INTERNAL):
                continue
            for alias in one.names:
                known = (one.module, alias.name) in there or f"{one.module}.{alias.name}" in modules
                assert known, f"{place} imports {alias.name} from {one.module}; docs/reference lacks it"


METRIC = re.compile(r"\"((?:critic|actor|temperature|model|train|eval)/[a-z_]+(?:\{k\})?)\"")


def test_every_metric_is_explained_and_every_explained_one_is_logged():
    """By the keys that stand in the source; `tests/conformance` holds what agents return against the same page."""
    written = {key for file in ROOT.glob("pbrl/**/*.py") for key in METRIC.findall(file.read_text())}
    assert {key.replace("{k}", "k") for key in written} == explained()
