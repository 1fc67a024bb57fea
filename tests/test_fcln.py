"""FCLN: the paper's numbers, regions of photos, and losses whose gradient goes where it should."""

import dataclasses
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import WORDS, tiny_config, tiny_model
from torch import Tensor
from torch.testing import assert_close
from torchvision.ops import box_iou, nms

from dcsearch.boxes import clip, decode_offsets
from dcsearch.model.fcln import (
    FCLN,
    FCLNConfig,
    PhraseTarget,
    Regions,
    Target,
    caption_tokens,
    compatible_phrases,
)
from dcsearch.model.losses import Losses

DIFFERENCES = (Path(__file__).parents[1] / "docs" / "paper.md").read_text(encoding="utf-8")


def paper_network(words: int = 10_497) -> FCLN:
    """The paper's network without memory for its weights."""
    with torch.device("meta"):
        return FCLN(FCLNConfig.paper(), words=words)


def reference_network(words: int) -> FCLN:
    """The reference code's, likewise."""
    with torch.device("meta"):
        return FCLN(FCLNConfig.reference(), words=words)


def parameters(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def photos(count: int, *, seed: int = 0, height: int = 96, width: int = 128) -> Tensor:
    """Photos of large coloured blocks (count, 3, height, width), uint8."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, height // 16, width // 16)
    blocks = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return blocks.repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)


def phrase(*tokens: int) -> PhraseTarget:
    return PhraseTarget(list(tokens), frozenset(tokens))


TARGET = Target(
    torch.tensor([[10.0, 10.0, 60.0, 60.0], [50.0, 20.0, 120.0, 90.0]]),
    [[phrase(1, 3, 6), phrase(2, 6)], [phrase(1, 7)]],
)
NOTHING = Target(torch.zeros(0, 4), [])
SILENT = Target(torch.tensor([[10.0, 10.0, 60.0, 60.0]]), [[]])


def configured(**changes: Any) -> FCLN:
    """The tiny network with a changed config and the same weights."""
    model = tiny_model()
    model.config = dataclasses.replace(model.config, **changes)
    return model


def losses_of(model: FCLN, targets: list[Target], *, seed: int = 0) -> Losses:
    """Losses with seeded draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.losses(photos(len(targets)), targets)


# the config


@pytest.mark.parametrize(
    "config", [FCLNConfig.reference(), FCLNConfig.paper(), FCLNConfig.small(), tiny_config()]
)
def test_a_config_survives_json(config: FCLNConfig) -> None:
    assert FCLNConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_config_with_a_field_too_many_or_too_few_is_refused() -> None:
    values = FCLNConfig.small().to_json()
    with pytest.raises(TypeError, match="colour"):
        FCLNConfig.from_json({**values, "colour": "blue"})
    del values["grid"]
    with pytest.raises(TypeError, match="grid"):
        FCLNConfig.from_json(values)


def test_a_config_from_before_the_embedding_has_none() -> None:
    values = FCLNConfig.small().to_json()
    for name in ("embedding_size", "contrast_weight", "normaliser_weight"):
        del values[name]
    config = FCLNConfig.from_json(values)
    assert (config.embedding_size, config.contrast_weight, config.normaliser_weight) == (0, 0, 0)


def test_a_config_from_before_the_reference_code_was_followed_stays_what_it_was() -> None:
    """Its fields have defaults that change nothing of an older network."""
    values = FCLNConfig.small().to_json()
    added = {
        "inclusive_pixels": False, "ceil_pooling": True, "objectness_logits": 1, "null_word": False,
        "says_unknown": False, "initialisation": "he", "reference_training": False,
        "caption_mean": "words", "pull_weight": 0.0, "context": "none",
    }  # fmt: skip
    assert {name: values.pop(name) for name in added} == added
    assert FCLNConfig.from_json(values) == FCLNConfig.small()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("objectness_logits", value) for value in (0, 3, True, 2.0)),
        *(("initialisation", value) for value in ("", "he ", None, ["he"])),
        *[("caption_mean", "median"), ("null_word", 1), ("pull_weight", -1e-9)],
    ],
)
def test_a_choice_that_is_none_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{field} cannot be "):
        dataclasses.replace(FCLNConfig.reference(), **{field: value})  # type: ignore[arg-type]


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FCLNConfig.small().grid = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("config", "photo", "size"),
    [
        (FCLNConfig.paper(), (720, 540), (720, 540)),
        (FCLNConfig.paper(), (1440, 1080), (720, 540)),
        (FCLNConfig.paper(), (300, 600), (360, 720)),  # small photos are enlarged
        (FCLNConfig.small(), (640, 480), (384, 288)),
        (FCLNConfig.small(), (480, 640), (288, 384)),
        (FCLNConfig.small(), (500, 333), (384, 256)),
        (FCLNConfig.small(), (1, 1), (384, 384)),
        (FCLNConfig.small(), (10_000, 20), (384, 128)),  # not thinner than four multiples
        (FCLNConfig.small(), (20, 10_000), (128, 384)),
        (FCLNConfig.paper(), (10_000, 20), (720, 16)),
        (FCLNConfig.reference(), (10_000, 20), (720, 16)),
        (FCLNConfig.reference(), (500, 333), (720, 479)),  # 479.52
        (FCLNConfig.reference(), (334, 500), (480, 720)),  # 480.96, rounded down
        (FCLNConfig.reference(), (1023, 682), (720, 480)),  # 480 exactly
    ],
)
def test_the_size_at_which_the_network_sees_a_photo(
    config: FCLNConfig, photo: tuple[int, int], size: tuple[int, int]
) -> None:
    assert config.photo_size(*photo) == size


