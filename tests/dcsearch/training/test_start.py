"""Start: a run begins with the network, the words and the weights of another."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from cli import cures
from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dcsearch.checkpoint.header import METADATA_KEY, write_header
from dcsearch.errors import CheckpointError, UsageError
from dcsearch.model.fcln import FCLN
from dcsearch.training.landmarks import keep_landmarks
from dcsearch.training.loop import train
from dcsearch.training.options import TrainingOptions
from dcsearch.training.start import (
    config_to_start,
    provenance_of_start,
    start_fitting,
    start_from,
)
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS, objective, tiny_config, tiny_model
from tests.network_fixtures import photos
from tests.training_fixtures import assert_same_run, starting, state_of, stop_at, write_photos


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the tiny network, with landmarks and probes, as training leaves one."""
    path = tmp_path_factory.mktemp("old") / "old.safetensors"
    model = tiny_model()
    keep_landmarks(model, torch.rand(8, 16, generator=torch.Generator().manual_seed(0)))
    model.embedding.probes, model.embedding.level = torch.zeros(300, 128), torch.tensor(1.5)
    model.config = model.config.replace(probes=300)
    save_checkpoint(path, model, Vocabulary(WORDS), name="old", provenance={"photos": 3})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn photos to learn from and one to validate on; "grey" is a new word."""
    folder = tmp_path_factory.mktemp("data")
    write_photos(folder, "train.jsonl", 4)
    write_photos(folder, "val.jsonl", 1, first=4)
    return folder


@pytest.fixture(scope="module")
def options(old: Path) -> TrainingOptions:
    return starting(old, config_to_start(old))


def new_model(words: int = len(WORDS), **changes: Any) -> FCLN:
    """A new tiny network with other random weights."""
    torch.manual_seed(5)
    return FCLN(tiny_config().replace(**changes), words=words).eval()


def in_context(old: Path) -> Checkpoint:
    """The old network with weights for the whole photo's code."""
    checkpoint = load_checkpoint(old)
    model = new_model(context="sum")
    start_from(objective(model), checkpoint)
    assert model.language.context is not None
    torch.nn.init.normal_(model.language.context)
    return dataclasses.replace(checkpoint, model=model)


# weights


@pytest.mark.parametrize("changes", [{}, {"photo_side": 160, "final_overlap": 0.7}])
def test_a_network_begins_with_the_weights_of_another(changes: dict[str, Any], old: Path) -> None:
    model, checkpoint = new_model(**changes), load_checkpoint(old)
    start_from(objective(model), checkpoint)
    expected = checkpoint.model.state_dict()
    for name in ("language.landmarks", "embedding.probes", "embedding.level"):
        del expected[name]
    assert_close(dict(model.state_dict()), dict(expected), rtol=0, atol=0)


def test_landmarks_and_probes_stay_with_the_weights_that_they_are_of(old: Path) -> None:
    kept = tiny_config().replace(landmarks=8, probes=300)
    assert load_checkpoint(old).config == kept
    assert config_to_start(old) == tiny_config()


def test_a_context_begins_at_zero_and_says_what_the_old_network_says(old: Path) -> None:
    model, checkpoint = new_model(context="sum"), load_checkpoint(old)
    start_from(objective(model), checkpoint)
    assert model.state_dict()["language.context"].tolist() == [[0.0] * 20] * 16
    for one, other in zip(model(photos(2)), checkpoint.model(photos(2)), strict=True):
        assert len(one.boxes) > 0
        for found, expected in zip(one, other, strict=True):
            assert_close(found, expected)


def test_a_context_that_was_learned_is_taken_over(old: Path) -> None:
    model, checkpoint = new_model(context="sum"), in_context(old)
    start_from(objective(model), checkpoint)
    expected = checkpoint.model.state_dict()["language.context"]
    assert torch.equal(model.state_dict()["language.context"], expected)


