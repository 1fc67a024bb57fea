"""Feature cache: a frozen backbone's maps are computed once, and make no difference."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from cli import cures
from dcsearch.errors import UsageError
from dcsearch.model.fcln import FCLN
from dcsearch.training import photos as training_photos
from dcsearch.training.feature_cache import BodyMaps, FeatureCache, View
from dcsearch.training.loop import train
from dcsearch.training.options import TrainingOptions
from tests.conftest import objective
from tests.dcsearch.model.test_timm_pyramid import backbone_of, tiny_timm_config
from tests.network_fixtures import NOTHING
from tests.training_fixtures import (
    Stop,
    assert_same_run,
    metrics,
    state_of,
    stop_at,
    write_photos,
)

NAME = "mobilenetv3_small_050"
BLOCKS = 9


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn photos to learn from."""
    folder = tmp_path_factory.mktemp("data")
    write_photos(folder, "train.jsonl", 4)
    return folder


@pytest.fixture(scope="module")
def options() -> TrainingOptions:
    """Six steps on four photos, which are seen in one view each."""
    return TrainingOptions(
        config=tiny_timm_config(NAME), pretrained=False, backbone_blocks_frozen=BLOCKS, views=1,
        steps=6, batch_size=2, warm_up=1, bfloat16=False, word_count=1, workers=0, device="cpu",
    )  # fmt: skip


def cached(options: TrainingOptions, folder: Path, **changes: Any) -> TrainingOptions:
    return dataclasses.replace(options, feature_cache=folder, **changes)


@pytest.fixture(scope="module")
def straight(
    data: Path, options: TrainingOptions, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run without interruption; its maps lie in "maps" beside it."""
    folder = tmp_path_factory.mktemp("straight")
    train(data, folder / "run", cached(options, folder / "maps"))
    return folder / "run"


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


# the folder


def cache_in(folder: Path, *, made_for: object = 1, seed: int = 0) -> FeatureCache:
    return FeatureCache(folder, backbone_of(NAME, seed=seed), made_for=made_for)


def view(key: tuple[int, int], seed: int) -> View:
    """A photo of noise, 64 x 96 pixels."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8, generator=generator)
    return View(key, 96, 64, pixels, None, NOTHING)


def test_what_is_kept_is_what_the_backbone_makes_rounded_to_halves(tmp_path: Path) -> None:
    cache = cache_in(tmp_path / "new" / "maps")
    views = [view((0, 5), 1), view((3, 0), 2)]
    found = cache.complete(views, torch.device("cpu"))
    pixels = torch.stack([each.pixels for each in views if each.pixels is not None])
    pixels = pixels.to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = cache.backbone.body(cache.backbone.normalise(pixels))
    assert (found.width, found.height) == (96, 64)
    assert [one.dtype for one in found.maps] == [torch.float32] * 3
    for one, other in zip(found.maps, expected, strict=True):
        assert_close(one, other.half().float(), rtol=0, atol=0)
    assert files(cache.folder) == ["0/5.maps", "3/0.maps", "made_for"]
    for number, each in enumerate(views):
        kept = cache.read(each.key, 96, 64)
        assert kept is not None
        for one, of in zip(kept, found.maps, strict=True):
            assert_close(one.float(), of[number], rtol=0, atol=0)
    assert cache.read((1, 5), 96, 64) is None


def test_only_what_is_missing_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cache_in(tmp_path)
    first, second = view((0, 0), 1), view((0, 1), 2)
    alone = cache.complete([first], torch.device("cpu"))
    sizes: list[int] = []
    body = cache.backbone.body
    monkeypatch.setattr(
        cache.backbone, "body", lambda photos: sizes.append(len(photos)) or body(photos)
    )
    # The first was made before its maps were there, and the second comes twice.
    found = cache.complete([first, second, second], torch.device("cpu"))
    assert sizes == [1]
    assert_close([one[:1] for one in found.maps], list(alone.maps), rtol=0, atol=0)
    assert_close([one[1] for one in found.maps], [one[2] for one in found.maps], rtol=0, atol=0)
    kept = first._replace(pixels=None, maps=cache.read((0, 0), 96, 64))
    again = cache.complete([kept, second], torch.device("cpu"))
    assert sizes == [1]
    assert_close(list(again.maps), [one[:2] for one in found.maps], rtol=0, atol=0)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 7])