# the paper's network


def test_the_papers_network_has_the_papers_parameters() -> None:
    model = paper_network()
    assert parameters(model.backbone) == 14_714_688 == 260_160 + 14_454_528
    fc6, fc7 = model.recognition.fc6, model.recognition.fc7
    assert (fc6.in_features, fc6.out_features) == (7 * 7 * 512, 4096)
    assert (fc7.in_features, fc7.out_features) == (4096, 4096)
    assert parameters(fc6, fc7) == (25_088 * 4096 + 4096) + (4096 * 4096 + 4096) == 119_545_856
    # A 3 x 3 convolution with 256 filters, then 5 k = 60 outputs: a score and four offsets.
    localization = (512 * 9 * 256 + 256) + (256 * 60 + 60)
    assert parameters(model.localization) == localization
    assert parameters(model.recognition.objectness, model.recognition.offsets) == 5 * 4096 + 5
    language = (
        (4096 * 512 + 512)  # encoder
        + 10_498 * 512  # words, and START
        + (1024 * 2048 + 2048)  # LSTM
        + (512 * 10_498 + 10_498)  # words, and END
    )
    assert parameters(model.language) == language
    # The reference code has 150,437,263: it scores anchors with two numbers instead of one
    # (12 x 257 more) and embeds a padding word (512 more), and is otherwise the same.
    assert parameters(model) == 150_437_263 - 12 * 257 - 512


def test_the_reference_codes_network_has_the_parameters_that_a_user_of_it_printed() -> None:
    """Its issue 22 prints 135,734,875 of the network and 14,454,528 of the CNN that may learn; the
    first four convolutions have 260,160. That is Visual Genome's vocabulary of 10,509 words."""
    model = reference_network(10_509)
    fixed = sum(parameters(block) for block in model.backbone.blocks()[:10])
    learns = sum(parameters(block) for block in model.backbone.blocks()[10:])
    assert (fixed, learns) == (260_160, 14_454_528)
    assert parameters(model) - fixed - learns == 135_734_875
    assert parameters(model) == 150_449_563
    assert parameters(reference_network(10_497)) == 150_437_263


def test_a_word_more_costs_its_embedding_and_its_output() -> None:
    assert parameters(paper_network(101)) - parameters(paper_network(100)) == 512 + 513


@pytest.mark.parametrize(("made", "rows"), [(paper_network, 33), (reference_network, 34)])
def test_the_network_makes_12_anchors_a_cell_of_720_by_540(
    made: Callable[[int], FCLN], rows: int
) -> None:
    """The first cell is centred at pixel 8.5 counted from 1, or at 8 from the photo's edge."""
    model = made(9)
    features = model.backbone(torch.empty(1, 3, 540, 720, device="meta"))
    assert features.shape == (1, 512, rows, 45)
    with torch.device("cpu"):
        candidates = model.localization.to_empty(device="cpu")(torch.zeros(1, 512, rows, 45))
    assert len(candidates.anchors) == 12 * 45 * rows == {33: 17_820, 34: 18_360}[rows]
    assert candidates.anchors[0].tolist() == [8 - 22.5, 8 - 45, 8 + 22.5, 8 + 45]
    assert candidates.objectness.shape == (1, 12 * 45 * rows)


def test_the_papers_config_holds_the_papers_numbers() -> None:
    paper = FCLNConfig.paper()
    assert (paper.grid, paper.proposal_hidden, paper.proposals) == (7, 256, 300)
    assert (paper.code_size, paper.encoded_size, paper.language_hidden) == (4096, 512, 512)
    assert (paper.sampled_boxes, paper.positive_overlap, paper.negative_overlap) == (256, 0.7, 0.3)
    assert paper.recognised_boxes == 0  # the mini-batch itself
    assert not paper.match_anchors
    assert paper.proposals_considered == paper.described_regions == 0  # all of them
    assert not paper.annotated_boxes
    assert paper.recognition_dropout == 0.5


