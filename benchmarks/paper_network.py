"""Time of the paper's network for a photo, by stage, against the reference code's order of work.

python benchmarks/paper_network.py                          one photo of 720 x 540, 300 proposals
python benchmarks/paper_network.py --device cuda --batch 16

The stages are those of the paper's Table 1, its "CNN" in two. The baseline computes in float32, one
photo at a time, compares each proposal that it keeps with all boxes, says fifteen words of every
proposal, and suppresses overlapping regions last. Ours suppresses first, stops speaking at the end
of a caption, and is timed in float32 and, where the device has it, in bfloat16. All three have the
same weights, and what they find is compared.

The weights are random, since a trained file is not at hand: scaled layer by layer on the photo, so
that regions and words differ as in a trained network, and the captions' end made as likely as in
Visual Genome. Times depend on the weights by the number and the length of the captions alone, which
are printed. How far bfloat16 moves what is found depends on them more: "alike" is the share of the
naive regions that are found again with an IoU above 0.9, "captions" the share of those that say the
same, and random scores, which mean nothing, change order easily. --model takes a trained file.
"""

import argparse
import copy
import dataclasses
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from measurement import (
    Timing,
    add_common_options,
    machine,
    peak_memory,
    ratio,
    report,
    take_turns,
    use_threads,
)
from photos import crops
from PIL import Image
from torch import Tensor, nn
from torchvision.ops import box_iou

from dcsearch.boxes import clip, decode_offsets, not_empty
from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint
from dcsearch.describe import Describer
from dcsearch.device import choose_device, has_bfloat16
from dcsearch.model import presets
from dcsearch.model.backbone import Backbone
from dcsearch.model.fcln import FCLN, caption_tokens
from dcsearch.stopwatch import Stopwatch
from dcsearch.vocabulary import UNKNOWN, Vocabulary

STAGES = ("CNN", "proposals", "recognition", "LSTM")
WORDS_SAID = 6  # of a caption in Visual Genome, about
Lap = Callable[[str], None]


