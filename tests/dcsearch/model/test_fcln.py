"""FCLN: the paper's numbers, and regions of photos."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchvision.ops import box_iou, nms

from dcsearch.boxes import clip, decode_offsets
from dcsearch.model import presets
from dcsearch.model.fcln import FCLN, Regions, caption_tokens
from tests.conftest import WORDS, tiny_model
from tests.network_fixtures import (
    TARGET,
    loss_weights,
    paper_network,
    photos,
    reference_model,
    reference_network,
)

DIFFERENCES = (Path(__file__).parents[3] / "docs" / "paper.md").read_text(encoding="utf-8")


def parameters(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


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
    paper = SimpleNamespace(**presets.paper().values())
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
    reference, paper = presets.reference().to_json(), presets.paper().to_json()
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
    reference = SimpleNamespace(**presets.reference().values())
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


def test_regions_are_inside_the_photo_best_first_and_apart() -> None:
    model = tiny_model()
    seen = model(photos(3))
    assert len(seen) == 3
    for regions in seen:
        assert 1 < len(regions.boxes) <= model.config.localization.proposals
        assert len(regions.boxes) == len(regions.objectness) == len(regions.encoded)
        assert (regions.boxes >= 0).all()
        assert (regions.boxes[:, 0::2] <= 128).all()
        assert (regions.boxes[:, 1::2] <= 96).all()
        assert (regions.boxes[:, 2:] >= regions.boxes[:, :2]).all()
        assert (regions.objectness.diff() <= 0).all()
        overlap = box_iou(regions.boxes, regions.boxes).fill_diagonal_(0).nan_to_num()
        assert overlap.max() <= model.config.recognition.final_overlap
        assert regions.encoded.shape[1] == model.config.language.encoded_size
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


@pytest.mark.parametrize("make", [tiny_model, reference_model])
def test_a_folded_network_finds_the_same_regions(make: Callable[[], FCLN]) -> None:
    model, pixels = make(), photos(2)
    names = list(model.state_dict())
    expected = model(pixels)
    model.fold(torch.float32)
    for folded, plain in zip(model(pixels), expected, strict=True):
        assert_close(folded, plain, rtol=1e-4, atol=1e-3)
    assert list(model.state_dict()) == names


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
        overlap = model.config.recognition.final_overlap
        model.config = model.config.replace(final_overlap=1.0)
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
    assert max(map(len, captions)) == model.config.language.longest_caption
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
        assert regions.encoded.shape[1] == model.config.language.encoded_size
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


def final_boxes(model: FCLN, features: Tensor, given: Tensor) -> Tensor:
    """Given boxes (R, 4) of one photo moved as its recognition says, clipped."""
    with torch.no_grad():
        sampled = model.interpolate(features, [given], width=128, height=96)
        return clip(decode_offsets(given, model.recognition(sampled).offsets), 128, 96)


def test_recognised_boxes_are_moved_to_their_final_ones() -> None:
    model, pixels = moving(), photos(1)
    model.config = model.config.replace(final_overlap=1.0)
    given = GIVEN[[0, 2, 5]]  # different, and not empty
    features = model.features(pixels)
    assert isinstance(features, Tensor)
    (still,) = model.recognise_given(features, [given], width=128, height=96)
    (moved,) = model.recognise(features, [given], width=128, height=96, most=None)
    expected = final_boxes(model, features, given)
    assert (expected - given).abs().max() > 0.5
    order = still.objectness.argsort(descending=True)
    order = order[((expected[order, 2:] - expected[order, :2]) >= 1).all(dim=1)]
    assert len(order) >= 2
    assert_close(moved.boxes, expected[order])
    assert torch.equal(moved.objectness, still.objectness[order])
    assert_close(moved.encoded, still.encoded[order])


@pytest.mark.parametrize("counts", [[0, 3], [2, 0], [0, 0]])
def test_photos_without_given_boxes_have_no_regions(counts: list[int]) -> None:
    model = tiny_model()
    given = [GIVEN[:count] for count in counts]
    found = model.recognise_given(model.features(photos(2)), given, width=128, height=96)
    assert [len(own.boxes) for own in found] == counts
    for own, count in zip(found, counts, strict=True):
        assert own.objectness.shape == (count,)
        assert own.encoded.shape == (count, model.config.language.encoded_size)


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
    assert isinstance(features, Tensor)
    found = [
        own._replace(boxes=final_boxes(model, features[photo : photo + 1], own.boxes))
        for photo, own in enumerate(
            model.recognise_given(features, proposals, width=128, height=96)
        )
    ]
    for own, regions in zip(found, model(pixels), strict=True):
        kept = nms(own.boxes, own.objectness, model.config.recognition.final_overlap)
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
        assert overlap.max() <= model.config.recognition.final_overlap


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
    assert isinstance(features, Tensor)
    assert final_boxes(model, features, given).tolist() == shown


def test_unknown_is_said_where_the_config_says_so() -> None:
    model = reference_model()
    with torch.no_grad():
        model.language.output.bias[0] = 50.0
    encoded = torch.ones(1, model.config.language.encoded_size)
    assert caption_tokens(model, encoded) == [[0] * model.config.language.longest_caption]
    model.config = model.config.replace(says_unknown=False)
    assert 0 not in caption_tokens(model, encoded)[0]
