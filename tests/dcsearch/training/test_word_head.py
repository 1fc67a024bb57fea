"""The word head: part of the objective and of a run's state, not of a checkpoint."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.checkpoint.header import METADATA_KEY, read_header
from dcsearch.checkpoint.tensors import shape_problems
from dcsearch.errors import CheckpointError
from dcsearch.training.objective import Objective, make_word_head
from dcsearch.training.start import load_word_head, new_objective, start_fitting, start_from
from tests.conftest import WORDS, objective, tiny_config, tiny_model

HEAD = {
    "words.weight": torch.arange(17 * 16.0).reshape(17, 16) / 64,
    "words.bias": torch.arange(17.0) / 8,
}


def older(path: Path, source: Path, **head: torch.Tensor) -> Path:
    """A checkpoint as an older version wrote it, with a word head."""
    with safe_open(source, framework="numpy") as file:
        metadata = {METADATA_KEY: file.metadata()[METADATA_KEY]}
    save_file({**load_file(source), **{**HEAD, **head}}, path, metadata)
    return path


def test_a_checkpoint_has_no_word_head(tiny_checkpoint_path: Path) -> None:
    assert not any(name.startswith("words.") for name in load_file(tiny_checkpoint_path))
    assert load_checkpoint(tiny_checkpoint_path).word_head == {}
    assert not any(name.startswith("words.") for name in tiny_model().state_dict())


def test_an_older_checkpoint_is_the_same_network(
    tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    path = older(tmp_path / "older.safetensors", tiny_checkpoint_path)
    found, expected = load_checkpoint(path), load_checkpoint(tiny_checkpoint_path)
    assert_close(dict(found.model.state_dict()), dict(expected.model.state_dict()), rtol=0, atol=0)
    assert_close(found.word_head, HEAD, rtol=0, atol=0)
    assert shape_problems(read_header(path)) == []


def test_a_word_head_of_another_shape_is_damage(tiny_checkpoint_path: Path, tmp_path: Path) -> None:
    wrong = {"words.bias": torch.zeros(16)}
    path = older(tmp_path / "wrong.safetensors", tiny_checkpoint_path, **wrong)
    with pytest.raises(CheckpointError, match=r"wrong\.safetensors is damaged"):
        load_checkpoint(path)
    assert shape_problems(read_header(path)) == ["words.bias is 16, not 17"]


@pytest.mark.parametrize("fitting", [False, True])
def test_a_run_begins_with_the_word_head_of_an_older_file(
    fitting: bool, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    path = older(tmp_path / "older.safetensors", tiny_checkpoint_path)
    learned = new_objective(tiny_config(), words=len(WORDS))
    (start_fitting if fitting else start_from)(learned, load_checkpoint(path))
    assert learned.words is not None
    assert torch.equal(learned.words.weight, HEAD["words.weight"])
    assert torch.equal(learned.words.bias, HEAD["words.bias"])


def test_from_a_file_without_one_it_begins_at_random(tiny_checkpoint_path: Path) -> None:
    learned = objective(tiny_model(seed=1))
    assert learned.words is not None
    before = learned.words.weight.detach().clone()
    start_from(learned, load_checkpoint(tiny_checkpoint_path))
    assert torch.equal(learned.words.weight, before)
    assert before.std() > 0


def test_without_its_weight_there_is_none(tiny_checkpoint_path: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(older(tmp_path / "older.safetensors", tiny_checkpoint_path))
    learned = new_objective(tiny_config().replace(word_weight=0.0), words=len(WORDS))
    assert learned.words is None
    start_from(learned, checkpoint)
    load_word_head(learned, checkpoint)
    assert learned.words is None
    assert learned.weights().keys() == learned.network.state_dict().keys()


def test_its_draws_come_after_the_embeddings_and_before_all_that_follows() -> None:
    """So a seed means what it meant when the head was a layer of the network."""
    config = tiny_config().replace(initialisation="reference", joint_inference=True)
    torch.manual_seed(3)
    learned = new_objective(config, words=len(WORDS))
    torch.manual_seed(3)
    plain = new_objective(config.replace(joint_inference=False), words=len(WORDS))
    location = {name for name in learned.weights() if name.startswith("location.")}
    assert len(location) == 5
    own = {name: value for name, value in learned.weights().items() if name not in location}
    assert_close(own, dict(plain.weights()), rtol=0, atol=0)
    assert learned.words is not None
    gates = torch.cat([learned.words.weight.flatten(), learned.network.location.input_gates.weight
                       .flatten()])  # fmt: skip
    assert gates.unique().numel() == gates.numel()


def test_weights_go_into_a_state_and_back() -> None:
    learned, other = objective(tiny_model()), objective(tiny_model(seed=1))
    state = {name: value.clone() for name, value in learned.weights().items()}
    assert {name for name in state if name.startswith("words.")} == set(HEAD)
    other.load_weights(state)
    assert_close(dict(other.weights()), state, rtol=0, atol=0)
    with pytest.raises(RuntimeError):
        other.load_weights({name: own for name, own in state.items() if name != "words.bias"})


def test_optimizers_know_it_between_the_embedding_and_the_location_lstm() -> None:
    """The order in which older runs saved what their optimizers knew."""
    learned = new_objective(tiny_config().replace(joint_inference=True), words=len(WORDS))
    parts = [name.split(".")[0] for name, _ in learned.named_weights()]
    assert list(dict.fromkeys(parts)) == [
        *("backbone", "localization", "recognition", "language", "embedding", "words", "location")
    ]
    assert len(parts) == len({id(own) for _, own in learned.named_weights()})
    assert {own for _, own in learned.named_weights()} == set(learned.parameters())


def test_refining_takes_up_the_older_files_head(tiny_checkpoint_path: Path, tmp_path: Path) -> None:
    older_file = load_checkpoint(older(tmp_path / "older.safetensors", tiny_checkpoint_path))
    plain = dataclasses.replace(older_file, word_head={})
    for checkpoint, same in ((older_file, True), (plain, False)):
        learned = Objective(checkpoint.model, words=make_word_head(checkpoint.model))
        load_word_head(learned, checkpoint)
        assert learned.words is not None
        assert torch.equal(learned.words.weight, HEAD["words.weight"]) is same
