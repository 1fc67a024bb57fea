"""Indexes a folder of photos and asks it a phrase, from Python.

python examples/index_and_query.py FOLDER "a cat" [WEIGHTS]

The index goes to ./photos.db; a second run finds the photos unchanged and answers at once.
"""

import sys
from pathlib import Path

from indexer import Index


def main() -> None:
    folder, phrase, *weights = sys.argv[1:]
    model = Path(weights[0]) if weights else None
    with Index.open("photos.db", create=True, model=model) as index:
        report = index.add([folder])
        print(f"{report.indexed} photos indexed, {report.unchanged} unchanged")

        for result in index.query(phrase, top=3).results:
            region = result.regions[0]
            corners = ", ".join(f"{edge:.0f}" for edge in region.box)
            print(f"{result.rank}. {result.path.name} at ({corners}): {region.caption}")


if __name__ == "__main__":
    main()
