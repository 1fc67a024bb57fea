"""Indexes a folder of photos and asks it a phrase, from Python.

python examples/index_and_query.py FOLDER "a cat" [WEIGHTS]

The index goes to ./photos.db; a second run finds the photos unchanged and answers at once.
"""

import sys
from pathlib import Path

from dcsearch.describe import Describer
from dcsearch.model.checkpoint import load_checkpoint
from indexer.build import build_index
from indexer.database import open_database
from indexer.search import Searcher


def main() -> None:
    folder, phrase, *weights = sys.argv[1:]
    checkpoint = load_checkpoint(Path(weights[0]) if weights else None)
    database = open_database("photos.db", create=True)

    report = build_index([Path(folder)], database=database, describer=Describer(checkpoint))
    print(f"{report.indexed} photos indexed, {report.unchanged} unchanged")

    answer = Searcher(database, checkpoint).search([phrase], top=3)
    for result in answer.results:
        region = result.regions[0]
        corners = ", ".join(f"{edge:.0f}" for edge in region.box)
        print(f"{result.rank}. {result.path.name} at ({corners}): {region.caption}")
    database.close()


if __name__ == "__main__":
    main()
