"""One index in two stores gives the same answers."""

from pathlib import Path

import pytest

from indexer import Index
from tests.program import draw_photos

PHRASES = (
    ("a dog",),
    ("a red circle",),
    ("a man on the left", "a blue square"),
    ("the sky",),
    ("a white cat sitting on a table",),
)


@pytest.mark.parametrize("exact", [True, False])
def test_answers_from_a_copy_in_postgresql_are_those_of_the_file(
    exact: bool, tmp_path: Path, postgres_url: str, tiny_checkpoint_path: Path
) -> None:
    model = tiny_checkpoint_path
    with Index.open(tmp_path / "index.db", create=True, model=model, device="cpu") as index:
        index.add([draw_photos(tmp_path / "photos", 8)])
        index.copy_to(postgres_url)
        with Index.open(postgres_url, model=model, device="cpu") as copy:
            for phrases in PHRASES:
                one = index.query(*phrases, top=8, per_image=3, exact=exact, record=False)
                other = copy.query(*phrases, top=8, per_image=3, exact=exact, record=False)
                assert len(one.results) == len(other.results) > 0
                for mine, theirs in zip(one.results, other.results, strict=True):
                    assert (mine.path, mine.photo_id) == (theirs.path, theirs.photo_id)
                    assert mine.score == pytest.approx(theirs.score, abs=1e-4)
                    assert len(mine.regions) == len(theirs.regions)
                    for region, same in zip(mine.regions, theirs.regions, strict=True):
                        assert (region.phrase, region.box, region.caption) == (
                            same.phrase,
                            same.box,
                            same.caption,
                        )
                        assert region.score == pytest.approx(same.score, abs=1e-4)