def test_maps_that_are_cut_short_count_as_missing(content: bytes, tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    found = cache.complete([view((0, 0), 1)], torch.device("cpu"))
    file = tmp_path / "0" / "0.maps"
    whole = file.read_bytes()
    for broken in (content, whole[:-2], whole + b"xx"):
        file.write_bytes(broken)
        assert cache.read((0, 0), 96, 64) is None
        again = cache.complete([view((0, 0), 1)], torch.device("cpu"))
        assert_close(list(again.maps), list(found.maps), rtol=0, atol=0)
        assert file.read_bytes() == whole


@pytest.mark.parametrize("other", [{"made_for": 2}, {"seed": 1}])
def test_maps_of_other_photos_or_weights_are_refused(other: dict[str, Any], tmp_path: Path) -> None:
    cache_in(tmp_path / "maps")
    cache_in(tmp_path / "maps")
    with pytest.raises(UsageError) as caught:
        cache_in(tmp_path / "maps", **other)
    assert str(caught.value) == (
        f"the feature cache {tmp_path}/maps was made for other photos, views or backbone weights; "
        "name another folder, or remove it"
    )


def test_a_part_learns_from_maps_what_it_learns_from_photos() -> None:
    torch.manual_seed(0)
    model = FCLN(tiny_timm_config(NAME), words=9).eval()
    pixels = torch.stack([view((0, 0), 1).pixels, view((0, 0), 2).pixels])  # type: ignore[list-item]
    backbone = model.backbone
    with torch.no_grad():
        maps = backbone.body(backbone.normalise(pixels))  # type: ignore[operator]
    part = objective(model)
    totals = []
    for seen in (pixels, BodyMaps(maps, 96, 64)):
        torch.manual_seed(1)
        totals.append(part(seen, [NOTHING] * 2))
    assert_close(totals[0], totals[1], rtol=0, atol=0)


# runs


def test_the_losses_are_those_without_a_cache_but_for_rounding(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    for name, run in (
        ("without", options), ("with", cached(options, tmp_path / "maps"))
    ):  # fmt: skip
        train(data, tmp_path / name, dataclasses.replace(run, steps=1))
    (plain,), (kept,) = (metrics(tmp_path / name) for name in ("without", "with"))
    for name, value in plain.items():
        if name not in ("step", "seconds_per_step"):
            assert kept[name] == pytest.approx(value, rel=5e-3, abs=1e-4), name
    train(data, tmp_path / "longer", options)
    ours, theirs = (state_of(run)["average"] for run in (tmp_path / "longer", straight))
    for name, value in ours.items():
        assert_close(theirs[name], value, rtol=0.1, atol=5e-3, msg=name)


def test_after_the_first_views_nothing_is_opened_or_computed(
    data: Path, options: TrainingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: Counter[str] = Counter()
    written: list[tuple[int, int]] = []
    cut, write = training_photos.cut, FeatureCache.write

    def open_one(photo: Any, *arguments: Any) -> Any:
        opened[photo.path.name] += 1
        return cut(photo, *arguments)

    def write_one(self: FeatureCache, key: tuple[int, int], maps: Any) -> None:
        written.append(key)
        write(self, key, maps)

    monkeypatch.setattr(training_photos, "cut", open_one)
    monkeypatch.setattr(FeatureCache, "write", write_one)
    train(data, tmp_path / "run", cached(options, tmp_path / "maps", views=2, steps=10))
    views = [(number, photo) for number in range(2) for photo in range(4)]
    assert sorted(written) == views
    assert opened == {f"{number}.png": 2 for number in range(4)}
    names = sorted(f"{number}/{photo}.maps" for number, photo in views)
    assert files(tmp_path / "maps") == [*names, "made_for"]
    train(data, tmp_path / "again", cached(options, tmp_path / "maps", views=2, steps=10))
    assert len(written) == 8
    assert_same_run(tmp_path / "run", tmp_path / "again")


def test_maps_are_kept_in_bfloat16_too(
    data: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    short = dataclasses.replace(options, bfloat16=True, steps=3)
    for run in ("run", "again"):
        train(data, tmp_path / run, cached(short, tmp_path / "maps"))
    assert_same_run(tmp_path / "run", tmp_path / "again")
    assert files(tmp_path / "maps") == [*(f"0/{photo}.maps" for photo in range(4)), "made_for"]


def test_a_worker_reads_the_same_maps(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    train(data, tmp_path / "run", cached(options, tmp_path / "maps", workers=1))
    assert_same_run(tmp_path / "run", straight)


@pytest.mark.parametrize("end", [KeyboardInterrupt(), Stop()])
def test_an_interrupted_run_resumes_to_the_same_weights(
    end: BaseException, data: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    """Though it finds maps of later steps than its state."""
    paced = dataclasses.replace(options, validate_every=1)
    train(data, tmp_path / "straight", cached(paced, tmp_path / "own"))
    often = cached(
        paced, tmp_path / "maps", checkpoint_minutes=-1.0 if isinstance(end, Stop) else 9
    )
    with pytest.raises(type(end)):
        train(data, tmp_path / "cut", often, on_progress=stop_at(1, end))
    assert state_of(tmp_path / "cut")["step"] == 1
    train(data, tmp_path / "cut", often, resume=True)
    assert_same_run(tmp_path / "cut", tmp_path / "straight")


def test_a_file_that_is_cut_short_does_no_harm(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    train(data, tmp_path / "first", cached(options, tmp_path / "maps", steps=2))
    file = tmp_path / "maps" / "0" / "2.maps"
    file.write_bytes(file.read_bytes()[:100])
    train(data, tmp_path / "run", cached(options, tmp_path / "maps"))
    assert_same_run(tmp_path / "run", straight)
    assert file.stat().st_size > 100


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"variation": "none"},
        {"variation": "widely"},
        {"limit": 3},
        {"bfloat16": True},
        {"config": tiny_timm_config(NAME, photo_side=160)},
        {"config": tiny_timm_config("lcnet_050")},
    ],
)
def test_a_cache_of_other_photos_views_or_weights_is_refused(
    change: dict[str, Any], data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    other = cached(options, straight.parent / "maps", steps=1, **change)
    with pytest.raises(UsageError, match="was made for other photos, views or backbone weights"):
        train(data, tmp_path / "run", other)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change", [{"backbone_blocks_frozen": BLOCKS - 1}, {"views": 0}, {"backbone_blocks_frozen": 0}]
)
def test_maps_of_what_learns_or_never_comes_again_are_not_kept(
    change: dict[str, Any], data: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        train(data, tmp_path / "run", cached(options, tmp_path / "maps", **change))
    assert cures.sentence(caught.value) == (
        "a feature cache needs a backbone of timm that does not learn, and a number of views; give "
        f"--freeze {BLOCKS} and --views, or leave out --feature-cache"
    )
    assert not (tmp_path / "maps").exists()


def test_a_run_resumes_on_a_cache_in_another_folder(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(
            data, tmp_path / "run", cached(options, tmp_path / "maps", validate_every=3),
            on_progress=stop_at(3, KeyboardInterrupt()),
        )  # fmt: skip
    moved = (tmp_path / "maps").rename(tmp_path / "moved")
    train(data, tmp_path / "run", cached(options, moved, validate_every=3), resume=True)
    assert_same_run(tmp_path / "run", straight)


def test_a_run_with_new_words_of_its_own_opens_the_cache_on_its_saved_weights(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    """Begun with what fits of another network, whose backbone it takes over."""
    fitting = dataclasses.replace(
        options, start=straight / "model.safetensors", start_fitting=True, seed=3, validate_every=3
    )
    train(data, tmp_path / "straight", cached(fitting, tmp_path / "own"))
    with pytest.raises(KeyboardInterrupt):
        train(
            data, tmp_path / "cut", cached(fitting, tmp_path / "maps"),
            on_progress=stop_at(3, KeyboardInterrupt()),
        )  # fmt: skip
    train(data, tmp_path / "cut", cached(fitting, tmp_path / "maps"), resume=True)
    assert_same_run(tmp_path / "cut", tmp_path / "straight")
