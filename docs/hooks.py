"""Hooks of mkdocs: the site has what pages link to outside `docs/`, and links lead there as they do in the repository.

A page of the site lies where it does in `docs/`. What lies elsewhere, such as `benchmarks/results/x.png`, keeps its
path in the repository. Formulas become MathML, which browsers typeset without a script from elsewhere.
"""

import html
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

DOCS = "docs/"
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
LINK = re.compile(r"(\]\()([^)#\s]+)([^)]*\))")
OUTSIDE = ("benchmarks/README.md", "benchmarks/published/README.md", "benchmarks/results/*.png")
"""Pages and pictures of the repository that the site takes in."""


def on_files(files: Any, config: Any) -> Any:
    """Take in what lies outside `docs/`."""
    from mkdocs.structure.files import File

    root = Path(config.config_file_path).parent
    for pattern in OUTSIDE:
        for path in sorted(root.glob(pattern)):
            files.append(File.generated(config, path.relative_to(root).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let relative links lead from where a page lies on the site to where their target does."""
    here = page.file.src_uri

    def moved(match: re.Match[str]) -> str:
        before, target, after = match.groups()
        return match[0] if ":" in target else f"{before}{seen_from(here, target)}{after}"

    return LINK.sub(moved, markdown)


def seen_from(here: str, target: str) -> str:
    """Return a link's target as seen from a page of the site, both named as the page has them in the repository."""
    inside = not here.startswith("benchmarks/")
    page = PurePosixPath(DOCS + here if inside else here)
    path = os.path.normpath(page.parent / target)
    return os.path.relpath(path.removeprefix(DOCS), os.path.dirname(here) or ".")


def on_page_content(content: str, **_: Any) -> str:
    """Typeset the formulas of a page."""
    from latex2mathml.converter import convert

    def typeset(match: re.Match[str]) -> str:
        return convert(html.unescape(match[2]).strip(), display="block" if match[1] == "div" else "inline")

    return FORMULA.sub(typeset, content)