@pytest.mark.parametrize(
    ("changes", "unlike"),
    [
        ({"words": 5}, "embedding.words.weight"),
        ({"language_hidden": 8}, "language.hidden_gates.weight"),
        ({}, "language.context"),  # which the old network has
    ],
)
def test_other_weights_are_refused(changes: dict[str, Any], unlike: str, old: Path) -> None:
    checkpoint = load_checkpoint(old) if changes else in_context(old)
    model = new_model(**changes)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        start_from(objective(model), checkpoint)
    assert cures.sentence(caught.value) == (
        "the model to start with, 'old', has other weights than the network asked for "
        f"({unlike}); leave out --context or --joint-inference, or --start"
    )
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_a_config_that_cannot_be_read_is_named(old: Path, tmp_path: Path) -> None:
    path = tmp_path / "later.safetensors"
    header = write_header(name="later", config=tiny_config(), words=WORDS, provenance={})
    header[METADATA_KEY] = header[METADATA_KEY].replace('"grid"', '"unheard_of"')
    save_file(load_file(old), path, metadata=header)
    with pytest.raises(CheckpointError, match=r"later\.safetensors is damaged"):
        config_to_start(path)
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*none\.safetensors$"):
        config_to_start(tmp_path / "none.safetensors")


# what fits

MORE = ("bird", "grey")


def with_word_head(old: Path) -> Checkpoint:
    """The old network as an older file has it, word head and all."""
    checkpoint = load_checkpoint(old)
    weights = objective(checkpoint.model).weights()
    head = {name: value for name, value in weights.items() if name.startswith("words.")}
    return dataclasses.replace(checkpoint, word_head=head)


def with_marked_rows(old: Path) -> Checkpoint:
    """The old network with a word head, whose rows of words are 100, 101 and so on."""
    checkpoint = with_word_head(old)
    for name, value in {**checkpoint.model.state_dict(), **checkpoint.word_head}.items():
        if name in ROWS:
            marks = 100 + torch.arange(len(value), dtype=torch.float32)
            value.copy_(marks.reshape(-1, *[1] * (value.ndim - 1)).expand_as(value))
    return checkpoint


ROWS = {  # and whether one of them is that of START or END
    "language.embedding.weight": True,
    "language.output.weight": True,
    "language.output.bias": True,
    "embedding.words.weight": False,
    "words.weight": False,
    "words.bias": False,
}


@pytest.mark.parametrize("null_word", [False, True])
def test_rows_of_words_and_of_start_and_end_are_taken_over(null_word: bool, old: Path) -> None:
    checkpoint = with_marked_rows(old)
    count = len(WORDS)
    own = objective(new_model(words=count + 2, null_word=null_word))
    before = {name: value.clone() for name, value in own.weights().items()}
    anew = start_fitting(own, checkpoint)
    assert anew == []
    for name, has_end in ROWS.items():
        value, fresh = own.weights()[name], before[name]
        rows = value.reshape(len(value), -1)[:, 0]
        assert rows[:count].tolist() == [100 + row for row in range(count)]
        assert torch.equal(value[count : count + 2], fresh[count : count + 2])  # new words
        if has_end:
            assert rows[count + 2] == 100 + count
        if null_word and name == "language.embedding.weight":
            assert torch.equal(value[count + 3], fresh[count + 3])
    others = {name: value for name, value in own.weights().items() if name not in ROWS}
    expected = {name: checkpoint.model.state_dict()[name] for name in others}
    assert_close(others, expected, rtol=0, atol=0)


def test_a_null_word_is_no_word_where_the_shapes_are_alike(old: Path) -> None:
    """A network with a null word has as many rows as one with one word more."""
    checkpoint = with_marked_rows(old)
    with_null = new_model(null_word=True)
    start_fitting(objective(with_null), checkpoint)
    checkpoint = dataclasses.replace(checkpoint, model=with_null, config=with_null.config)
    model = new_model(words=len(WORDS) + 1)
    fresh = model.language.embedding.weight.detach()[len(WORDS)].clone()
    start_fitting(objective(model), checkpoint)
    rows = model.language.embedding.weight.detach()
    assert torch.equal(rows[len(WORDS)], fresh)
    assert (rows[len(WORDS) + 1] == 100 + len(WORDS)).all()