class Found(NamedTuple):
    """What is found in one photo."""

    boxes: Tensor  # (N, 4), best first
    captions: list[list[int]]  # N


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proposals", type=int, default=300)
    parser.add_argument("--batch", type=int, default=1, help="photos at a time (ours)")
    parser.add_argument(
        "--photo", type=Path, action="append", help="instead of crops of the demo's"
    )
    parser.add_argument("--photo-side", type=int, default=720, help="longest side, pixels")
    parser.add_argument("--words", type=int, default=10_509, help="of a random network")
    parser.add_argument("--hidden", type=int, default=4096, help="of fc6 and fc7, likewise")
    add_common_options(parser)
    options = parser.parse_args()
    use_threads(options.threads)
    about = machine()
    device = choose_device(options.device)

    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        checkpoint = network(options)
        model = checkpoint.model.to(device)
        quick = has_bfloat16(device)
        describer = Describer(checkpoint, device=options.device, bfloat16=quick)
        side = options.photo_side
        paths = options.photo or crops(
            Path(scratch), options.batch, seed=options.seed, size=(side, side * 3 // 4)
        )
        photos = [describer.prepare(Image.open(path)).pixels for path in paths]
        if len({photo.shape for photo in photos}) > 1:
            sys.exit("photos of one batch must have one shape; name others with --photo")
        pixels = torch.stack(photos).to(device)
        if options.model is None:
            settle_network(model, pixels[:1])
            # Anew: its weights have changed.
            model.fold(torch.bfloat16 if quick else torch.float32)
        backbone = copy.deepcopy(model.backbone).to(memory_format=torch.contiguous_format)

        stages: dict[str, list[float]] = {}
        found: dict[str, list[Found]] = {}

        def timed(name: str, act: Callable[[Lap], list[Found]]) -> Callable[[], None]:
            def action() -> None:
                watch = Stopwatch(device)
                found[name] = act(watch.lap)
                for stage in STAGES:
                    stages.setdefault(f"{name}: {stage}", []).append(watch.seconds[stage])

            return action

        actions = {
            "naive": timed("naive", lambda lap: naive(model, backbone, pixels, lap)),
            "float32": timed("float32", lambda lap: ours(model, pixels, lap, bfloat16=False)),
        }
        if quick:
            actions["bfloat16"] = timed(
                "bfloat16", lambda lap: ours(model, pixels, lap, bfloat16=True)
            )
        for action in actions.values():  # to warm up
            action()
        stages.clear()
        timings = take_turns(options.repeats, actions)
        rounded = rounding(model, pixels) if quick else None

    regions = sum(len(own.boxes) for own in found["float32"])
    said = [len(caption) for own in found["float32"] for caption in own.captions]
    facts = {
        "model": checkpoint.name,
        "photos": len(pixels),
        "pixels": list(pixels.shape[2:]),
        "proposals": model.config.localization.proposals,
        "regions": regions,
        "words_said": float(np.mean(said)),
        "peak_memory_mib": peak_memory(),
        **{name: alike(found["naive"], found[name]) for name in actions if name != "naive"},
        "bfloat16 of the same proposals": rounded,
    }
    height, width = pixels.shape[2:]
    lines = [
        ("network", f"{checkpoint.name}, {model.config.localization.proposals} proposals"),
        ("photos", f"{len(pixels)} of {width} x {height} pixels"),
        ("found", f"{regions} regions, {facts['words_said']:.1f} words each"),
    ]
    lines += [
        (name, f"{1000 * t.median / len(pixels):.1f} ms a photo") for name, t in timings.items()
    ]
    for stage in STAGES:
        each = {name: float(np.median(stages[f"{name}: {stage}"])) for name in actions}
        texts = [f"{name} {1000 * value / len(pixels):.1f}" for name, value in each.items()]
        lines.append((stage, ", ".join(texts) + " ms"))
    for name in list(actions)[1:]:
        lines.append((f"naive / {name}", ratio(timings["naive"], timings[name])))
        lines.append((f"{name} as naive", str(facts[name])))
    if rounded:
        lines.append(("bfloat16 of the same proposals", str(rounded)))
    lines.append(("peak memory", f"{peak_memory():.0f} MiB"))
    report(
        options=options,
        about=about,
        timings={
            **timings,
            **{name: Timing(seconds=tuple(seconds)) for name, seconds in stages.items()},
        },
        facts=facts,
        lines=lines,
    )
    if facts["float32"]["alike"] < 0.98:
        sys.exit("in float32 the regions are not those of the reference order")


def naive(model: FCLN, backbone: Backbone, pixels: Tensor, lap: Lap) -> list[Found]:
    """The reference code's order of work, one photo after the other."""
    config, language = model.config, model.language
    height, width = pixels.shape[2:]
    found = []
    for photo in pixels.split(1):
        features = backbone(backbone.normalise(photo))
        lap("CNN")
        candidates = model.localization(features)
        boxes, _ = model.localization.cut(candidates.boxes[0], width=width, height=height)
        chosen = suppressed(
            boxes,
            candidates.objectness[0],
            config.localization.proposal_overlap,
            config.localization.proposals,
        )
        boxes = boxes[chosen]
        lap("proposals")
        sampled = model.localization.interpolate(features, boxes[None], width=width, height=height)
        recognised = model.recognition(sampled[0])
        boxes = decode_offsets(boxes, recognised.offsets)
        lap("recognition")
        state = language.begin(language.encode(recognised.codes))
        said = []
        for _ in range(config.language.longest_caption):
            said.append(language.logits(state.hidden).argmax(dim=1))
            state = language.step(state, said[-1])
        words = torch.stack(said, dim=1).tolist()
        lap("LSTM")
        kept = suppressed(
            boxes, recognised.objectness, config.recognition.final_overlap, len(boxes)
        )
        kept = kept[not_empty(clip(boxes[kept], width, height))]  # ours hands out no others
        captions = [until_end(words[index], language.end) for index in kept.tolist()]
        found.append(Found(clip(boxes[kept], width, height), captions))
        lap("recognition")
    return found


def ours(model: FCLN, pixels: Tensor, lap: Lap, *, bfloat16: bool) -> list[Found]:
    """What describing a batch of photos computes."""
    last = pixels.contiguous(memory_format=torch.channels_last)
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=bfloat16):
        regions = model(last, lap=lap)
        lap("recognition")
        captions = caption_tokens(model, torch.cat([own.encoded for own in regions]))
        lap("LSTM")
    found = []
    for own in regions:
        found.append(Found(own.boxes, captions[: len(own.boxes)]))
        captions = captions[len(own.boxes) :]
    return found


def suppressed(boxes: Tensor, scores: Tensor, overlap: float, most: int) -> Tensor:
    """Indices of the boxes that suppression keeps, best first, as box_utils.lua finds them: the
    best that is left is compared with all boxes, again and again; the last pixel counts."""
    low, high = boxes[:, :2] + 1, boxes[:, 2:]
    area = (high - low + 1).prod(dim=1)
    order = scores.argsort(descending=True)
    kept = []
    while len(order) and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(best)
        common = torch.minimum(high, high[best]) - torch.maximum(low, low[best]) + 1
        shared = common.clamp(min=0).prod(dim=1)
        order = order[(shared / (area + area[best] - shared))[order] <= overlap]
    return torch.stack(kept)


def until_end(words: Sequence[int], end: int) -> list[int]:
    """The words before the first end."""
    return list(words[: words.index(end)] if end in words else words)


