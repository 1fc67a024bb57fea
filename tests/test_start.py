"""Start: a run begins with the network, the words and the weights of another."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import WORDS, tiny_config, tiny_model
from safetensors.torch import load_file, save_file
from test_fcln import photos
from test_training import assert_same_run, state_of, stop_at, write_photos
from torch.testing import assert_close

from dcsearch.errors import CheckpointError, UsageError
from dcsearch.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dcsearch.model.fcln import FCLN, FCLNConfig
from dcsearch.model.header import write_header
from dcsearch.training.landmarks import keep_landmarks
from dcsearch.training.loop import train
from dcsearch.training.options import TrainingOptions
from dcsearch.training.start import config_to_start, start_from, told_of_start
from dcsearch.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the tiny network, with landmarks and probes, as training leaves one."""
    path = tmp_path_factory.mktemp("old") / "old.safetensors"
    model = tiny_model()
    keep_landmarks(model, torch.rand(8, 16, generator=torch.Generator().manual_seed(0)))
    model.embedding.probes, model.embedding.level = torch.zeros(300, 128), torch.tensor(1.5)
    model.config = dataclasses.replace(model.config, probes=300)
    save_checkpoint(path, model, Vocabulary(WORDS), name="old", provenance={"photos": 3})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn photos to learn from and one to validate on; "grey" is a new word."""
    folder = tmp_path_factory.mktemp("data")
    write_photos(folder, "train.jsonl", 4)
    write_photos(folder, "val.jsonl", 1, first=4)
    return folder


def starting(old: Path, config: FCLNConfig) -> TrainingOptions:
    """Four short steps from old weights; there are none for the backbone."""
    return TrainingOptions(
        config=config,
        start=old,
        backbone_weights=Path("none.safetensors"),
        backbone_blocks_frozen=17,
        steps=4,
        batch_size=2,
        warm_up=1,
        bfloat16=False,
        validate_every=2,
        workers=0,
        device="cpu",
    )


@pytest.fixture(scope="module")
def options(old: Path) -> TrainingOptions:
    return starting(old, config_to_start(old))


@pytest.fixture(scope="module")
def straight(
    data: Path, options: TrainingOptions, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of four steps without interruption, to look at only."""
    output = tmp_path_factory.mktemp("straight") / "run"
    train(data, output, options)
    return output


def new_model(words: int = len(WORDS), **changes: Any) -> FCLN:
    """A new tiny network with other random weights."""
    torch.manual_seed(5)
    return FCLN(dataclasses.replace(tiny_config(), **changes), words=words).eval()


def in_context(old: Path) -> Checkpoint:
    """The old network with weights for the whole photo's code."""
    checkpoint = load_checkpoint(old)
    model = new_model(context="sum")
    start_from(model, checkpoint)
    assert model.language.context is not None
    torch.nn.init.normal_(model.language.context)
    return dataclasses.replace(checkpoint, model=model)


# weights


@pytest.mark.parametrize("changes", [{}, {"photo_side": 160, "final_overlap": 0.7}])
def test_a_network_begins_with_the_weights_of_another(changes: dict[str, Any], old: Path) -> None:
    model, checkpoint = new_model(**changes), load_checkpoint(old)
    start_from(model, checkpoint)
    expected = checkpoint.model.state_dict()
    for name in ("language.landmarks", "embedding.probes", "embedding.level"):
        del expected[name]
    assert_close(dict(model.state_dict()), dict(expected), rtol=0, atol=0)


def test_landmarks_and_probes_stay_with_the_weights_that_they_are_of(old: Path) -> None:
    kept = dataclasses.replace(tiny_config(), landmarks=8, probes=300)
    assert load_checkpoint(old).config == kept
    assert config_to_start(old) == tiny_config()


def test_a_context_begins_at_zero_and_says_what_the_old_network_says(old: Path) -> None:
    model, checkpoint = new_model(context="sum"), load_checkpoint(old)
    start_from(model, checkpoint)
    assert model.state_dict()["language.context"].tolist() == [[0.0] * 20] * 16
    for one, other in zip(model(photos(2)), checkpoint.model(photos(2)), strict=True):
        assert len(one.boxes) > 0
        for found, expected in zip(one, other, strict=True):
            assert_close(found, expected)


def test_a_context_that_was_learned_is_taken_over(old: Path) -> None:
    model, checkpoint = new_model(context="sum"), in_context(old)
    start_from(model, checkpoint)
    expected = checkpoint.model.state_dict()["language.context"]
    assert torch.equal(model.state_dict()["language.context"], expected)


@pytest.mark.parametrize(
    ("changes", "unlike"),
    [
        ({"words": 5}, "embedding.words.weight"),
        ({"language_hidden": 8}, "language.hidden_gates.weight"),
        ({"word_weight": 0.0}, "words.bias"),
        ({}, "language.context"),  # which the old network has
    ],
)
def test_other_weights_are_refused(changes: dict[str, Any], unlike: str, old: Path) -> None:
    checkpoint = load_checkpoint(old) if changes else in_context(old)
    model = new_model(**changes)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        start_from(model, checkpoint)
    assert str(caught.value) == (
        "the model to start with, 'old', has other weights than the network asked for "
        f"({unlike}); leave out --context or --joint-inference, or --start"
    )
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_a_config_that_cannot_be_read_is_named(old: Path, tmp_path: Path) -> None:
    path = tmp_path / "later.safetensors"
    header = write_header(name="later", config={"unheard_of": 1}, words=WORDS, provenance={})
    save_file(load_file(old), path, metadata=header)
    with pytest.raises(CheckpointError, match=r"later\.safetensors is damaged"):
        config_to_start(path)
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*none\.safetensors; name a"):
        config_to_start(tmp_path / "none.safetensors")


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
    assert 0 < after.config.probes < 300


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
        told = told_of_start(dataclasses.replace(tiny_checkpoint, sha256=f"{generation}"))
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
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*old\.safetensors; name a"):
        train(data, run, dataclasses.replace(options, start=moved), resume=True)


def test_a_run_does_not_write_over_what_it_begins_with(
    data: Path, old: Path, options: TrainingOptions, tmp_path: Path
) -> None:
    kept = Path(shutil.copy(old, tmp_path / "model.safetensors"))
    with pytest.raises(UsageError) as caught:
        train(data, tmp_path, dataclasses.replace(options, start=kept))
    assert str(caught.value) == f"the run would write over {kept}; name another folder"
    assert kept.read_bytes() == old.read_bytes()
