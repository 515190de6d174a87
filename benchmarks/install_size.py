"""What an installation of pbrl weighs: `python benchmarks/install_size.py [EXTRA ...]`, such as `brax data`.

Prints a table of pbrl's requirements, and of theirs, as they are installed here: the bytes of their files by pip's own
record, bytecode apart, which pip compiles as it installs. Anything else in the environment is left out.
"""

import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

SHOWN = 12
MB = 2**20


def needed(name: str, extras: tuple[str, ...], found: dict[str, Distribution | None], asked: set[tuple]) -> None:
    """Add a package and all that it requires here, with some of its extras, to `found` by name."""
    key = name.lower().replace("_", "-").replace(".", "-")
    if (key, extras) in asked:
        return
    asked.add((key, extras))
    try:
        found[key] = there = distribution(name)
    except PackageNotFoundError:
        found[key] = None
        return
    for text in there.requires or ():
        one = Requirement(text)
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            needed(one.name, tuple(sorted(one.extras)), found, asked)


def weight(there: Distribution) -> tuple[int, int]:
    """Return the bytes of a package's files: all but bytecode, and bytecode."""
    sizes = [0, 0]
    for file in there.files or ():
        path = file.locate()
        if path.is_file():  # pyright: ignore[reportAttributeAccessIssue]
            sizes[file.suffix == ".pyc"] += path.stat().st_size  # pyright: ignore[reportAttributeAccessIssue]
    return sizes[0], sizes[1]


def main(extras: tuple[str, ...]) -> None:
    """Print the heaviest packages and the sum of all."""
    found: dict[str, Distribution | None] = {}
    needed("pbrl", extras, found, set())
    rows = {name: weight(there) for name, there in found.items() if there is not None and name != "pbrl"}
    ranked = sorted(rows, key=lambda name: -sum(rows[name]))
    print("| package | MB | of it bytecode |\n|---|---|---|")
    for name in ranked[:SHOWN]:
        print(f"| {name} | {sum(rows[name]) / MB:.0f} | {rows[name][1] / MB:.0f} |")
    rest = ranked[SHOWN:]
    for title, names in ((f"{len(rest)} others", rest), (f"**all {len(ranked)}**", ranked)):
        code, bytecode = (sum(rows[name][i] for name in names) / MB for i in (0, 1))
        print(f"| {title} | {code + bytecode:.0f} | {bytecode:.0f} |")
    if missing := sorted(name for name, there in found.items() if there is None):
        print(f"\nnot installed: {', '.join(missing)}")


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