def test_the_configs_differ_where_the_paper_and_its_code_do_and_nowhere_else() -> None:
    """docs/paper.md has a row for each."""
    reference, paper = FCLNConfig.reference().to_json(), FCLNConfig.paper().to_json()
    assert {
        name: (paper[name], reference[name]) for name in paper if paper[name] != reference[name]
    } == {
        "ceil_pooling": (False, True),
        "objectness_logits": (1, 2),
        "null_word": (False, True),
        "longest_caption": (10, 15),
        "proposals": (300, 1000),
        "initialisation": ("paper", "reference"),
        "reference_training": (False, True),
        "proposal_box_weight": (0.1, 0.05),
        "caption_mean": ("words", "captions"),
        "pull_weight": (0.0, 5e-5),
    }
    assert all(f"`{name}`" in DIFFERENCES for name in paper if paper[name] != reference[name])


def test_the_reference_config_holds_the_reference_codes_numbers() -> None:
    reference = FCLNConfig.reference()
    assert (reference.proposals, reference.proposals_considered) == (1000, 0)
    assert (reference.proposal_overlap, reference.final_overlap) == (0.7, 0.3)
    assert (reference.positive_overlap, reference.negative_overlap) == (0.7, 0.3)
    assert (reference.longest_caption, reference.photo_side, reference.side_multiple) == (
        15,
        720,
        1,
    )
    assert loss_weights(reference_network(9)) == {
        **{"proposal_objectness": 0.1, "proposal_box": 0.05, "objectness": 0.1, "box": 0.1},
        **{"joint_box": 0.1, "caption": 1.0, "pull": 5e-5},
        **{"discrimination": 0.0, "word": 0.0, "contrast": 0.0, "normaliser": 0.0},
    }


def test_the_papers_loss_weighs_captions_one_boxes_and_objectness_a_tenth() -> None:
    assert loss_weights(paper_network()) == {
        "proposal_objectness": 0.1,
        "proposal_box": 0.1,
        "objectness": 0.1,
        "box": 0.1,
        "joint_box": 0.1,
        "caption": 1.0,
        "discrimination": 0.0,
        "word": 0.0,
        "contrast": 0.0,
        "normaliser": 0.0,
        "pull": 0.0,
    }


def test_the_total_weighs_each_term_by_its_own_weight() -> None:
    own = [name for name in Losses._fields if name != "joint_box"]
    weights = {name: 2.0**power for power, name in enumerate(own)}
    model = configured(**{f"{name}_weight": weight for name, weight in weights.items()})
    assert loss_weights(model) == {**weights, "joint_box": weights["box"]}


def loss_weights(model: FCLN) -> dict[str, float]:
    """What one unit of each loss adds to the total."""
    weights = {}
    for name in Losses._fields:
        unit = {other: torch.tensor(float(other == name)) for other in Losses._fields}
        weights[name] = round(model.total(Losses(**unit)).item(), 6)
    return weights


# regions


def test_regions_are_inside_the_photo_best_first_and_apart() -> None:
    model = tiny_model()
    seen = model(photos(3))
    assert len(seen) == 3
    for regions in seen:
        assert 1 < len(regions.boxes) <= model.config.proposals
        assert len(regions.boxes) == len(regions.objectness) == len(regions.encoded)
        assert (regions.boxes >= 0).all()
        assert (regions.boxes[:, 0::2] <= 128).all()
        assert (regions.boxes[:, 1::2] <= 96).all()
        assert (regions.boxes[:, 2:] >= regions.boxes[:, :2]).all()
        assert (regions.objectness.diff() <= 0).all()
        overlap = box_iou(regions.boxes, regions.boxes).fill_diagonal_(0).nan_to_num()
        assert overlap.max() <= model.config.final_overlap
        assert regions.encoded.shape[1] == model.config.encoded_size
        assert regions.encoded.min() >= 0


def test_no_region_is_empty() -> None:
    """A proposal that lies beyond the photo's edge is nothing once it has been cut."""
    model = tiny_model()
    with torch.no_grad():
        model.get_parameter("localization.offsets.bias")[0::4] += 3.0  # three widths to the right
    for regions in model(photos(3)):
        assert len(regions.boxes) > 0
        assert (regions.boxes[:, 2:] > regions.boxes[:, :2]).all()


def test_at_most_the_wanted_number_of_regions_and_those_the_best() -> None:
    model, pixels = tiny_model(), photos(2)
    for few, every in zip(model(pixels, most=4), model(pixels), strict=True):
        assert_close(few, Regions(*(part[:4] for part in every)))


def test_photos_in_a_batch_are_photos_one_at_a_time() -> None:
    model, pixels = tiny_model(), photos(4)
    for together, photo in zip(model(pixels), pixels, strict=True):
        (alone,) = model(photo[None])
        assert_close(together, alone, rtol=1e-4, atol=1e-3)


