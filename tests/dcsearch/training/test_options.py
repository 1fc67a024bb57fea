"""Training options: the recipes number by number, and how processes share a step."""

import dataclasses
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from dcsearch.checkpoint.header import read_header
from dcsearch.errors import Cure, UsageError
from dcsearch.model import presets
from dcsearch.model.fcln import FCLN
from dcsearch.training.options import TrainingOptions


def test_the_paper_s_recipe_is_section_3_3() -> None:
    paper = TrainingOptions.paper()
    assert paper.config == presets.paper()
    assert paper.config.features.photo_side == 720
    assert (paper.config.features.backbone, paper.batch_size, paper.backbone_after) == (
        "vgg16",
        1,
        1.0,
    )
    rates = (paper.learning_rate, paper.recognition_learning_rate, paper.backbone_learning_rate)
    assert rates == (1e-6, 1e-6, 1e-6)
    assert (paper.backbone_momentum, paper.weight_decay) == (0.9, 0.0)
    assert (paper.cosine, paper.warm_up, paper.variation) == (False, 0, "none")
    assert (paper.averaging, paper.gradient_norm, paper.bfloat16) == (0.0, 0.0, False)


def test_the_paper_s_recipe_leaves_the_first_four_convolutions_as_they_are() -> None:
    paper = TrainingOptions.paper()
    small = paper.config.replace(
        grid=1, recognition_hidden=2, code_size=2, encoded_size=2, language_hidden=2
    )
    backbone = FCLN(small, words=2).backbone
    backbone.freeze(paper.backbone_blocks_frozen)
    learning = [p.requires_grad for p in backbone.parameters() if p.ndim == 4]
    assert learning == [False] * 4 + [True] * 9


def test_the_modern_recipe_trains_the_paper_s_network() -> None:
    modern, paper = TrainingOptions.modern(), TrainingOptions.paper()
    assert modern.config.objective.match_anchors
    assert modern.config.objective.recognised_boxes == 0  # no suppression while training
    assert modern.config.objective.normaliser_weight > 0
    assert (modern.variation, modern.bfloat16, modern.channels_last) == ("flips", True, True)
    assert (modern.cosine, modern.backbone_momentum) == (True, None)
    assert modern.warm_up > 0
    assert modern.batch_size > 1
    for shape in (
        *("backbone", "anchor_shapes", "proposal_hidden", "objectness_logits", "grid", "code_size"),
        *("recognition_hidden", "encoded_size", "encoding_normalised", "language_hidden"),
        *("embedding_size", "null_word", "photo_side"),
    ):
        assert modern.config.values()[shape] == paper.config.values()[shape]


def test_the_card_of_the_shipped_weights_has_the_commands_of_their_last_runs() -> None:
    """Of the runs before these two the file tells no more than which weights they made."""
    header = read_header(None)
    card = (header.path.parent / "default.md").read_text(encoding="utf-8")
    commands = re.findall(r"    dcsearch (\w+) (.*?[^\\])\n", card, re.DOTALL)
    runs = [dict(pairwise(words.split())) for name, words in commands if name == "train"]
    assert len(runs) == 6
    told = header.provenance
    for given in reversed(runs[4:]):
        for option, name in {
            "--steps": "steps",
            "--learning-rate": "learning_rate",
            "--recognition-rate": "recognition_learning_rate",
            "--backbone-rate": "backbone_learning_rate",
            "--warm-up": "warm_up",
            "--freeze": "backbone_blocks_frozen",
            "--rare": "rare",
            "--parts": "parts",
        }.items():
            assert float(given[option]) == told["options"][name], option
        assert int(given.get("--seed", 0)) == told["options"]["seed"]
        told = told["began_with"]
    assert "options" not in told or "began_with" in told
    assert int(runs[3]["--photo-side"]) == header.config.features.photo_side
    assert runs[1]["--context"] == header.config.language.context
    refining = [dict(pairwise(words.split())) for name, words in commands if name == "refine"]
    assert int(refining[-1]["--steps"]) == header.provenance["refined"]["steps"]
    assert header.sha256 in card


@pytest.mark.parametrize(
    ("batch", "parts", "processes", "computed"), [(16, 1, 1, 1), (16, 1, 4, 4), (16, 8, 4, 8)]
)
def test_every_process_has_a_part_at_least(
    batch: int, parts: int, processes: int, computed: int
) -> None:
    options = TrainingOptions(batch_size=batch, parts=parts).shared_by(processes)
    assert (options.parts, options.batch_size) == (computed, batch)


@pytest.mark.parametrize(
    ("options", "processes", "sentence", "cure"),
    [
        (
            TrainingOptions(parts=3),
            2,
            "2 processes cannot share 3 parts evenly",
            (Cure.MORE_PARTS, {"processes": 2}),
        ),
        (
            TrainingOptions.paper(),
            2,
            "a step of 1 photos cannot be computed in 2 parts",
            (Cure.FITTING_BATCH, {"parts": 2}),
        ),
    ],
)
def test_what_cannot_be_shared_evenly_is_refused(
    options: TrainingOptions, processes: int, sentence: str, cure: tuple[Cure, dict[str, int]]
) -> None:
    with pytest.raises(UsageError) as caught:
        options.shared_by(processes)
    assert str(caught.value) == sentence
    assert (caught.value.cure, caught.value.values) == cure


def test_options_are_compared_by_what_a_resumed_run_must_share() -> None:
    options = TrainingOptions.paper()
    saved = json.loads(json.dumps(options.lasting()))
    assert options.unlike(saved) == []
    passing = dataclasses.replace(options, workers=7, patience=0, backbone_weights=Path("w.st"))
    assert passing.unlike(saved) == []
    other = dataclasses.replace(options, seed=1, cosine=True, proposals=Path("boxes.jsonl"))
    assert other.unlike(saved) == ["proposals", "cosine", "seed"]
    with pytest.raises(TypeError):
        options.unlike({**saved, "unheard_of": 1})


def test_a_resumed_run_may_find_its_files_in_another_folder() -> None:
    options = TrainingOptions(start=Path("a/old.safetensors"), proposals=Path("a/boxes.jsonl"))
    saved = json.loads(json.dumps(options.lasting()))
    assert (saved["start"], saved["proposals"]) == ("old.safetensors", "boxes.jsonl")
    moved = dataclasses.replace(
        options, start=Path("b/old.safetensors"), proposals=Path("b/boxes.jsonl")
    )
    assert moved.unlike(saved) == []
    assert dataclasses.replace(options, start=Path("a/new.safetensors")).unlike(saved) == ["start"]
    assert dataclasses.replace(options, start=None).unlike(saved) == ["start"]
