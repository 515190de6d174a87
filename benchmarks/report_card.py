"""What of the three papers is reproduced, claim by claim, by committed results beside published numbers.

    python benchmarks/report_card.py

Writes docs/report_card.md and benchmarks/results/report-{mage,maac,svg}.png, in seconds. Trains nothing. The rows are
in `claims.py`, the rules in `card/rules.py`. Run it whenever a file in `results/` has changed: a test compares.
"""

from card import page, pictures
from claims import PAPERS


def main() -> None:
    """Write the page and its pictures."""
    page.write(PAPERS)
    for path in pictures.draw():
        print(path)
    print(page.PAGE)


if __name__ == "__main__":
    main()