def test_what_has_another_shape_begins_anew(old: Path) -> None:
    checkpoint = with_word_head(old)
    own = objective(new_model(words=20, language_hidden=8, context="sum", joint_inference=True))
    before = {name: value.clone() for name, value in own.weights().items()}
    anew = start_fitting(own, checkpoint)
    gates = ("language.input_gates.weight", "language.input_gates.bias")
    assert {*gates, "language.hidden_gates.weight", "language.output.weight"} < set(anew)
    assert "language.context" in anew
    assert {name.split(".")[0] for name in anew} == {"language", "location"}
    for name in anew:
        assert torch.equal(own.weights()[name], before[name])


def test_landmarks_and_probes_are_not_taken_over(old: Path) -> None:
    model = new_model(landmarks=8, probes=300)
    assert start_fitting(objective(model), with_word_head(old)) == [
        "language.landmarks", "embedding.probes", "embedding.level",
    ]  # fmt: skip
    assert model.state_dict()["embedding.level"] == 0


@pytest.mark.parametrize("changes", [{"tensorflow_padding": False}, {"backbone": "resnet50_fpn"}])
def test_another_backbone_takes_no_weight_of_the_old_one(
    changes: dict[str, Any], old: Path
) -> None:
    if "backbone" in changes:
        changes = {**changes, "anchor_shapes": ((8.0, 8.0),) * 5, "feature_channels": 256}
    model = new_model(**changes)
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    anew = start_fitting(objective(model), load_checkpoint(old))
    assert {f"backbone.{name}" for name in before} <= set(anew)
    assert all(
        torch.equal(before[name], value) for name, value in model.backbone.state_dict().items()
    )
    assert "language.encoder.weight" not in anew


def fitting(options: TrainingOptions, old: Path) -> TrainingOptions:
    """A network with more numbers in its recognition, and every word of the data."""
    config = options.config.replace(recognition_hidden=30)
    return dataclasses.replace(options, config=config, start_fitting=True, word_count=1, start=old)


