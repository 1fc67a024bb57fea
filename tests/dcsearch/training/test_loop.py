"""Training on drawn photos: it learns, keeps what it should, and resumes to the last digit."""

import dataclasses
import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close
from torchvision.models.vgg import cfgs, make_layers

from cli import cures
from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.checkpoint.imagenet import load_backbone
from dcsearch.errors import CheckpointError, Cure, DataError, UsageError
from dcsearch.model import presets
from dcsearch.model.fcln import FCLN, Regions
from dcsearch.training import loading, loop, validation
from dcsearch.training.loop import train
from dcsearch.training.objective import Objective
from dcsearch.training.options import RefiningOptions, TrainingOptions
from dcsearch.training.progress import TrainingProgress
from dcsearch.training.refine import RefiningProgress
from dcsearch.training.splits import WeightedData
from dcsearch.training.targets import PhraseTarget, Target
from dcsearch.training.validation import localization, mean_losses
from tests.conftest import objective, tiny_config, tiny_model
from tests.training_fixtures import (
    COLOURS,
    Stop,
    assert_same_run,
    even,
    metrics,
    state_of,
    stop_at,
    write_even_photos,
    write_photos,
)

pytestmark = pytest.mark.usefixtures("tidy")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn photos to learn from and two to validate on."""
    folder = tmp_path_factory.mktemp("data")
    write_photos(folder, "train.jsonl", 8)
    write_photos(folder, "val.jsonl", 2, first=8)
    return folder


@pytest.fixture(scope="session")
def options(backbone_file: Path) -> TrainingOptions:
    """Six short steps, one validation in the middle."""
    return TrainingOptions(
        config=tiny_config().replace(language_dropout=0.2),
        backbone_weights=backbone_file,
        backbone_blocks_frozen=17,
        steps=6,
        batch_size=2,
        warm_up=2,
        bfloat16=False,
        word_count=1,
        validate_every=3,
        workers=0,
        device="cpu",
        name="drawn",
    )


@pytest.fixture
def finished(straight: Path, tmp_path: Path) -> Path:
    """A copy of that run, to do with as one likes."""
    return Path(shutil.copytree(straight, tmp_path / "finished"))


# learning


def test_a_few_steps_lower_the_loss(data: Path, options: TrainingOptions, tmp_path: Path) -> None:
    longer = dataclasses.replace(
        options,
        config=tiny_config().replace(language_dropout=0.0, recognition_dropout=0.0),
        steps=30, batch_size=4, learning_rate=1e-2, recognition_learning_rate=1e-2,
        validate_every=10,
    )  # fmt: skip
    seen: list[TrainingProgress] = []
    train(data, tmp_path, longer, on_progress=seen.append)
    assert [progress.step for progress in seen] == [10, 20, 30]
    assert seen[2].loss < 0.9 * seen[0].loss
    captions = [row["caption"] for row in metrics(tmp_path) if "caption" in row]
    assert captions[2] < 0.9 * captions[0]
    before, after = seen[0].validation, seen[2].validation
    assert before is not None
    assert after is not None
    assert after["caption"] < 0.95 * before["caption"]
    assert after["total"] < before["total"]


def test_a_run_keeps_its_metrics_as_json_lines(straight: Path) -> None:
    rows = metrics(straight)
    assert [row["step"] for row in rows] == [3, 3, 6, 6]
    trained = [row for row in rows if "validation" not in row]
    validated = [row["validation"] for row in rows if "validation" in row]
    for row in trained:
        assert row["seconds_per_step"] > 0
        assert row["gradient_norm"] > 0
    terms = {"proposal_objectness", "proposal_box", "objectness", "box", "caption"}
    for row in (*trained, *validated):
        assert row.keys() >= {*terms, "total"}
        assert all(math.isfinite(value) for value in row.values())
    for row in validated:
        assert 0 <= row["localization"] <= 1
        assert 0 <= row["recall@100"] <= 1


def test_a_run_keeps_a_checkpoint_that_tells_where_it_came_from(
    straight: Path, options: TrainingOptions, backbone_file: Path
) -> None:
    checkpoint = load_checkpoint(straight / "model.safetensors")
    assert checkpoint.name == "drawn"
    assert checkpoint.config.language.landmarks > 0
    assert checkpoint.config.embedding.probes > 0
    assert checkpoint.config.replace(landmarks=0, probes=0) == options.config
    assert checkpoint.vocabulary.words[:4] == ("<unk>", "a", "disc", "square")
    assert set(checkpoint.vocabulary.words) == {
        *("<unk>", "a", "disc", "square", "on", "grey"), *COLOURS,
    }  # fmt: skip
    told = checkpoint.provenance
    assert (told["photos"], told["regions"], told["phrases"], told["step"]) == (8, 16, 32, 6)
    assert told["options"]["steps"] == 6
    assert told["options"]["backbone_weights"] == backbone_file.name
    assert str(backbone_file.parent) not in json.dumps(told)  # a path is nobody's business


def test_the_checkpoint_holds_the_running_average(straight: Path) -> None:
    state = state_of(straight)
    kept = load_checkpoint(straight / "model.safetensors").model.state_dict()
    assert state["average"].keys() - kept.keys() == {"words.weight", "words.bias"}  # training only
    differing = 0
    for key in state["average"].keys() & kept.keys():
        value = state["average"][key]
        assert_close(kept[key], value.half().to(value.dtype), rtol=0, atol=0)
        differing += not torch.equal(value, state["model"][key])
    assert differing > 10


def test_the_first_average_is_by_hand(data: Path, options: TrainingOptions, tmp_path: Path) -> None:
    """decay = min(averaging, (1 + step) / (10 + step)): a tenth of the start is left after one."""
    one_step = dataclasses.replace(options, steps=1)
    train(data, tmp_path / "one", one_step)
    frozen = dataclasses.replace(
        one_step, learning_rate=0.0, recognition_learning_rate=0.0, backbone_learning_rate=0.0
    )
    train(data, tmp_path / "start", frozen)
    key = "language.output.weight"
    start, state = state_of(tmp_path / "start")["model"][key], state_of(tmp_path / "one")
    assert not torch.equal(start, state["model"][key])
    assert_close(state["average"][key], 0.1 * start + 0.9 * state["model"][key])


def test_frozen_blocks_stay_as_they_came_and_the_others_learn(
    straight: Path, backbone_file: Path
) -> None:
    trained = load_checkpoint(straight / "model.safetensors").model.backbone
    for part in (trained, state_of(straight)["model"]):
        values = part if isinstance(part, dict) else {
            f"backbone.{key}": value for key, value in part.state_dict().items()
        }  # fmt: skip
        came = tiny_model(seed=7).backbone.state_dict()
        exact = part is not trained  # the checkpoint is rounded to halves
        for key, value in came.items():
            if not key.startswith("features.") or "running" in key or "num_batches" in key:
                continue
            block = int(key.split(".")[1])
            own = values[f"backbone.{key}"]
            same = torch.equal(own, value if exact else value.half().float())
            if block < 17:
                assert same, key
            elif own.ndim > 1:
                assert not same, key


def test_learning_rates_warm_up_and_fall_along_a_cosine(
    data: Path, options: TrainingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[set[float]] = []
    step = torch.optim.AdamW.step

    def spy(self: torch.optim.AdamW, *arguments: Any, **named: Any) -> Any:
        rates.append({round(group["lr"], 9) for group in self.param_groups})
        return step(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    paced = dataclasses.replace(
        options, learning_rate=1e-3, recognition_learning_rate=1e-4, backbone_learning_rate=1e-5
    )
    train(data, tmp_path, paced)
    shares = [1 / 2, 1.0] + [0.02 + 0.49 * (1 + math.cos(math.pi * k / 4)) for k in range(4)]
    assert rates == [{round(rate * s, 9) for rate in (1e-3, 1e-4, 1e-5)} for s in shares]


def test_progress_tells_how_far_the_run_is(
    data: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    seen: list[TrainingProgress] = []
    train(data, tmp_path, options, on_progress=seen.append)
    assert [(p.step, p.steps, p.epoch) for p in seen] == [(3, 6, 3 / 4), (6, 6, 6 / 4)]
    assert seen[0].seconds_left == pytest.approx(3 * seen[0].seconds_per_step)
    assert seen[1].seconds_left == 0
    assert all(progress.validation for progress in seen)


def test_without_a_validation_file_there_are_no_validation_figures(
    options: TrainingOptions, tmp_path: Path
) -> None:
    write_photos(tmp_path, "train.jsonl", 2)
    seen: list[TrainingProgress] = []
    train(tmp_path, tmp_path / "run", dataclasses.replace(options, steps=1),
          on_progress=seen.append)  # fmt: skip
    assert [progress.validation for progress in seen] in ([None], [{}])
    assert [row["step"] for row in metrics(tmp_path / "run")] == [1]


def test_the_data_may_be_named_by_file(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    train(data / "train.jsonl", tmp_path / "named", options)
    assert_same_run(tmp_path / "named", straight)


def test_bfloat16_learns_finite_weights(
    data: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    train(data, tmp_path, dataclasses.replace(options, steps=2, bfloat16=True))
    for value in state_of(tmp_path)["model"].values():
        assert value.dtype in (torch.float32, torch.int64)
        assert value.isfinite().all()


def test_one_seed_makes_one_model_and_another_seed_another(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # what was drawn before does not matter
    train(data, tmp_path / "again", options)
    assert_same_run(tmp_path / "again", straight)
    train(data, tmp_path / "other", dataclasses.replace(options, seed=1))
    key = "language.output.weight"
    assert not torch.equal(
        state_of(tmp_path / "other")["model"][key], state_of(straight)["model"][key]
    )


def test_validation_changes_nothing_that_is_learned(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    train(data, tmp_path / "often", dataclasses.replace(options, validate_every=1))
    assert_same_run(tmp_path / "often", straight)


def test_a_worker_reads_the_same_photos(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    train(data, tmp_path / "worker", dataclasses.replace(options, workers=1))
    assert_same_run(tmp_path / "worker", straight)


# a step in parts, and who learns when


def test_two_parts_of_two_photos_are_a_batch_of_four(
    options: TrainingOptions, tmp_path: Path
) -> None:
    """Exactly so, but for rounding, where the parts have as many boxes and words."""
    write_even_photos(tmp_path)
    whole, parts = even(options), dataclasses.replace(even(options), parts=2)
    train(tmp_path, tmp_path / "whole", whole)
    train(tmp_path, tmp_path / "parts", parts)
    first, second = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    for key, value in first["model"].items():
        assert_close(second["model"][key], value, rtol=1e-4, atol=1e-5)
    (one,), (two,) = metrics(tmp_path / "whole"), metrics(tmp_path / "parts")
    del one["seconds_per_step"], two["seconds_per_step"]
    assert two == pytest.approx(one, rel=1e-4)


def test_a_run_in_parts_goes_on_in_as_many(
    data: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    parts = dataclasses.replace(options, parts=2)
    train(data, tmp_path / "straight", parts)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut", parts, on_progress=stop_at(3, KeyboardInterrupt()))
    with pytest.raises(UsageError, match=r"with other options or data \(parts\)"):
        train(data, tmp_path / "cut", options, resume=True)
    train(data, tmp_path / "cut", parts, resume=True)
    assert_same_run(tmp_path / "cut", tmp_path / "straight")


def test_the_pretrained_layers_may_begin_to_learn_later(
    data: Path, options: TrainingOptions, tmp_path: Path, backbone_file: Path
) -> None:
    """Three steps of two of eight photos are three quarters of an epoch."""
    waits = dataclasses.replace(options, backbone_after=0.75, backbone_momentum=0.9)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path, waits, on_progress=stop_at(3, KeyboardInterrupt()))
    came = load_file(backbone_file)["features.17.conv.2.weight"]
    middle = state_of(tmp_path)["model"]
    assert torch.equal(middle["backbone.features.17.conv.2.weight"], came)
    train(data, tmp_path, waits, resume=True)
    last = state_of(tmp_path)
    assert not torch.equal(last["model"]["backbone.features.17.conv.2.weight"], came)
    assert not torch.equal(last["model"]["backbone.fine.weight"], middle["backbone.fine.weight"])
    assert last["backbone_optimizer"]["param_groups"][0]["momentum"] == 0.9
    train(data, tmp_path / "straight", waits)
    assert_same_run(tmp_path, tmp_path / "straight")


def test_from_scratch_no_weights_are_asked_for(
    data: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    missing = tmp_path / "none.safetensors"
    train(data, tmp_path / "run", dataclasses.replace(
        options, pretrained=False, backbone_weights=missing, steps=1
    ))  # fmt: skip


# stopping early


class Figures:
    """A stand-in for mAP that says what it was told to."""

    def __init__(self, *figures: float) -> None:
        self.left = list(figures)

    def __call__(self, *arguments: Any, **named: Any) -> dict[str, float]:
        return {"detection mAP": self.left.pop(0)}


def test_a_run_ends_when_validations_get_no_better_and_keeps_the_best(
    data: Path, options: TrainingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of .1 .3 .2 .3 is the best: the fourth is no better, and one is enough."""
    patient = dataclasses.replace(options, patience=2, validate_every=1)
    figures = Figures(0.1, 0.3, 0.2, 0.3)
    monkeypatch.setattr(validation, "mean_average_precision", figures)
    seen: list[TrainingProgress] = []
    path = train(data, tmp_path / "run", patient, on_progress=seen.append)
    assert [(p.step, p.best_step, p.ended_early, p.seconds_left > 0) for p in seen] == [
        (1, 1, False, True), (2, 2, False, True), (3, 2, False, True), (4, 2, True, False),
    ]  # fmt: skip
    rows = [row["validation"] for row in metrics(tmp_path / "run") if "validation" in row]
    assert [row["detection mAP"] for row in rows] == [0.1, 0.3, 0.2, 0.3]
    kept, best = load_checkpoint(path), load_checkpoint(tmp_path / "run" / "best.safetensors")
    assert kept.provenance["step"] == best.provenance["step"] == 2
    assert kept.config.language.landmarks > 0
    ours = best.model.state_dict()
    theirs = {key: kept.model.state_dict()[key] for key in ours}
    assert_close(theirs, dict(ours), rtol=0, atol=0)

    monkeypatch.setattr(validation, "mean_average_precision", Figures())
    assert train(data, tmp_path / "run", patient, resume=True) == path  # it has ended

    longer = dataclasses.replace(patient, patience=3)
    monkeypatch.setattr(validation, "mean_average_precision", Figures(0.4, 0.2))
    train(data, tmp_path / "run", longer, resume=True, on_progress=seen.append)
    assert [(p.step, p.best_step, p.ended_early) for p in seen[4:]] == [
        (5, 5, False),
        (6, 5, False),
    ]
    assert load_checkpoint(path).provenance["step"] == 5