def test_the_final_suppression_before_decoding_says_what_it_would_after() -> None:
    """Decoding every proposal and then suppressing gives the same boxes, codes and captions."""
    suppressed = 0
    for seed in range(4):
        model, pixels = tiny_model(seed), photos(2, seed=seed)
        regions = model(pixels)
        overlap = model.config.final_overlap
        model.config = dataclasses.replace(model.config, final_overlap=1.0)
        everything = model(pixels)
        for kept, found in zip(regions, everything, strict=True):
            spoken = caption_tokens(model, found.encoded)
            chosen = nms(found.boxes, found.objectness, overlap)
            suppressed += len(found.boxes) - len(kept.boxes)
            assert torch.equal(found.boxes[chosen], kept.boxes)
            assert torch.equal(found.objectness[chosen], kept.objectness)
            assert_close(found.encoded[chosen], kept.encoded)
            assert caption_tokens(model, kept.encoded) == [spoken[i] for i in chosen]
    assert suppressed > 10


def test_captions_never_say_unknown_and_are_not_longer_than_the_longest() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.language.output.bias[0] = 50.0
    (regions,) = model(photos(1))
    captions = caption_tokens(model, regions.encoded)
    assert len(captions) == len(regions.boxes)
    assert max(map(len, captions)) == model.config.longest_caption
    assert not any(0 in caption for caption in captions)
    assert all(token < len(WORDS) for caption in captions for token in caption)


@pytest.mark.parametrize("counts", [[0, 3], [2, 0], [0, 0]])
def test_photos_without_proposals_have_no_regions(counts: list[int]) -> None:
    model = tiny_model()
    features = model.backbone(model.backbone.normalise(photos(2)))
    proposals = [TARGET.boxes.repeat(2, 1)[:count] for count in counts]
    seen = model.recognise(features, proposals, width=128, height=96, most=None)
    for regions, count in zip(seen, counts, strict=True):
        assert (len(regions.boxes) > 0) == (count > 0)
        assert regions.encoded.shape[1] == model.config.encoded_size
    assert caption_tokens(model, seen[counts.index(0)].encoded) == []