def test_a_run_may_begin_with_what_fits_and_learns_new_words(
    data: Path, old: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    """Its backbone is that of the old network, so that no other weights are asked for."""
    still = dataclasses.replace(
        fitting(options, old), steps=1, learning_rate=0.0, recognition_learning_rate=0.0,
        backbone_learning_rate=0.0,
    )  # fmt: skip
    made = load_checkpoint(train(data, tmp_path / "run", still))
    assert made.vocabulary.words == (*WORDS, "grey")
    before = load_checkpoint(old).model.state_dict()
    after = made.model.state_dict()
    assert_close(
        after["language.output.weight"][: len(WORDS)], before["language.output.weight"][:-1]
    )
    for name in (
        "backbone.smooth.weight",
        "language.encoder.weight",
        "backbone.features.0.0.weight",
    ):
        assert torch.equal(after[name], before[name])
    assert after["recognition.fc6.weight"].shape[0] == 30
    assert made.provenance["began_with"]["name"] == "old"
    assert made.provenance["options"]["start_fitting"] is True


def test_a_run_from_what_fits_resumes_to_the_last_bit(
    data: Path, old: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    own = fitting(options, old)
    train(data, tmp_path / "straight", own)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut", own, on_progress=stop_at(2, KeyboardInterrupt()))
    train(data, tmp_path / "cut", own, resume=True)
    assert_same_run(tmp_path / "cut", tmp_path / "straight")
    anew = dataclasses.replace(own, start=None, start_fitting=False, pretrained=False)
    with pytest.raises(UsageError, match="with other options or data"):
        train(data, tmp_path / "cut", anew, resume=True)


def test_another_backbone_asks_for_its_weights(
    data: Path, old: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    config = options.config.replace(tensorflow_padding=False)
    other = dataclasses.replace(fitting(options, old), config=config)
    with pytest.raises(CheckpointError, match=r"no backbone weights at none\.safetensors"):
        train(data, tmp_path / "run", other)


# runs


def test_a_run_begins_with_the_weights_and_keeps_landmarks_and_probes_of_its_own(
    data: Path, old: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    still = dataclasses.replace(
        options, steps=1, learning_rate=0.0, recognition_learning_rate=0.0,
        backbone_learning_rate=0.0,
    )  # fmt: skip
    before = load_checkpoint(old).model
    after = load_checkpoint(train(data, tmp_path / "run", still)).model
    assert_close(dict(after.named_parameters()), dict(before.named_parameters()), rtol=0, atol=0)
    assert after.language.landmarks is not None
    assert after.language.landmarks.shape != (8, 16)
    assert 0 < after.config.embedding.probes < 300


def test_a_run_learns_from_there(straight: Path, old: Path) -> None:
    before, after = (load_checkpoint(file).model for file in (old, straight / "model.safetensors"))
    changed = [
        not torch.equal(value, after.get_parameter(name))
        for name, value in before.named_parameters()
        if not name.startswith("backbone.features.") and value.ndim > 1
    ]
    assert all(changed)
    assert len(changed) > 10


def test_the_words_stay_those_of_the_model_and_new_ones_are_unknown(
    straight: Path, data: Path
) -> None:
    assert "a disc on grey" in (data / "train.jsonl").read_text()
    vocabulary = load_checkpoint(straight / "model.safetensors").vocabulary
    assert vocabulary.words == WORDS
    disc, on = WORDS.index("disc"), WORDS.index("on")
    assert vocabulary.encode("a disc on grey") == [1, disc, on, 0]


def test_a_run_tells_what_it_began_with(straight: Path, old: Path) -> None:
    told = load_checkpoint(straight / "model.safetensors").provenance
    sha256 = load_checkpoint(old).sha256
    assert told["began_with"] == {"name": "old", "sha256": sha256, "photos": 3}
    assert (told["photos"], told["options"]["start"]) == (4, "old.safetensors")
    assert str(old.parent) not in json.dumps(told)  # a path is nobody's business


def test_what_is_told_does_not_grow_from_start_to_start(tiny_checkpoint: Checkpoint) -> None:
    sizes = []
    for generation in range(4):
        told = provenance_of_start(dataclasses.replace(tiny_checkpoint, sha256=f"{generation}"))
        sizes.append(len(json.dumps(told)))
        provenance = {"photos": 1, "began_with": told}
        tiny_checkpoint = dataclasses.replace(tiny_checkpoint, provenance=provenance)
    assert told == {
        "name": "tiny",
        "sha256": "3",
        "photos": 1,
        "began_with": {"name": "tiny", "sha256": "2"},
    }
    assert sizes[1] == sizes[3]


def test_a_run_from_other_weights_resumes_to_the_last_bit(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path, options, on_progress=stop_at(2, KeyboardInterrupt()))
    assert state_of(tmp_path)["step"] == 2
    train(data, tmp_path, options, resume=True)
    assert_same_run(tmp_path, straight)
    ours, theirs = (
        load_checkpoint(run / "model.safetensors").provenance for run in (tmp_path, straight)
    )
    assert ours["began_with"] == theirs["began_with"]


def test_a_run_goes_on_with_the_file_that_it_began_with_wherever_it_lies(
    data: Path, old: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(straight, tmp_path / "run")
    moved = Path(shutil.copy(old, tmp_path))
    train(data, run, dataclasses.replace(options, start=moved), resume=True)

    other = load_checkpoint(old)
    save_checkpoint(moved, other.model, other.vocabulary, name="other", provenance={})
    with pytest.raises(UsageError) as caught:
        train(data, run, dataclasses.replace(options, start=moved), resume=True)
    assert str(caught.value) == (
        f"the run in {run} was started with other options or data (start); give the same, or "
        "start anew in another folder"
    )
    with pytest.raises(UsageError, match=r"with other options or data \(start\)"):
        train(data, run, dataclasses.replace(options, start=None, pretrained=False), resume=True)

    moved.unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*old\.safetensors$"):
        train(data, run, dataclasses.replace(options, start=moved), resume=True)


def test_a_run_does_not_write_over_what_it_begins_with(
    data: Path, old: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    kept = Path(shutil.copy(old, tmp_path / "model.safetensors"))
    with pytest.raises(UsageError) as caught:
        train(data, tmp_path, dataclasses.replace(options, start=kept))
    assert str(caught.value) == f"the run would write over {kept}; name another folder"
    assert kept.read_bytes() == old.read_bytes()
