"""Tiny networks, photos and targets that several tests share."""

from typing import Any

import torch
from torch import Tensor, nn

from dcsearch.model import presets
from dcsearch.model.fcln import FCLN
from dcsearch.training.losses import Losses
from dcsearch.training.targets import PhraseTarget, Target
from tests.conftest import WORDS, objective, tiny_config, tiny_model


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


def extent(pixels: Tensor, channel: int) -> list[float] | None:
    """Box around the pixels in which a channel stands out; None without such."""
    values = pixels.float()
    others = torch.cat([values[:channel], values[channel + 1 :]]).amax(dim=0)
    rows, columns = torch.where(values[channel] > 1.5 * others + 20)
    if len(rows) == 0:
        return None
    return [float(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


def draw_norms(
    network: nn.Module, *, mean: float, variance: tuple[float, float], shift: float
) -> None:
    """Random statistics, scales and shifts for every batch normalisation."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.normal_(layer.running_mean, std=mean)
            nn.init.uniform_(layer.running_var, *variance)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=shift)


def configured(**changes: Any) -> FCLN:
    """The tiny network with a changed config and the same weights."""
    model = tiny_model()
    model.config = model.config.replace(**changes)
    return model


REFERENCE: dict[str, Any] = {
    "inclusive_pixels": True, "objectness_logits": 2, "null_word": True, "says_unknown": True,
    "match_anchors": False, "reference_training": True, "recognised_boxes": 0,
    "annotated_boxes": False, "caption_mean": "captions", "pull_weight": 1.0,
    "grid_touches_corners": True,
}  # fmt: skip


def reference_model(**changes: Any) -> FCLN:
    """A tiny network that follows the reference code, moving its boxes at random."""
    config = tiny_config().replace(**{**REFERENCE, **changes})
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


def paper_network(words: int = 10_497) -> FCLN:
    """The paper's network without memory for its weights."""
    with torch.device("meta"):
        return FCLN(presets.paper(), words=words)


def reference_network(words: int) -> FCLN:
    """The reference code's, likewise."""
    with torch.device("meta"):
        return FCLN(presets.reference(), words=words)


def loss_weights(model: FCLN) -> dict[str, float]:
    """What one unit of each loss adds to the total."""
    weights = {}
    for name in Losses._fields:
        unit = {other: torch.tensor(float(other == name)) for other in Losses._fields}
        weights[name] = round(objective(model).total(Losses(**unit)).item(), 6)
    return weights