def moving(seed: int = 0) -> FCLN:
    """The tiny network with offsets that move boxes, which a new recognition network's do not."""
    model = tiny_model(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.nn.init.normal_(model.recognition.offsets.weight, std=0.05)
    return model


# A box, its twin, a small one, one over the edge, an empty one and all of the photo.
GIVEN = torch.tensor(
    [
        *([10.0, 10, 60, 60], [10, 10, 60, 60], [5, 5, 5.5, 5.5]),
        *([100, 60, 130, 100], [70, 70, 70, 70], [0, 0, 128, 96]),
    ]
)


def test_given_boxes_are_recognised_in_their_order_and_none_is_left_out() -> None:
    model, pixels = moving(), photos(2)
    with torch.no_grad():
        features = model.features(pixels)
        found = model.recognise_given(features, [GIVEN, GIVEN[3:]], width=128, height=96)
        for photo, (own, given) in enumerate(zip(found, [GIVEN, GIVEN[3:]], strict=True)):
            assert torch.equal(own.boxes, given)
            sampled = model.interpolate(features[photo : photo + 1], [given], width=128, height=96)
            recognised = model.recognition(sampled)
            assert_close(own.objectness, recognised.objectness)
            assert_close(own.encoded, model.language.encode(recognised.codes))
    assert torch.equal(found[0].encoded[0], found[0].encoded[1])
    assert not torch.allclose(found[0].encoded[0], found[0].encoded[5])


def test_given_boxes_may_be_moved_to_their_final_ones() -> None:
    model, pixels = moving(), photos(1)
    features = model.features(pixels)
    (still,) = model.recognise_given(features, [GIVEN], width=128, height=96)
    (moved,) = model.recognise_given(features, [GIVEN], width=128, height=96, moved=True)
    with torch.no_grad():
        sampled = model.interpolate(features, [GIVEN], width=128, height=96)
        offsets = model.recognition(sampled).offsets
    assert_close(moved.boxes, clip(decode_offsets(GIVEN, offsets), 128, 96))
    assert (moved.boxes - GIVEN).abs().max() > 0.5
    assert torch.equal(moved.objectness, still.objectness)
    assert torch.equal(moved.encoded, still.encoded)


@pytest.mark.parametrize("counts", [[0, 3], [2, 0], [0, 0]])
def test_photos_without_given_boxes_have_no_regions(counts: list[int]) -> None:
    model = tiny_model()
    given = [GIVEN[:count] for count in counts]
    found = model.recognise_given(model.features(photos(2)), given, width=128, height=96)
    assert [len(own.boxes) for own in found] == counts
    for own, count in zip(found, counts, strict=True):
        assert own.objectness.shape == (count,)
        assert own.encoded.shape == (count, model.config.encoded_size)


def test_recognising_given_boxes_leaves_no_graph() -> None:
    model = tiny_model()
    (found,) = model.recognise_given(model.features(photos(1)), [GIVEN], width=128, height=96)
    assert not any(part.requires_grad for part in found)


def test_regions_are_given_proposals_less_what_is_suppressed() -> None:
    """Test time is recognition of the proposals, final boxes, and non-maximum suppression."""
    model, pixels = moving(), photos(2)
    with torch.no_grad():
        features = model.features(pixels)
        candidates = model.localization(features)
    proposals = [model.proposals(candidates, own, width=128, height=96) for own in range(2)]
    found = model.recognise_given(features, proposals, width=128, height=96, moved=True)
    for own, regions in zip(found, model(pixels), strict=True):
        kept = nms(own.boxes, own.objectness, model.config.final_overlap)
        wide = (own.boxes[kept, 2:] - own.boxes[kept, :2]).amin(dim=1) >= 1
        assert_close(regions.boxes, own.boxes[kept][wide], rtol=1e-4, atol=1e-3)
        assert_close(regions.encoded, own.encoded[kept][wide], rtol=1e-3, atol=1e-4)


def test_boxes_that_are_not_moved_are_proposals() -> None:
    model, pixels = moving(), photos(2)
    with torch.no_grad():
        candidates = model.localization(model.features(pixels))
    for photo, (still, moved) in enumerate(
        zip(model(pixels, moved=False), model(pixels), strict=True)
    ):
        proposals = model.proposals(candidates, photo, width=128, height=96).detach()
        near = torch.cdist(still.boxes, proposals, p=torch.inf).amin(dim=1)
        assert near.max() < 1e-3
        assert torch.cdist(moved.boxes, proposals, p=torch.inf).amin(dim=1).max() > 0.5
        assert (still.objectness.diff() <= 0).all()
        overlap = box_iou(still.boxes, still.boxes).fill_diagonal_(0)
        assert overlap.max() <= model.config.final_overlap


def test_features_of_several_photos_boxes_stand_in_one_list_photo_by_photo() -> None:
    model = tiny_model()
    features = torch.randn(2, 8, 6, 8, generator=torch.Generator().manual_seed(0))
    boxes = [TARGET.boxes, TARGET.boxes[:1] + 5]
    together = model.interpolate(features, boxes, width=128, height=96)
    apart = [
        model.interpolate(features[i : i + 1], [own], width=128, height=96)
        for i, own in enumerate(boxes)
    ]
    assert_close(together, torch.cat(apart))


# losses


def target_of(model: FCLN, *, photo: Tensor) -> Target:
    """Two regions that some proposals of the photo cover well, with phrases."""
    with torch.no_grad():
        (regions,) = model(photo[None])
    large = (regions.boxes[:, 2:] - regions.boxes[:, :2]).amin(dim=1) > 20
    return Target(regions.boxes[large][:2] + torch.tensor([0.0, 0.0, 1.0, 1.0]), TARGET.phrases)


def test_losses_are_finite_and_drawn_alike_from_one_seed() -> None:
    model = tiny_model()
    losses = losses_of(model, [TARGET, TARGET])
    assert all(loss.ndim == 0 and loss.isfinite() and loss >= 0 for loss in losses)
    assert_close(losses_of(model, [TARGET, TARGET]), losses)


BOTH_KINDS = pytest.mark.parametrize(
    "sampling",
    [
        {"annotated_boxes": True},
        {"annotated_boxes": False, "recognised_boxes": 0, "match_anchors": False},  # the paper's
        {**{"annotated_boxes": False, "recognised_boxes": 0}, "reference_training": True},
    ],
)


REFERENCE: dict[str, Any] = {
    "inclusive_pixels": True, "objectness_logits": 2, "null_word": True, "says_unknown": True,
    "match_anchors": False, "reference_training": True, "recognised_boxes": 0,
    "annotated_boxes": False, "caption_mean": "captions", "pull_weight": 1.0,
    "grid_touches_corners": True,
}  # fmt: skip


def reference_model(**changes: Any) -> FCLN:
    """A tiny network that follows the reference code, moving its boxes at random."""
    config = dataclasses.replace(tiny_config(), **{**REFERENCE, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FCLN(config, words=len(WORDS)).eval()
        model.backbone.load_state_dict(tiny_model().backbone.state_dict())
        for layer in (model.localization.convolution, model.localization.objectness):
            torch.nn.init.normal_(layer.weight, std=0.3)
        for layer in (model.localization.offsets, model.recognition.offsets):
            torch.nn.init.normal_(layer.weight, std=0.05)
        torch.nn.init.normal_(model.recognition.objectness.weight, std=0.5)
    return model


@pytest.mark.parametrize(("inclusive_pixels", "kept"), [(True, 2), (False, 1)])
def test_the_reference_codes_final_boxes_are_compared_uncut(
    inclusive_pixels: bool, kept: int
) -> None:
    """-20 .. 20 and -10 .. 30 share 30 of 50 pixels; of what the photo shows, 20 of 30."""
    model = reference_model(final_overlap=0.63, inclusive_pixels=inclusive_pixels)
    with torch.no_grad():
        model.recognition.offsets.weight.zero_()
        model.get_parameter("recognition.offsets.bias")[0] = -0.5  # half a width to the left
    given = torch.tensor([[0.0, 0.0, 40.0, 40.0], [10.0, 0.0, 50.0, 40.0]])
    features = model.features(photos(1))
    (found,) = model.recognise(features, [given], width=128, height=96, most=None)
    shown = [[0.0, 0.0, 20.0, 40.0], [0.0, 0.0, 30.0, 40.0]]
    assert len(found.boxes) == kept
    assert all(box in shown for box in found.boxes.tolist())
    (every,) = model.recognise_given(features, [given], width=128, height=96, moved=True)
    assert every.boxes.tolist() == shown


def test_offsets_of_all_anchors_are_pulled_to_nothing() -> None:
    model = reference_model()
    with torch.no_grad():
        offsets = model.localization(model.features(photos(2))).offsets
    assert_close(losses_of(model, [TARGET, NOTHING]).pull, offsets.square().sum() / 2 / 2)
    model.config = dataclasses.replace(model.config, pull_weight=0.0)
    assert losses_of(model, [TARGET, NOTHING]).pull == 0


def test_the_reference_codes_captions_are_weighed_by_their_length() -> None:
    model = reference_model()
    single = [TARGET._replace(boxes=TARGET.boxes[:1], phrases=[[phrase(1, 3, 6)]])]
    summed = losses_of(model, single).caption
    model.config = dataclasses.replace(model.config, caption_mean="words")
    assert_close(losses_of(model, single).caption, summed / 4)  # three words and the end


def test_the_reference_code_moves_proposals_to_where_the_final_offset_is_easier() -> None:
    for follows in (True, False):
        model = reference_model(reference_training=follows)
        bias = model.get_parameter("localization.offsets.bias")
        (own,) = torch.autograd.grad(losses_of(model, [TARGET]).box, bias, retain_graph=True)
        model.localization.interpolate = (  # type: ignore[method-assign]
            lambda features, boxes, *, width, height, inner=model.localization.interpolate: inner(
                features, boxes.detach(), width=width, height=height
            )
        )
        gradient = torch.autograd.grad(losses_of(model, [TARGET]).box, bias, allow_unused=True)[0]
        assert own.abs().max() > 0
        assert (gradient is not None and bool(gradient.any())) is follows


def test_unknown_is_said_where_the_config_says_so() -> None:
    model = reference_model()
    with torch.no_grad():
        model.language.output.bias[0] = 50.0
    encoded = torch.ones(1, model.config.encoded_size)
    assert caption_tokens(model, encoded) == [[0] * model.config.longest_caption]
    model.config = dataclasses.replace(model.config, says_unknown=False)
    assert 0 not in caption_tokens(model, encoded)[0]


@BOTH_KINDS
@pytest.mark.parametrize(
    "targets",
    [
        [TARGET, NOTHING],
        [NOTHING, TARGET],
        [NOTHING, NOTHING],
        [SILENT, TARGET],
        [SILENT, SILENT],
        [NOTHING, SILENT],
    ],
)
def test_photos_without_regions_and_regions_without_phrases_are_learned_from(
    targets: list[Target], sampling: dict[str, Any]
) -> None:
    model = configured(**sampling).train()
    losses = losses_of(model, targets)
    assert all(loss.isfinite() for loss in losses)
    if not any(target is TARGET for target in targets):
        assert losses.caption == losses.discrimination == losses.word == 0
        assert losses.contrast == losses.normaliser == 0
    if all(target is NOTHING for target in targets):
        assert losses.proposal_box == losses.box == 0
    torch.autograd.backward(model.total(losses))
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@BOTH_KINDS
def test_the_caption_loss_reaches_the_proposals_offsets_through_the_boxes(
    sampling: dict[str, Any],
) -> None:
    model = configured(**sampling)
    localization = model.localization
    weights = (localization.offsets.weight, localization.objectness.weight)
    target = target_of(model, photo=photos(1)[0])
    caption = losses_of(model, [target]).caption
    offsets, objectness = torch.autograd.grad(caption, weights, allow_unused=True)
    assert offsets is not None  # nothing but the boxes depends on the offsets
    assert offsets.abs().max() > 0
    assert objectness is None  # which boxes are drawn is not differentiable


def test_the_caption_loss_falls_along_its_gradient_in_the_offsets() -> None:
    """The gradient is the slope: a finite difference of one bias agrees with it."""
    model = configured(annotated_boxes=False, recognised_boxes=0, match_anchors=True)
    bias = model.get_parameter(
        "localization.offsets.bias"
    )  # moves boxes, not which of the anchors are drawn
    targets = [target_of(model, photo=photos(1)[0])]
    (slope,) = torch.autograd.grad(losses_of(model, targets).caption, bias)
    entry = int(slope.abs().argmax())
    values = []
    for step in (5e-3, -5e-3):
        with torch.no_grad():
            bias[entry] += step
            values.append(losses_of(model, targets).caption)
            bias[entry] -= step
    assert_close((values[0] - values[1]) / 1e-2, slope[entry], rtol=0.1, atol=1e-3)


def test_every_weight_that_may_learn_receives_a_gradient() -> None:
    model = tiny_model()
    model.backbone.freeze(4)
    losses = losses_of(model, [target_of(model, photo=photos(1)[0])])
    torch.autograd.backward(model.total(losses))
    for name, weight in model.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, name
    frozen = sum(not p.requires_grad for p in model.parameters())
    assert frozen == sum(1 for block in model.backbone.blocks()[:4] for _ in block.parameters())


def described(model: FCLN, targets: list[Target]) -> Tensor:
    """Region codes (N, D) that learn a caption in a step."""
    read: list[Tensor] = []
    encode = model.language.encode

    def spy(codes: Tensor, whole: Tensor | None = None) -> Tensor:
        read.append(codes.detach())
        return encode(codes)

    model.language.encode = spy  # type: ignore[method-assign]
    losses_of(model, targets)
    (codes,) = read
    return codes


def test_annotated_boxes_are_described_first_and_proposals_near_them_after() -> None:
    target = target_of(tiny_model(), photo=photos(1)[0])
    model = configured(described_regions=0)
    every = described(model, [target])
    features = model.backbone(model.backbone.normalise(photos(1)))
    annotated = model.interpolate(features, [target.boxes], width=128, height=96)
    assert len(every) > 2
    assert_close(every[:2], model.recognition(annotated).codes.detach())
    without = described(configured(described_regions=0, annotated_boxes=False), [target])
    assert_close(every[2:], without)


def test_described_regions_of_each_photo_are_limited() -> None:
    target = target_of(tiny_model(), photo=photos(1)[0])
    assert len(described(configured(described_regions=1), [target, TARGET, NOTHING])) == 2


def test_regions_without_phrases_are_not_described() -> None:
    target = target_of(tiny_model(), photo=photos(1)[0])
    silent = target._replace(phrases=[[], []])
    assert len(described(configured(), [silent])) == 0
    half = target._replace(phrases=[[], TARGET.phrases[0]])
    one = described(configured(described_regions=1), [half])
    features = tiny_model().backbone(tiny_model().backbone.normalise(photos(1)))
    annotated = tiny_model().interpolate(features, [target.boxes[1:]], width=128, height=96)
    assert_close(one, tiny_model().recognition(annotated).codes.detach())


def test_without_its_weight_nothing_is_told_apart() -> None:
    losses = losses_of(configured(discrimination_weight=0.0), [TARGET])
    assert losses.discrimination == 0


def test_without_its_weight_no_word_is_named() -> None:
    config = dataclasses.replace(tiny_config(), word_weight=0.0)
    model = FCLN(config, words=len(WORDS)).eval()
    assert losses_of(model, [TARGET]).word == 0
    assert model.state_dict().keys() < tiny_model().state_dict().keys()


def test_without_its_weight_nothing_is_contrasted() -> None:
    model = configured(contrast_weight=0.0)
    assert losses_of(model, [TARGET]).contrast == 0
    assert losses_of(tiny_model(), [TARGET]).contrast > 0


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_config_without_an_embedding_has_no_such_parameters_and_no_contrast(
    weight: float,
) -> None:
    config = dataclasses.replace(tiny_config(), embedding_size=0, contrast_weight=weight)
    model = FCLN(config, words=len(WORDS)).eval()
    assert losses_of(model, [TARGET]).contrast == 0
    mine, theirs = set(model.state_dict()), set(tiny_model().state_dict())
    assert mine < theirs
    assert {name.split(".")[0] for name in theirs - mine} == {"embedding"}
    assert not any(name.startswith("embedding") for name in paper_network(9).state_dict())


def test_contrast_is_between_the_described_regions_and_what_is_said_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model()
    spoken: list[PhraseTarget] = []
    owners: list[tuple[int, int]] = []
    encoded: list[Tensor] = []
    seen: list[Tensor] = []
    draw, describable, encode = FCLN._draw, model._describable, model.language.encode

    def drawn(choices: Sequence[PhraseTarget]) -> PhraseTarget:
        spoken.append(draw(choices))
        return spoken[-1]

    def chosen(*arguments: Any) -> Any:
        rows, found = describable(*arguments)
        owners.extend(found)
        return rows, found

    def read(codes: Tensor, whole: Tensor | None = None) -> Tensor:
        encoded.append(encode(codes))
        return encoded[-1]

    def contrast(*arguments: Tensor) -> Tensor:
        seen.extend(arguments)
        return torch.tensor(7.0)

    monkeypatch.setattr(FCLN, "_draw", staticmethod(drawn))
    monkeypatch.setattr(model, "_describable", chosen)
    monkeypatch.setattr(model.language, "encode", read)
    monkeypatch.setattr("dcsearch.model.fcln.contrast_loss", contrast)
    targets = [TARGET, TARGET._replace(phrases=[[phrase(4, 8)], [phrase(1, 7), phrase(5)]])]
    assert losses_of(model, targets).contrast == 7
    cosines, compatible, scale = seen
    regions = model.embedding.embed_regions(encoded[0])
    phrases = [model.embedding.embed_phrases(torch.tensor([own.tokens])) for own in spoken]
    assert_close(cosines, regions @ torch.cat(phrases).T)
    assert scale == model.embedding.scale
    of_regions = [targets[photo].phrases[region] for photo, region in owners]
    assert compatible.tolist() == plain_compatible(spoken, of_regions)
    assert compatible.any()
    assert not compatible.all()


@pytest.mark.parametrize("bias", [0.0, 2.0, -3.0])
def test_the_normaliser_loss_is_how_far_probabilities_are_from_summing_to_one(bias: float) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.language.output.weight.zero_()
        model.get_parameter("language.output.bias").fill_(bias)
    expected = (bias + math.log(len(WORDS) + 1)) ** 2
    assert losses_of(model, [TARGET]).normaliser.item() == pytest.approx(expected, rel=1e-4)


def test_the_embedding_learns_by_the_contrasts_weight_alone() -> None:
    gradients = []
    for weight in (0.5, 1.5):
        model = configured(contrast_weight=weight)
        torch.autograd.backward(model.total(losses_of(model, [TARGET, TARGET])))
        gradients.append({name: p.grad for name, p in model.embedding.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        assert gradient.abs().max() > 0, name
        assert gradients[1][name] is not None
        assert_close(gradients[1][name], 3 * gradient, rtol=1e-3, atol=1e-6)


def plain_compatible(
    spoken: Sequence[PhraseTarget], phrases: Sequence[Sequence[PhraseTarget]]
) -> list[list[bool]]:
    """Whether each word that phrase j is about is said of region i, at [i][j]."""
    return [
        [
            all(any(word in own.content for own in texts) for word in phrase.content)
            for phrase in spoken
        ]
        for texts in phrases
    ]


def test_phrases_fit_the_regions_of_which_all_their_words_are_said() -> None:
    dog, red, cat = phrase(6), phrase(3), phrase(7)
    red_dog = PhraseTarget([1, 3, 6], frozenset({3, 6}))  # "a" means nothing
    found = compatible_phrases([red_dog, dog, cat], [[red_dog], [dog, red], [cat, dog]])
    assert found.dtype == torch.bool
    assert found.tolist() == [[True, True, False], [True, True, False], [False, True, True]]


def test_phrases_fit_regions_as_a_plain_loop_over_words_says() -> None:
    chance = random.Random(0)
    fits = 0
    for _ in range(200):
        words, count = chance.choice([2, 5, 3000]), chance.randint(0, 9)
        few = chance.sample(range(words), min(words, 6))

        def random_phrase(words: Sequence[int] = few) -> PhraseTarget:
            tokens = chance.choices(words, k=chance.randint(1, 4))
            return PhraseTarget(tokens, frozenset(t for t in tokens if chance.random() < 0.8))

        phrases = [[random_phrase() for _ in range(chance.randint(0, 3))] for _ in range(count)]
        spoken = [chance.choice(own) if own else random_phrase() for own in phrases]
        expected = plain_compatible(spoken, phrases)
        found = compatible_phrases(spoken, phrases)
        assert found.shape == (count, count)
        assert found.dtype == torch.bool
        assert found.tolist() == expected
        fits += sum(map(sum, expected))
    assert fits > 1000


def test_a_phrase_of_no_meaning_fits_every_region() -> None:
    nothing = PhraseTarget([1], frozenset())
    assert compatible_phrases([nothing, phrase(6)], [[nothing], []]).tolist() == [
        [True, False],
        [True, False],
    ]


def test_no_phrases_fit_no_regions() -> None:
    assert compatible_phrases([], []).shape == (0, 0)


def test_the_words_of_a_region_are_named_whatever_their_order() -> None:
    model = configured(annotated_boxes=True)
    turned = [[phrase(6, 3, 1), phrase(6, 2)], [phrase(7, 1)]]
    first = losses_of(model, [TARGET]).word
    assert first > 0
    assert_close(losses_of(model, [TARGET._replace(phrases=turned)]).word, first)


def test_a_region_is_told_apart_once_however_many_boxes_show_it() -> None:
    model = tiny_model()
    asked: list[tuple[int, int]] = []
    cross = model.language.cross_log_likelihoods

    def spy(encoded: Tensor, tokens: Tensor) -> Tensor:
        asked.append((len(encoded), len(tokens)))
        return cross(encoded, tokens)

    model.language.cross_log_likelihoods = spy  # type: ignore[method-assign]
    losses_of(model, [target_of(model, photo=photos(1)[0])])
    assert asked == [(2, 2)]


def test_each_of_a_regions_phrases_has_its_turn() -> None:
    torch.manual_seed(0)
    choices = TARGET.phrases[0]
    assert {tuple(FCLN._draw(choices).tokens) for _ in range(40)} == {(1, 3, 6), (2, 6)}
