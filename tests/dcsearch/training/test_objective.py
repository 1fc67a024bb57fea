"""Objective: losses whose gradient goes where it should, and their weighted sum."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dcsearch.model.fcln import FCLN
from dcsearch.training.losses import Losses
from dcsearch.training.phrase_terms import draw_phrase
from dcsearch.training.targets import PhraseTarget, Target
from tests.conftest import WORDS, objective, tiny_config, tiny_model
from tests.dcsearch.training.test_phrase_terms import plain_compatible
from tests.network_fixtures import (
    NOTHING,
    SILENT,
    TARGET,
    configured,
    loss_weights,
    paper_network,
    photos,
    phrase,
    reference_model,
)


def losses_of(model: FCLN, targets: list[Target], *, seed: int = 0) -> Losses:
    """Losses with seeded draws."""
    learned = objective(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return learned.losses(photos(len(targets)), targets)


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


def test_offsets_of_all_anchors_are_pulled_to_nothing() -> None:
    model = reference_model()
    with torch.no_grad():
        offsets = model.localization(model.features(photos(2))).offsets
    assert_close(losses_of(model, [TARGET, NOTHING]).pull, offsets.square().sum() / 2 / 2)
    model.config = model.config.replace(pull_weight=0.0)
    assert losses_of(model, [TARGET, NOTHING]).pull == 0


def test_the_reference_codes_captions_are_weighed_by_their_length() -> None:
    model = reference_model()
    single = [TARGET._replace(boxes=TARGET.boxes[:1], phrases=[[phrase(1, 3, 6)]])]
    summed = losses_of(model, single).caption
    model.config = model.config.replace(caption_mean="words")
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
    torch.autograd.backward(objective(model).total(losses))
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
    learned, target = objective(model), target_of(model, photo=photos(1)[0])
    losses = learned.losses(photos(1), [target])
    torch.autograd.backward(learned.total(losses))
    for name, weight in learned.named_weights():
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
    config = tiny_config().replace(word_weight=0.0)
    model = FCLN(config, words=len(WORDS)).eval()
    assert losses_of(model, [TARGET]).word == 0
    assert objective(model).weights().keys() < objective(tiny_model()).weights().keys()


def test_without_its_weight_nothing_is_contrasted() -> None:
    model = configured(contrast_weight=0.0)
    assert losses_of(model, [TARGET]).contrast == 0
    assert losses_of(tiny_model(), [TARGET]).contrast > 0


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_config_without_an_embedding_has_no_such_parameters_and_no_contrast(
    weight: float,
) -> None:
    config = tiny_config().replace(embedding_size=0, contrast_weight=weight)
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
    learned = objective(model)
    draw, describable, encode = draw_phrase, learned.describable, model.language.encode

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

    monkeypatch.setattr("dcsearch.training.objective.draw_phrase", drawn)
    monkeypatch.setattr(learned, "describable", chosen)
    monkeypatch.setattr(model.language, "encode", read)
    monkeypatch.setattr("dcsearch.training.phrase_terms.contrast_loss", contrast)
    targets = [TARGET, TARGET._replace(phrases=[[phrase(4, 8)], [phrase(1, 7), phrase(5)]])]
    torch.manual_seed(0)
    assert learned.losses(photos(2), targets).contrast == 7
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
        torch.autograd.backward(objective(model).total(losses_of(model, [TARGET, TARGET])))
        gradients.append({name: p.grad for name, p in model.embedding.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        assert gradient.abs().max() > 0, name
        assert gradients[1][name] is not None
        assert_close(gradients[1][name], 3 * gradient, rtol=1e-3, atol=1e-6)


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
