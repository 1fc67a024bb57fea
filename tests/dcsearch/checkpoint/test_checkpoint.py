"""Checkpoint: a round trip, strictness, and one sentence for whatever else a file may be."""

import hashlib
import json
import math
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cli import cures
from dcsearch.checkpoint.checkpoint import (
    Checkpoint,
    default_checkpoint_path,
    load_checkpoint,
    save_checkpoint,
)
from dcsearch.checkpoint.header import read_header, write_header
from dcsearch.errors import CheckpointError
from dcsearch.model.config import FCLNConfig
from dcsearch.vocabulary import UNKNOWN, Vocabulary
from tests.conftest import WORDS, tiny_config, tiny_model
from tests.faults.trial import sentence
from tests.strategies import JSON, JSON_NUMBERS, TEXTS


def parts(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a checkpoint file."""
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["dcsearch"])


def write(path: Path, tensors: dict[str, Tensor], header: object) -> Path:
    """A file that says it is a checkpoint."""
    save_file(tensors, path, metadata={"dcsearch": json.dumps(header)})
    return path


def refusal(path: Path | None) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    sentence = cures.sentence(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 400
    return sentence


# whole files


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    model = tiny_model()
    path = tmp_path / "mine.safetensors"
    provenance = {"photos": 3, "notes": ["drawn", {"seed": 0}]}
    save_checkpoint(
        path, model, Vocabulary(WORDS), name="mine", provenance=provenance, dtype=torch.float32
    )
    loaded = load_checkpoint(path)
    assert loaded.name == "mine"
    assert loaded.config == model.config
    assert loaded.vocabulary.words == WORDS
    assert loaded.provenance == provenance
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.model.state_dict().keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value), key


def test_weights_are_stored_in_half_and_loaded_in_full_ready_to_answer(
    tiny_checkpoint_path: Path,
) -> None:
    tensors, _ = parts(tiny_checkpoint_path)
    assert {value.dtype for value in tensors.values()} == {torch.float16, torch.int64}
    model = load_checkpoint(tiny_checkpoint_path).model
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    for key, value in tiny_model().state_dict().items():
        assert_close(model.state_dict()[key], value, rtol=1e-3, atol=1e-6)


def test_what_is_saved_again_is_the_same_to_the_byte(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    again = tmp_path / "again.safetensors"
    save_checkpoint(
        again, tiny_checkpoint.model, tiny_checkpoint.vocabulary, name=tiny_checkpoint.name,
        provenance=tiny_checkpoint.provenance,
    )  # fmt: skip
    assert load_checkpoint(again).sha256 == tiny_checkpoint.sha256


def test_a_loaded_network_answers_like_the_saved_one(tmp_path: Path) -> None:
    model, path = tiny_model(), tmp_path / "full.safetensors"
    save_checkpoint(path, model, Vocabulary(WORDS), name="full", provenance={},
                    dtype=torch.float32)  # fmt: skip
    photo = torch.randint(
        0, 256, (1, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    assert_close(load_checkpoint(path).model(photo), model(photo))


def test_saving_replaces_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    save_checkpoint(path, tiny_model(), Vocabulary(WORDS), name="new", provenance={})
    assert load_checkpoint(path).name == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_save_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, tiny_model(), Vocabulary(WORDS), name="old", provenance={})
    with pytest.raises(TypeError):
        save_checkpoint(
            path, tiny_model(), Vocabulary(WORDS), name="new", provenance={"bad": object()}
        )
    assert load_checkpoint(path).name == "old"


def test_the_default_checkpoint_lies_inside_the_package() -> None:
    path = default_checkpoint_path()
    assert path.parts[-3:] == ("dcsearch", "weights", "default.safetensors")


def test_no_path_means_the_default_checkpoint(
    tiny_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dcsearch.checkpoint.header.default_checkpoint_path", lambda: tiny_checkpoint_path
    )
    assert load_checkpoint().name == "tiny"


def test_the_header_tells_what_the_checkpoint_is_without_loading_torch(
    tiny_checkpoint: Checkpoint, tiny_checkpoint_path: Path
) -> None:
    header = read_header(tiny_checkpoint_path)
    assert header.path == tiny_checkpoint_path
    assert (header.name, header.sha256) == ("tiny", tiny_checkpoint.sha256)
    assert header.config == FCLNConfig.from_json(header.recorded_config) == tiny_checkpoint.config
    assert header.words == WORDS
    assert header.provenance == {"seed": 0}
    program = (
        "import pathlib, sys; from dcsearch.checkpoint.header import read_header; "
        f"read_header(pathlib.Path({str(tiny_checkpoint_path)!r})); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])


# tensors that do not fit


def test_a_missing_tensor_is_refused(tiny_checkpoint_path: Path, tmp_path: Path) -> None:
    tensors, header = parts(tiny_checkpoint_path)
    del tensors["language.output.bias"]
    assert "damaged" in refusal(write(tmp_path / "bad.safetensors", tensors, header))


def test_a_tensor_too_many_is_refused(tiny_checkpoint_path: Path, tmp_path: Path) -> None:
    tensors, header = parts(tiny_checkpoint_path)
    tensors["language.extra"] = torch.zeros(1)
    assert "damaged" in refusal(write(tmp_path / "bad.safetensors", tensors, header))


@pytest.mark.parametrize("shape", [(7, 16), (17,), (1, 18, 16), (0,)])
def test_a_misshapen_tensor_is_refused(
    shape: tuple[int, ...], tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    tensors, header = parts(tiny_checkpoint_path)
    assert tensors["language.embedding.weight"].shape == (18, 16)
    tensors["language.embedding.weight"] = torch.zeros(shape, dtype=torch.float16)
    assert "damaged" in refusal(write(tmp_path / "bad.safetensors", tensors, header))


def test_a_tensor_of_whole_numbers_is_refused(tiny_checkpoint_path: Path, tmp_path: Path) -> None:
    tensors, header = parts(tiny_checkpoint_path)
    tensors["language.output.bias"] = tensors["language.output.bias"].long()
    assert "damaged" in refusal(write(tmp_path / "bad.safetensors", tensors, header))


def test_a_vocabulary_of_another_size_is_refused(
    tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    tensors, header = parts(tiny_checkpoint_path)
    header["words"].append("zebra")
    assert "damaged" in refusal(write(tmp_path / "bad.safetensors", tensors, header))


# descriptions that do not fit


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("words", []),
        ("words", ["a", "b"]),
        ("words", [UNKNOWN, "a"] + ["dog"] * (len(WORDS) - 2)),
        ("words", [UNKNOWN, *range(len(WORDS) - 1)]),
        ("words", None),
        ("words", "<unk>"),
        ("name", None),
        ("provenance", None),
        ("config", None),
        ("config", [1, 2]),
        ("format", "endless" * 100),
        ("match", {"score": "evidence", "scores": [math.inf, math.inf], "shares": [0, 1]}),
        ("config.colour", "blue"),
        ("config.backbone", "resnet"),
        ("config.grid", "seven"),
        ("config.grid", 7.5),
        ("config.grid", None),
        ("config.grid", -7),
        ("config.anchor_shapes", None),
        ("config.anchor_shapes", [1, 2, 3]),
        ("config.anchor_shapes", [["a", "b"]] * 3),
        ("config.anchor_shapes", [[8.0, -8.0]] * 3),
        ("config.photo_side", "wide"),
        ("config.photo_side", 0),
        ("config.photo_side", 10**9),
        ("config.side_multiple", 0),
        ("config.longest_caption", "five"),
        ("config.proposals", None),
        ("config.proposals", -1),
        ("config.final_overlap", "half"),
        ("config.recognition_dropout", 7.0),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(
    field: str, value: object, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    """Now, and not when the first photo comes."""
    tensors, header = parts(tiny_checkpoint_path)
    *within, key = field.split(".")
    (header["config"] if within else header)[key] = value
    assert "damaged" in refusal(write(tmp_path / "bad.safetensors", tensors, header))


@pytest.mark.parametrize(
    "field",
    [
        "format",
        "name",
        "words",
        "config",
        "provenance",
        "config.grid",
        "config.proposals",
    ],
)
def test_a_description_that_lacks_a_field_is_refused(
    field: str, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    tensors, header = parts(tiny_checkpoint_path)
    *within, key = field.split(".")
    del (header["config"] if within else header)[key]
    assert "damaged" in refusal(write(tmp_path / "bad.safetensors", tensors, header))


@pytest.mark.parametrize("header", ["text", 3, None, [], {}])
def test_a_description_that_is_no_object_is_refused(
    header: object, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    tensors, _ = parts(tiny_checkpoint_path)
    assert "damaged" in refusal(write(tmp_path / "bad.safetensors", tensors, header))


HEADER: dict[str, Any] = {
    **json.loads(
        write_header(name="tiny", config=tiny_config(), words=WORDS, provenance={})["dcsearch"]
    ),
    "match": {"score": "evidence", "scores": [-1.0, 1.0], "shares": [0.25, 0.75]},
}
SHARES = st.lists(st.sampled_from([0, 0.5, 1, math.inf, math.nan]) | JSON_NUMBERS, max_size=3)
CHANGES = {
    "format": st.sampled_from([1, 2, True, 1.0]) | TEXTS | JSON,
    "name": TEXTS | JSON,
    "config": JSON
    | st.dictionaries(st.sampled_from(sorted(HEADER["config"])), JSON, max_size=2).map(
        lambda changes: HEADER["config"] | changes
    ),
    "words": st.lists(TEXTS, max_size=3) | JSON,
    "provenance": st.dictionaries(TEXTS, JSON, max_size=2) | JSON,
    "match": st.fixed_dictionaries(
        {"score": st.just("evidence") | JSON, "scores": SHARES, "shares": SHARES}
    )
    | JSON,
}


@given(
    header=st.one_of([st.fixed_dictionaries({key: CHANGES[key]}) for key in CHANGES]).map(
        lambda change: HEADER | change
    )
    | JSON
)
@example(header=HEADER | {"format": "1\n2"})
def test_any_json_whatever_is_a_header_or_refused(header: object, header_path: Path) -> None:
    write(header_path, {"a": torch.zeros(1)}, header)
    try:
        read_header(header_path)
    except CheckpointError as error:
        sentence(error)


@pytest.fixture(scope="session")
def header_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for files that say they are checkpoints."""
    return tmp_path_factory.mktemp("headers") / "any.safetensors"


@pytest.mark.parametrize("text", ["", "{", "NaN{", "[" * 100_000])
def test_a_description_that_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"dcsearch": text})
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("number", [0, 2, 99, "1", None])
def test_another_format_names_itself_and_the_cure(
    number: object, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    tensors, header = parts(tiny_checkpoint_path)
    header["format"] = number
    path = write(tmp_path / "new.safetensors", tensors, header)
    assert refusal(path) == (
        f"{path} is of checkpoint format {number}, this dcsearch reads 1; "
        "install the dcsearch that made it"
    )


class Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers the largest tensor that takes memory."""

    largest = 0

    def __torch_dispatch__(
        self,
        function: Any,
        types: Any,
        arguments: tuple[Any, ...] = (),
        named: dict[str, Any] | None = None,
    ) -> Any:
        result = function(*arguments, **(named or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.device.type != "meta":
                self.largest = max(self.largest, leaf.numel())
        return result


@pytest.mark.parametrize(
    "sizes",
    [
        {"recognition_hidden": 2_000_000},
        {"code_size": 10**9, "encoded_size": 10**9},
        {"language_hidden": 2**31},
        {"feature_channels": 2**40},
        {"grid": 10**6},
        {"grid": 10**12, "recognition_hidden": 10**12},
        {"proposal_hidden": 2**62},
        {"language_hidden": 2**63},
        {"encoded_size": 10**30},
        {"code_size": 0},
        {"language_hidden": 0, "encoded_size": 0},
        {"recognition_hidden": -5},
    ],
)
def test_absurd_sizes_are_refused_without_taking_memory(
    sizes: dict[str, int], tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    tensors, header = parts(tiny_checkpoint_path)
    header["config"].update(sizes)
    path = write(tmp_path / "huge.safetensors", tensors, header)
    with Allocations() as allocations:  # type: ignore[no-untyped-call]
        assert "damaged" in refusal(path)
    assert allocations.largest < 1_000_000


# files that are something else


def test_a_missing_file_says_how_to_come_by_one(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    assert refusal(path) == (
        f"no checkpoint at {path}; name a .safetensors file made by: dcsearch train"
    )


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"checkpoint {tmp_path} cannot be read (Is a directory); name another"
    )


def test_a_path_through_a_file_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be read" in refusal(tmp_path / "file" / "model.safetensors")


def test_safetensors_of_somebody_else_are_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    expected = f"{path} holds weights but was not made by dcsearch; name another"
    assert refusal(path) == expected
    save_file({"weight": torch.zeros(3)}, path, metadata={"format": "pt"})
    assert refusal(path) == expected


def png(path: Path) -> None:
    Image.new("RGB", (60, 40), "red").save(path, format="PNG")


FOREIGN: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("weights go here\n"),
    "png": png,
    "torch": lambda path: torch.save({"weight": torch.zeros(3)}, path),
    "zeros": lambda path: path.write_bytes(bytes(1000)),
    "endless header": lambda path: path.write_bytes(struct.pack("<Q", 2**63) + b"{}"),
    "short header": lambda path: path.write_bytes(struct.pack("<Q", 100) + b"{}"),
    "no json": lambda path: path.write_bytes(struct.pack("<Q", 4) + b"\xff\xfe{}"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_no_checkpoint(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    FOREIGN[kind](path)
    assert refusal(path) == f"{path} is damaged or no checkpoint of dcsearch; name another"


def test_a_truncated_file_is_refused_wherever_it_ends(
    tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    whole = tiny_checkpoint_path.read_bytes()
    path = tmp_path / "part.safetensors"
    header = 8 + int.from_bytes(whole[:8], "little")
    for length in (1, 7, 8, 9, header // 2, header, header + 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "damaged" in refusal(path)
    path.write_bytes(whole + b"more")
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("seed", range(50))
def test_scrambled_bytes_load_or_are_refused_and_nothing_else(
    seed: int, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    """A byte of a weight may change unseen; the description and the layout may not."""
    chance = random.Random(seed)
    content = bytearray(tiny_checkpoint_path.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    reach = chance.choice([8, 400, header, header])
    for _ in range(chance.choice([1, 1, 2, 20])):
        content[chance.randrange(reach)] = chance.choice([0, 34, 48, 57, 93, 123, 125, 255])
    path = tmp_path / "scrambled.safetensors"
    path.write_bytes(content)
    refused = ""
    try:
        loaded = load_checkpoint(path)
    except CheckpointError as error:
        refused = str(error)
    if refused:
        assert str(path) in refused
        assert "\n" not in refused
    else:
        photo = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
        assert len(loaded.model(photo)) == 1