def test_patience_survives_an_interruption(
    data: Path, options: TrainingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = dataclasses.replace(options, patience=2, validate_every=1)
    monkeypatch.setattr(validation, "mean_average_precision", Figures(0.5, 0.4, 0.3))
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path, patient, on_progress=stop_at(2, KeyboardInterrupt()))
    steps: list[int] = []
    train(data, tmp_path, patient, resume=True, on_progress=lambda p: steps.append(p.step))
    assert steps == [3]
    assert load_checkpoint(tmp_path / "model.safetensors").provenance["step"] == 1


@pytest.mark.parametrize("stop_by", ["detection mAP", "localization"])
def test_what_ends_a_run_is_measured_and_logged(
    stop_by: Any, data: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    one = dataclasses.replace(options, patience=1, stop_by=stop_by, steps=1)
    train(data, tmp_path, one)
    figures = metrics(tmp_path)[-1]["validation"]
    assert 0 <= figures[stop_by] <= 1
    assert ("detection mAP" in figures) is (stop_by == "detection mAP")
    assert state_of(tmp_path)["best"] == {"figure": figures[stop_by], "step": 1, "since": 0}


def test_without_validation_photos_nothing_can_end_a_run_early(
    options: TrainingOptions, tmp_path: Path
) -> None:
    write_photos(tmp_path, "train.jsonl", 2)
    with pytest.raises(UsageError) as caught:
        train(tmp_path, tmp_path / "run", dataclasses.replace(options, patience=1))
    assert cures.sentence(caught.value).endswith("; add val.jsonl, or give --patience 0")


def test_what_meteor_lacks_shows_before_the_first_step(
    data: Path, options: TrainingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    by_captions = dataclasses.replace(options, patience=1, stop_by="mAP")
    with pytest.raises(UsageError, match="METEOR needs"):
        train(data, tmp_path / "run", by_captions)
    assert not (tmp_path / "run").exists()


# refining behind the last step


def test_a_recipe_may_end_with_refining(
    data: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    how = RefiningOptions(views=1, steps=2, batch_size=8, discriminated_regions=4)
    told: list[RefiningProgress] = []
    refined = dataclasses.replace(options, steps=1, refining=how, seed=3)
    path = train(data, tmp_path, refined, on_refining=told.append)
    assert {progress.stage for progress in told} == {"collecting", "refining"}
    provenance = load_checkpoint(path).provenance
    assert provenance["step"] == 1
    assert (provenance["refined"]["steps"], provenance["refined"]["seed"]) == (2, 3)


# interruption and resuming


def test_an_interrupted_run_resumes_to_the_same_weights(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    output = tmp_path / "resumed"
    with pytest.raises(KeyboardInterrupt):
        train(data, output, options, on_progress=stop_at(3, KeyboardInterrupt()))
    assert state_of(output)["step"] == 3
    assert load_checkpoint(output / "model.safetensors").provenance["step"] == 3
    steps: list[int] = []
    train(
        data, output, options, resume=True, on_progress=lambda progress: steps.append(progress.step)
    )
    assert steps == [6]
    assert_same_run(output, straight)
    assert [row["step"] for row in metrics(output)] == [3, 3, 6, 6]
    trained = [row["caption"] for row in metrics(output) if "caption" in row]
    assert trained == [row["caption"] for row in metrics(straight) if "caption" in row]


def test_a_killed_run_resumes_from_its_last_save(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    output = tmp_path / "killed"
    often = dataclasses.replace(options, checkpoint_minutes=0.0, validate_every=1)
    calls = 0
    losses = Objective.losses

    def dies(self: Objective, pixels: Tensor, targets: list[Target]) -> Any:
        nonlocal calls
        calls += self.training
        if calls == 3:
            raise Stop
        return losses(self, pixels, targets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "losses", dies)
        with pytest.raises(Stop):
            train(data, output, often)
    assert state_of(output)["step"] == 2
    train(data, output, often, resume=True)
    assert_same_run(output, straight)


def test_a_killed_run_s_log_holds_no_step_twice(
    data: Path, options: TrainingOptions, finished: Path
) -> None:
    """Killed between a report and the next save, with a line cut off."""
    before = metrics(finished)
    later = [{"step": 7, "caption": 9.0}, {"step": 8, "caption": 9.0}]
    with (finished / "metrics.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in later) + '{"step": 9, "cap')
    train(data, finished, options, resume=True)
    assert metrics(finished) == before


def interrupt_during(
    monkeypatch: pytest.MonkeyPatch, target: object, name: str, *, call: int, after: bool
) -> None:
    """Press Ctrl-C before or after the `call`-th call of a function."""
    original = getattr(target, name)
    calls = 0

    def spy(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            os.kill(os.getpid(), signal.SIGINT)
        result = original(*arguments, **named)
        if calls == call and after:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(target, name, spy)


@pytest.mark.parametrize(
    ("target", "name", "call", "after"),
    [
        (validation, "mean_losses", 1, False),  # while validating, when the average is in place
        (validation, "mean_losses", 1, True),
        (loop, "save_checkpoint", 1, False),  # while saving, likewise
        (Objective, "losses", 2, False),  # before a step has changed anything
        (torch.optim.AdamW, "step", 2, True),  # when the weights have moved and the rest has not
    ],
)
def test_ctrl_c_at_any_moment_leaves_a_run_that_resumes_to_the_same_weights(
    target: object,
    name: str,
    call: int,
    after: bool,
    data: Path,
    options: TrainingOptions,
    straight: Path,
    tmp_path: Path,
) -> None:
    output = tmp_path / "interrupted"
    often = options
    if name == "save_checkpoint":
        often = dataclasses.replace(options, checkpoint_minutes=0.0)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_during(patch, target, name, call=call, after=after)
        with pytest.raises(KeyboardInterrupt):
            train(data, output, often)
    assert state_of(output)["step"] >= 1
    train(data, output, options, resume=True)
    assert_same_run(output, straight)


def test_a_finished_run_resumes_to_itself(
    data: Path, options: TrainingOptions, finished: Path
) -> None:
    before = state_of(finished)["model"]
    assert train(data, finished, options, resume=True) == finished / "model.safetensors"
    assert_close(state_of(finished)["model"], before, rtol=0, atol=0)


def test_workers_device_and_pace_of_saving_may_change_on_resuming(
    data: Path, options: TrainingOptions, finished: Path
) -> None:
    other = dataclasses.replace(options, workers=1, device="auto", checkpoint_minutes=9.0)
    train(data, finished, other, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 9},
        {"learning_rate": 1.0},
        {"seed": 4},
        {"batch_size": 3},
        {"config": tiny_config().replace(caption_weight=2.0)},
    ],
)
def test_other_options_cannot_go_on_with_a_run(
    change: dict[str, Any], data: Path, options: TrainingOptions, finished: Path
) -> None:
    before = (finished / "state.pt").read_bytes()
    with pytest.raises(UsageError) as caught:
        train(data, finished, dataclasses.replace(options, **change), resume=True)
    assert str(caught.value) == (
        f"the run in {finished} was started with other options or data ({next(iter(change))}); "
        "give the same, or start anew in another folder"
    )
    assert (finished / "state.pt").read_bytes() == before


def test_a_run_of_an_earlier_version_goes_on(
    data: Path, options: TrainingOptions, finished: Path
) -> None:
    """Options that it did not know of had their defaults."""
    state = state_of(finished)
    del state["best"], state["start"], state["scenes"], state["data"]
    saved = json.loads(state["options"])
    for name in (
        *("limit", "start", "parts", "backbone_after", "backbone_momentum", "cosine", "variation"),
        *("start_fitting", "views", "rare"),
    ):
        del saved[name]
    del saved["config"]["normaliser_weight"], saved["config"]["level_cells"]
    torch.save({**state, "options": json.dumps(saved)}, finished / "state.pt")
    known = options.config.replace(normaliser_weight=0.0)
    train(data, finished, dataclasses.replace(options, config=known), resume=True)
    with pytest.raises(UsageError, match=r"other options or data \(config\)"):
        train(data, finished, options, resume=True)


def test_other_data_cannot_go_on_with_a_run(
    options: TrainingOptions, finished: Path, tmp_path: Path
) -> None:
    write_photos(tmp_path, "train.jsonl", 1)
    with pytest.raises(UsageError, match="with other options or data"):
        train(tmp_path, finished, options, resume=True)


def test_a_run_is_not_overwritten(data: Path, options: TrainingOptions, finished: Path) -> None:
    with pytest.raises(UsageError) as caught:
        train(data, finished, options)
    assert "already holds a training run; go on with --resume" in cures.sentence(caught.value)


def test_where_there_is_no_run_there_is_nothing_to_resume(
    data: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"no training run in .* to resume") as caught:
        train(data, tmp_path / "none", options, resume=True)
    assert caught.value.cure is Cure.START_ANEW


@pytest.mark.parametrize("content", [b"", b"not a state", b"PK\x03\x04 cut off"])
def test_a_damaged_state_says_so(
    content: bytes, data: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(UsageError, match=r"state\.pt cannot be read .*; start anew") as caught:
        train(data, tmp_path, options, resume=True)
    assert "\n" not in str(caught.value)


# several data


@pytest.fixture(scope="session")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three more photos; the last has no regions, and a caption with words of its own."""
    folder = tmp_path_factory.mktemp("more")
    write_photos(folder, "train.jsonl", 3, first=20)
    first, second, third = (folder / "train.jsonl").read_text().splitlines()
    bare = {**json.loads(third), "regions": [], "captions": ["a purple sky"]}
    (folder / "train.jsonl").write_text("\n".join([first, second, json.dumps(bare)]) + "\n")
    return folder


def several(data: Path, more: Path, weight: float) -> list[WeightedData]:
    return [WeightedData(path=data), WeightedData(path=more, weight=weight)]


def test_photos_of_several_data_are_learned_together(
    data: Path, more: Path, options: TrainingOptions, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    drawn: list[Any] = []
    made = loading.Batches

    def spy(sizes: Any, **how: Any) -> Any:
        drawn.append(how["weights"])
        return made(sizes, **how)

    monkeypatch.setattr(loading, "Batches", spy)
    read: list[tuple[str, str]] = []
    read_split = loading.read_split

    def read_one(path: Path, split: str, **how: Any) -> Any:
        read.append((path.name, split))
        return read_split(path, split, **how)

    monkeypatch.setattr(loading, "read_split", read_one)
    seen: list[TrainingProgress] = []
    once = dataclasses.replace(options, steps=3)
    train(several(data, more, 0.5), tmp_path, once, on_progress=seen.append)
    assert drawn == [[1.0] * 8 + [0.5] * 3]
    assert len(read) == len(set(read)) == 4  # each split of each is read once
    assert seen[-1].epoch == pytest.approx(3 * 2 / 9.5)
    checkpoint = load_checkpoint(tmp_path / "model.safetensors")
    told = checkpoint.provenance
    assert (told["photos"], told["regions"]) == (11, 16 + 4 + 1)
    assert told["data"] == [{"photos": 8, "weight": 1.0}, {"photos": 3, "weight": 0.5}]
    assert {"purple", "sky"} < set(checkpoint.vocabulary.words)


def test_one_of_several_data_is_that_one(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    train([WeightedData(path=data)], tmp_path / "run", options)
    assert_same_run(tmp_path / "run", straight)
    assert "data" not in load_checkpoint(straight / "model.safetensors").provenance


def test_rare_words_draw_their_photos_more_often(
    data: Path, more: Path, options: TrainingOptions, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    drawn: list[Any] = []
    made = loading.Batches
    monkeypatch.setattr(
        loading, "Batches", lambda sizes, **how: drawn.append(how["weights"]) or made(sizes, **how)
    )
    monkeypatch.setattr(
        loading,
        "rarity",
        lambda photos, share: [share * (1 + index) for index in range(len(photos))],
    )
    once = dataclasses.replace(options, steps=1, rare=0.5)
    train(several(data, more, 2.0), tmp_path, once)
    assert drawn == [[0.5 * n for n in range(1, 9)] + [1.0 * n for n in (9, 10, 11)]]


def test_a_limit_is_that_of_each_of_the_data(
    data: Path, more: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    few = dataclasses.replace(options, steps=1, limit=2)
    told = load_checkpoint(train(several(data, more, 0.5), tmp_path, few)).provenance
    assert told["data"] == [{"photos": 2, "weight": 1.0}, {"photos": 2, "weight": 0.5}]
    assert told["photos"] == 4


def test_a_run_on_several_data_resumes_on_them_alone(
    data: Path, more: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    train(several(data, more, 0.5), tmp_path / "straight", options)
    with pytest.raises(KeyboardInterrupt):
        train(
            several(data, more, 0.5), tmp_path / "cut", options,
            on_progress=stop_at(3, KeyboardInterrupt()),
        )  # fmt: skip
    with pytest.raises(UsageError, match="with other options or data; give the same"):
        train(several(data, more, 0.6), tmp_path / "cut", options, resume=True)
    train(several(data, more, 0.5), tmp_path / "cut", options, resume=True)
    assert_same_run(tmp_path / "cut", tmp_path / "straight")


def test_a_run_that_left_photos_without_regions_out_goes_on_without_them(
    more: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    """As an earlier version did, whose state does not tell of them."""
    shown = tmp_path / "shown"
    shown.mkdir()
    lines = (more / "train.jsonl").read_text().splitlines()
    for name in ("20.png", "21.png", "22.png"):
        shutil.copy(more / name, shown)
    (shown / "train.jsonl").write_text("\n".join(lines[:2]))
    paced = dataclasses.replace(options, validate_every=3)
    train(shown, tmp_path / "straight", paced)
    with pytest.raises(KeyboardInterrupt):
        train(shown, tmp_path / "cut", paced, on_progress=stop_at(3, KeyboardInterrupt()))
    state = state_of(tmp_path / "cut")
    del state["scenes"], state["data"]
    torch.save(state, tmp_path / "cut" / "state.pt")
    train(more, tmp_path / "cut", paced, resume=True)
    assert_same_run(tmp_path / "cut", tmp_path / "straight")
    train(more, tmp_path / "cut", paced, resume=True)  # nor does a later one take them in


# data that cannot be learned from


def test_missing_data_are_named(options: TrainingOptions, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file: .*train\.jsonl"):
        train(tmp_path, tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


def test_data_without_regions_are_refused(options: TrainingOptions, tmp_path: Path) -> None:
    row = {"image": "0.png", "width": 128, "height": 96, "regions": []}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="holds no photo with regions"):
        train(tmp_path, tmp_path / "run", options)


@pytest.mark.parametrize(("workers", "content"), [(0, None), (0, b""), (0, b"no photo"), (1, None)])
def test_a_photo_that_is_missing_or_broken_is_named(
    workers: int, content: bytes | None, options: TrainingOptions, tmp_path: Path
) -> None:
    write_photos(tmp_path, "train.jsonl", 2)
    (tmp_path / "1.png").unlink()
    if content is not None:
        (tmp_path / "1.png").write_bytes(content)
    with pytest.raises(DataError, match=r"1\.png"):
        train(tmp_path, tmp_path / "run", dataclasses.replace(options, workers=workers))


def test_a_loss_that_is_no_number_stops_the_run(
    data: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    wild = dataclasses.replace(options, learning_rate=1e30, warm_up=0, gradient_norm=1e30)
    with pytest.raises(FloatingPointError, match="the loss became"):
        train(data, tmp_path, wild)


# backbone weights


def test_backbone_weights_come_from_the_file_and_the_rest_does_not(backbone_file: Path) -> None:
    model = tiny_model(seed=3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load_backbone(model, backbone_file)
    source = tiny_model(seed=7).backbone.get_submodule("features").state_dict()
    for key, value in model.state_dict().items():
        name = key.removeprefix("backbone.features.")
        assert torch.equal(value, before[key] if name == key else source[name])


def test_classifiers_of_vgg16_become_fc6_and_fc7(tmp_path: Path) -> None:
    config = presets.paper().replace(grid=1, recognition_hidden=3, code_size=2, encoded_size=4,
        language_hidden=4,
    )  # fmt: skip
    model = FCLN(config, words=5)
    torch.manual_seed(0)
    heads = {
        "classifier.0.weight": torch.randn(3, 512),
        "classifier.0.bias": torch.randn(3),
        "classifier.3.weight": torch.randn(2, 3),
        "classifier.3.bias": torch.randn(2),
    }
    features = {
        f"features.{key}": value.half() + 1
        for key, value in model.backbone.get_submodule("features").state_dict().items()
    }
    path = tmp_path / "vgg.safetensors"
    save_file({**features, **heads}, path)
    load_backbone(model, path)
    assert torch.equal(model.recognition.fc6.weight, heads["classifier.0.weight"])
    assert torch.equal(model.recognition.fc7.bias, heads["classifier.3.bias"])
    key = "features.2.weight"
    assert torch.equal(model.backbone.get_parameter(key), features[key].float())
    for broken in (
        {**features, **heads, "classifier.0.weight": torch.randn(4, 512)},
        {key: value for key, value in {**features, **heads}.items() if "3.bias" not in key},
    ):
        save_file(broken, path)
        with pytest.raises(CheckpointError, match="does not hold this backbone's weights"):
            load_backbone(model, path)


def test_vgg16_sees_with_torchvisions_weights_what_torchvision_sees(tmp_path: Path) -> None:
    """Though it is given BGR minus the mean, and they were trained on normalised RGB."""
    config = presets.paper().replace(grid=1, recognition_hidden=3, code_size=2, encoded_size=4,
        language_hidden=4,
    )  # fmt: skip
    theirs = make_layers(cfgs["D"])[:-1].eval()
    for layer in theirs:
        if isinstance(layer, torch.nn.MaxPool2d):
            layer.ceil_mode = config.features.ceil_pooling
    save_file(
        {f"features.{key}": value for key, value in theirs.state_dict().items()},
        tmp_path / "vgg.safetensors",
    )
    model = FCLN(config, words=5).eval()
    load_backbone(model, tmp_path / "vgg.safetensors")
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    mean, deviation = (torch.tensor(v)[:, None, None] for v in (
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    ))  # fmt: skip
    with torch.no_grad():
        first = theirs[0]((pixels / 255 - mean) / deviation)
        ours = model.backbone.get_submodule("features.0")(model.backbone.normalise(pixels))
        assert_close(ours[:, :, 1:-1, 1:-1], first[:, :, 1:-1, 1:-1], rtol=1e-4, atol=1e-5)
        seen, expected = model.features(pixels), theirs((pixels / 255 - mean) / deviation)
        assert_close(seen, expected, rtol=0.02, atol=0.01 * expected.abs().max().item())


def test_a_file_without_the_backbones_weights_is_refused(
    backbone_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"features.0.0.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError) as caught:
        load_backbone(tiny_model(), path)
    assert cures.sentence(caught.value) == (
        f"{path} does not hold this backbone's weights in torchvision's layout; "
        "name a safetensors file with --backbone-weights"
    )


@pytest.mark.parametrize("content", [None, b"", b"no weights", bytes(100)])
def test_a_missing_or_foreign_weights_file_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_backbone(tiny_model(), path)
    assert str(path) in str(caught.value)
    assert caught.value.cure is Cure.BACKBONE_WEIGHTS


def test_a_folder_is_no_weights_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_backbone(tiny_model(), tmp_path)
    assert caught.value.cure is Cure.BACKBONE_WEIGHTS


def test_without_a_file_torchvisions_weights_need_torchvisions_padding() -> None:
    assert tiny_config().features.tensorflow_padding
    with pytest.raises(CheckpointError, match="not trained with TensorFlow's padding") as caught:
        load_backbone(tiny_model(), None)
    assert caught.value.cure is Cure.PLAIN_PADDING


def test_without_a_network_the_download_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **named: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    config = tiny_config().replace(tensorflow_padding=False)
    with pytest.raises(CheckpointError) as caught:
        load_backbone(FCLN(config, words=4), None)
    assert cures.sentence(caught.value) == (
        "torchvision could not download the backbone (no route to host); name a safetensors file "
        "with --backbone-weights"
    )


def test_a_run_whose_backbone_cannot_be_loaded_leaves_no_run(
    data: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    missing = dataclasses.replace(options, backbone_weights=tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="no backbone weights at"):
        train(data, tmp_path / "run", missing)
    train(data, tmp_path / "run", dataclasses.replace(options, steps=1))


# validation


def test_localization_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two boxes found of three; of four phrases two align to the right place."""
    model = tiny_model()
    seen = Regions(
        torch.tensor([[0.0, 0.0, 40.0, 40.0], [50.0, 0.0, 90.0, 40.0]]),
        torch.tensor([2.0, 1.0]),
        torch.zeros(2, 16),
    )
    target = Target(
        torch.tensor([[0.0, 0.0, 40.0, 30.0], [50.0, 0.0, 90.0, 40.0], [0.0, 60.0, 20.0, 90.0]]),
        [[phrase(1), phrase(2)], [phrase(3)], [phrase(4)]],
    )
    scores = torch.tensor([[-1.0, -5.0, -9.0, -1.0], [-2.0, -4.0, -3.0, -2.0]])
    monkeypatch.setattr(FCLN, "forward", lambda self, pixels, most: [seen] * len(pixels))
    monkeypatch.setattr(model.language, "cross_log_likelihoods", lambda encoded, tokens: scores)
    pixels = torch.zeros(1, 3, 96, 96, dtype=torch.uint8)
    nothing = Target(torch.zeros(0, 4), [])
    silent = Target(target.boxes[:1], [[]])
    assert localization(model, [(pixels, [target])]) == {
        "recall@100": 2 / 3,
        "localization": 2 / 4,  # phrases 0 and 2
    }
    more = [(pixels, [target]), (pixels, [nothing]), (pixels, [silent])]
    assert localization(model, more, regions=7) == {"recall@7": 3 / 4, "localization": 2 / 4}
    assert localization(model, []) == {"recall@100": 0, "localization": 0}


def phrase(*tokens: int) -> PhraseTarget:
    return PhraseTarget(list(tokens), frozenset(tokens))


def test_validation_losses_are_drawn_alike_each_time_and_leave_the_draws_alone() -> None:
    model = tiny_model()
    pixels = torch.randint(
        0, 256, (2, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    target = Target(torch.tensor([[10.0, 10.0, 60.0, 60.0]]), [[phrase(1, 3), phrase(2)]])
    batches: list[tuple[Tensor, list[Target]]] = [(pixels, [target] * 2), (pixels[:1], [target])]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = mean_losses(objective(model), batches, seed=1)
    assert_close(torch.rand(3), expected)
    assert mean_losses(objective(model), batches, seed=1) == first
    weighted = sum(
        first[name] * getattr(model.config.objective, f"{name}_weight")
        for name in first if name not in ("joint_box", "total")
    )  # fmt: skip
    assert first["joint_box"] == 0
    assert first["total"] == pytest.approx(weighted, rel=1e-4)
    assert mean_losses(objective(model), [], seed=1) == {}
