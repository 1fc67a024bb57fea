"""The pace of a run: measured once where it pays, and never where the user has said it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dcsearch.pace import Pace
from indexer.indexing import pace
from indexer.indexing.local import LocalDescriber
from indexer.indexing.pace import chosen_pace
from indexer.models import pace_file
from indexer.models.loaded import LoadedModel
from indexer.models.pace_file import TRIED_FROM, kept_pace
from indexer.store.records import PhotoFile
from tests.indexer_fixtures import FAKE_MODEL, FakeDescriber, draw


class Timer:
    """Takes a second for a photo, half of that on one thread; counts how often it is
    asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, tried: Pace, photos: int) -> float:
        self.calls += 1
        return photos * (0.5 if tried.threads == 1 else 1.0)


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with an empty cache, who has said nothing, and torch on two threads."""
    monkeypatch.setattr(pace_file, "cache_folder", lambda: tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)


@pytest.fixture
def model(tiny_checkpoint_path: Path) -> LoadedModel:
    return LoadedModel(tiny_checkpoint_path, device="cpu")


def test_many_photos_have_it_measured_once_and_kept(
    model: LoadedModel, tiny_checkpoint_path: Path
) -> None:
    timer = Timer()
    chosen = chosen_pace(model, TRIED_FROM, batch_size=None, timed=timer)
    calls = timer.calls
    assert calls > 0
    assert chosen.pace == Pace(threads=1, bfloat16=model.describer().bfloat16, batch_size=16)
    again = LoadedModel(tiny_checkpoint_path, device="cpu")
    assert chosen_pace(again, 1, batch_size=None, timed=timer) == chosen
    assert timer.calls == calls


def test_few_photos_are_described_as_usual_and_nothing_is_timed(model: LoadedModel) -> None:
    timer = Timer()
    chosen = chosen_pace(model, TRIED_FROM - 1, batch_size=None, timed=timer)
    usual = Pace(threads=2, bfloat16=model.describer().bfloat16, batch_size=16)
    assert (chosen.pace, chosen.told, timer.calls) == (usual, str(usual), 0)


@pytest.mark.parametrize("given", ["threads", "batch size"])
def test_what_the_user_has_said_is_kept_to_and_nothing_is_timed(
    given: str, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given == "threads":
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    timer = Timer()
    size = 3 if given == "batch size" else None
    chosen = chosen_pace(model, 10_000, batch_size=size, timed=timer)
    assert (chosen.pace.threads, chosen.pace.batch_size) == (2, size or 16)
    assert timer.calls == 0
    assert kept_pace(model.header.sha256) is None


def test_the_precision_that_was_found_holds_for_all_that_the_model_describes(
    model: LoadedModel, tiny_checkpoint_path: Path
) -> None:
    found = chosen_pace(model, TRIED_FROM, batch_size=None, timed=Timer())
    other = replace(found.pace, bfloat16=not found.pace.bfloat16)
    measured = replace(kept_pace(model.header.sha256), pace=other)  # type: ignore[type-var]
    pace_file.keep_pace(model.header.sha256, measured)
    assert LoadedModel(tiny_checkpoint_path, device="cpu").describer().bfloat16 is other.bfloat16
    chosen = chosen_pace(model, 1, batch_size=None)
    assert model.describer().bfloat16 is chosen.pace.bfloat16 is other.bfloat16
    said = chosen_pace(model, 1, batch_size=5)
    assert said.pace == Pace(threads=2, bfloat16=other.bfloat16, batch_size=5)


def test_a_describer_computes_as_its_pace_says_while_it_describes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = [2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    wanted = Pace(threads=7, bfloat16=False, batch_size=3)
    seen: list[int] = []
    network = FakeDescriber()
    describe = network.describe

    def watched(photos):  # type: ignore[no-untyped-def]
        seen.append(threads[-1])
        return describe(photos)

    network.describe = watched  # type: ignore[method-assign]
    asked: list[int] = []

    def choose(photos: int) -> pace.ChosenPace:
        asked.append(photos)
        return pace.ChosenPace(pace=wanted, told="quickly")

    describer = LocalDescriber(FAKE_MODEL, lambda: network, pace=choose)
    assert describer.choose_pace(9) == "quickly"
    assert asked == [9]
    files = [draw(tmp_path / f"{number}.png", seed=number) for number in range(4)]
    list(describer.describe([PhotoFile(path=str(f), size=1, mtime_ns=1) for f in files]))
    assert (seen, threads) == ([7, 7], [2, 7, 2])  # batches of three and one


def test_without_a_choice_nothing_is_told() -> None:
    assert LocalDescriber(FAKE_MODEL, FakeDescriber).choose_pace(9) == ""


def test_where_measuring_is_cut_short_the_describer_is_as_before(model: LoadedModel) -> None:
    describer = model.describer()
    before = describer.bfloat16

    def interrupted(tried: Pace, photos: int) -> float:
        describer.bfloat16 = not before
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chosen_pace(model, TRIED_FROM, batch_size=None, timed=interrupted)
    assert describer.bfloat16 is before
    assert kept_pace(model.header.sha256) is None
