"""Write the tables of every result: `docs/results/*.md`, from `benchmarks/results/*.json` and `*.csv`.

    python benchmarks/results_pages.py

It takes seconds and trains nothing. Run it whenever a file in `results/`, a suite or a preset has changed: a test
compares. Which table stands on which page is in `tables/pages.py`.
"""

from tables import pages


def main() -> None:
    """Write the pages."""
    pages.FOLDER.mkdir(exist_ok=True)
    for path, text in pages.texts():
        path.write_text(text)
        print(path)


if __name__ == "__main__":
    main()
