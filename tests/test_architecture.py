"""The layers: which room may know which, and that no import leads in a circle, even within a function."""

import ast
import importlib.util
from pathlib import Path

import pytest

import pbrl

PACKAGE, ROOT = Path(pbrl.__file__).parent, Path(__file__).parents[1]
LAYERS = (  # low to high; a room knows itself and what stands before its line
    ("types", "config", "errors"),
    ("equations", "nn", "data"),
    ("models",),
    ("agents",),
    ("envs",),
    ("planning",),
    ("parallel",),
    ("runs",),
    ("report",),
    ("diagnose",),
    ("train",),
    ("trained",),
    ("sweep", "presets"),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def modules():
    """Map every module's name to its file."""
    named = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def imported(path, names):
    """Return the modules of pbrl that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & names or {node.module}
            if not inner <= names:
                found.add(node.module)
    return found & names


NAMES = modules()
GRAPH = {name: imported(path, NAMES.keys()) - {name, "pbrl"} for name, path in NAMES.items()}


def room(name):
    """Return the room of a module: the first word behind the package's."""
    return name.split(".")[1]


def circle_through(graph, start):
    """Return a path of imports that leads from a module back to itself, or nothing."""
    pending, seen = [[start]], set()
    while pending:
        path = pending.pop()
        for after in graph[path[-1]]:
            if after == start:
                return [*path, start]
            if after not in seen:
                seen.add(after)
                pending.append([*path, after])
    return []


def test_a_circle_is_seen():
    assert circle_through({"a": {"b"}, "b": {"c"}, "c": {"a"}}, "a") == ["a", "b", "c", "a"]
    assert circle_through({"a": {"b"}, "b": set()}, "a") == []


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_no_import_leads_back(name):
    assert circle_through(GRAPH, name) == []


def test_imports_point_downwards():
    """So that nothing but the command line knows the command line, and agents know nothing of loops."""
    upwards = {
        f"{name} -> {other}"
        for name, others in GRAPH.items()
        if name != "pbrl"
        for other in others
        if LEVEL[room(other)] > LEVEL[room(name)]
        or (LEVEL[room(other)] == LEVEL[room(name)] and room(other) != room(name))
    }
    assert upwards == set()


def test_every_room_says_what_lives_there():
    for folder in {path.parent for path in NAMES.values()}:
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert text and len(text.splitlines()) >= 2, folder


def test_the_picture_of_the_layers_has_every_room():
    picture = (ROOT / "docs" / "architecture.svg").read_text()
    assert all(f">{room}<" in picture for room in LEVEL)


@pytest.mark.parametrize(("name", "most", "share"), [("mage", 7, 1 / 3), ("svg", 7, 0.0), ("maac", 8, 1 / 3)])
def test_an_update_is_read_in_few_files(name, most, share):
    """As `benchmarks/update_files.py` counts: files run through, and the share of lines in the agent and its parts."""
    spec = importlib.util.spec_from_file_location("update_files", ROOT / "benchmarks" / "update_files.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    lines = program.lines_run(name)
    own = sum(count for path, count in lines.items() if path == f"agents/{name}.py" or path.startswith("agents/parts/"))
    assert len(lines) <= most and own >= share * sum(lines.values()), lines