def alike(expected: Sequence[Found], found: Sequence[Found]) -> dict[str, float]:
    """How far regions agree with those expected, matched by the greatest overlap."""
    moved, same, near, count = [], 0, 0, 0
    for one, other in zip(expected, found, strict=True):
        overlap, index = box_iou(one.boxes, other.boxes).max(dim=1)  # (N,)
        count += len(one.boxes)
        for row in (overlap > 0.9).nonzero().squeeze(1).tolist():
            near += 1
            match = int(index[row])
            same += one.captions[row] == other.captions[match]
            moved.append(float((one.boxes[row] - other.boxes[match]).abs().max()))
    return {
        "alike": round(near / count, 3),
        "captions": round(same / max(near, 1), 3),
        "pixels_median": round(float(np.median(moved or [0])), 3),
        "pixels_most": round(max(moved, default=0.0), 3),
    }


def rounding(model: FCLN, pixels: Tensor) -> dict[str, float]:
    """How far bfloat16 moves the final boxes and the captions of the same proposals."""
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    height, width = pixels.shape[2:]
    candidates = model.localization(model.features(pixels))
    proposals = [
        model.proposals(candidates, photo, width=width, height=height)
        for photo in range(len(pixels))
    ]
    boxes, captions = [], []
    for bfloat16 in (False, True):
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=bfloat16):
            found = model.recognise_given(
                model.features(pixels), proposals, width=width, height=height, moved=True
            )
            captions.append(caption_tokens(model, torch.cat([own.encoded for own in found])))
        boxes.append(torch.cat([own.boxes for own in found]))
    moved = (boxes[0] - boxes[1]).abs().amax(dim=1)
    same = [one == other for one, other in zip(*captions, strict=True)]
    return {
        "captions": round(float(np.mean(same)), 3),
        "pixels_median": round(float(moved.median()), 3),
        "pixels_most": round(float(moved.max()), 3),
    }


def network(options: argparse.Namespace) -> Checkpoint:
    """The checkpoint that is named, or a random one, with as many proposals as wanted."""
    if options.model is not None:
        checkpoint = load_checkpoint(options.model)
        config = checkpoint.config.replace(proposals=options.proposals)
        checkpoint.model.config = config
        return dataclasses.replace(checkpoint, config=config)
    config = presets.reference().replace(
        proposals=options.proposals,
        photo_side=options.photo_side,
        recognition_hidden=options.hidden,
        code_size=options.hidden,
    )
    torch.manual_seed(options.seed)
    vocabulary = Vocabulary([UNKNOWN, *(f"word{number}" for number in range(1, options.words))])
    return Checkpoint(
        name="random",
        sha256="",
        config=config,
        vocabulary=vocabulary,
        provenance={},
        model=FCLN(config, words=options.words).eval(),
    )


def settle_network(model: FCLN, pixels: Tensor) -> None:
    """Scale random weights so that what they compute of a photo varies, at every layer."""
    height, width = pixels.shape[2:]
    features = model.backbone.normalise(pixels)
    for layer in model.backbone.blocks():
        features = settle(layer, features) if isinstance(layer, nn.Conv2d) else layer(features)
    localization, recognition = model.localization, model.recognition
    hidden = settle(localization.convolution, features).relu()
    settle(localization.objectness, hidden)
    nn.init.normal_(localization.offsets.weight)
    settle(localization.offsets, hidden, deviation=0.2)
    candidates = localization(features)
    boxes = [model.proposals(candidates, 0, width=width, height=height)]
    sampled = model.interpolate(features, boxes, width=width, height=height)
    codes = settle(recognition.fc7, settle(recognition.fc6, sampled.flatten(1)).relu()).relu()
    settle(recognition.objectness, codes)
    nn.init.normal_(recognition.offsets.weight)
    settle(recognition.offsets, codes, deviation=0.1)
    language = model.language
    state = language.begin(settle(language.encoder, codes).relu())
    language.output.weight *= 10
    gaps = []
    for _ in range(model.config.language.longest_caption):
        logits = language.logits(state.hidden)  # (R, V + 1)
        best, words = logits[:, :-1].max(dim=1)
        gaps.append(best - logits[:, -1])
        state = language.step(state, words)
    gap = torch.stack(gaps, dim=1)  # (R, T), by which the end falls short of the best word

    def words_said(bias: float) -> float:
        return float(((gap < bias).cumsum(dim=1) == 0).sum(dim=1).float().mean())

    tried = gap.flatten().sort().values[:: max(1, gap.numel() // 200)].tolist()
    language.output.bias[-1] += min(tried, key=lambda bias: abs(words_said(bias) - WORDS_SAID))


def settle(layer: nn.Conv2d | nn.Linear, inputs: Tensor, *, deviation: float = 1.0) -> Tensor:
    """Outputs of a layer whose weights and biases have been changed to give each of them mean 0
    and the deviation, over the inputs."""
    kind = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Linear  # all outputs, before TwoLogits
    outputs = kind.forward(layer, inputs).transpose(0, 1).flatten(1)  # (outputs, samples)
    scale = deviation / outputs.std(dim=1).clamp(min=1e-6)
    layer.weight *= scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    layer.bias.copy_((layer.bias - outputs.mean(dim=1)) * scale)
    return layer(inputs)


if __name__ == "__main__":
    main()
