"""What is said of an index that another model made."""

from cli import cures
from indexer.models.mismatch import OtherModel

OTHERWISE = "index with --db, or describe the photos anew with: dcsearch index --force PHOTOS"


def test_the_models_name_is_in_the_cure_where_it_is_known() -> None:
    error = OtherModel("made by another", "ab" * 32)
    assert cures.sentence(error) == (
        f"made by another; name that model with --model or another {OTHERWISE}"
    )
    kept = error.kept_as("vgg")
    assert kept.sha256 == "ab" * 32
    assert cures.sentence(kept) == (
        "made by another; add --model vgg (or, for all commands: dcsearch model use vgg), "
        f"name another {OTHERWISE}"
    )
    assert cures.sentence(kept.kept_as(None)) == cures.sentence(error)
