"""docs/benchmarks.md, its charts, and the README's table of results: all from the files in benchmarks/results.

    python benchmarks/table.py             print docs/benchmarks.md
    python benchmarks/table.py --write     write it and the README's table, and draw the charts whose numbers have changed
    python benchmarks/table.py --readme    print the README's table

A benchmark whose file is not there has no section.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from document.charts import draw
from document.headlines import headlines
from document.page import page

ROOT = Path(__file__).resolve().parents[1]
README, DOCUMENT = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- python benchmarks/table.py --readme: begin -->\n", "<!-- end -->\n"


def write() -> None:
    """Bring README, document and charts up to the results."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + headlines() + END + after, encoding="utf-8")
    DOCUMENT.write_text(page(), encoding="utf-8")
    for path in draw(ROOT / "docs" / "charts"):
        print(f"drawn: {path.relative_to(ROOT)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write README, document and charts")
    parser.add_argument("--readme", action="store_true", help="print the README's table")
    arguments = parser.parse_args()
    if arguments.write:
        write()
    else:
        print(headlines() if arguments.readme else page(), end="")


if __name__ == "__main__":
    main()
