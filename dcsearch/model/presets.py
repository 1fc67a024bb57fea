"""Presets: the networks that the program knows, as configs; without torch."""

from collections.abc import Callable, Sequence

from dcsearch.model.config import FCLNConfig

# The reference code's 12 shapes, width x height in a frame of longest side 720.
PAPER_SHAPES = (
    (45, 90), (90, 45), (64, 64),
    (90, 180), (180, 90), (128, 128),
    (181, 362), (362, 181), (256, 256),
    (362, 724), (724, 362), (512, 512),
)  # fmt: skip


def pyramid_shapes(sides: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Wide, square and tall shape of every area side x side, in torchvision's detectors' order."""
    root = 2**0.5
    return tuple(
        shape
        for side in sides
        for shape in ((side * root, side / root), (side, side), (side / root, side * root))
    )


def shapes_of(sides: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Tall, wide and square shape of every area side x side: three (width, height) a side."""
    root = 2**0.5
    return tuple(
        (round(width, 2), round(height, 2))
        for side in sides
        for width, height in ((side / root, side * root), (side * root, side / root), (side, side))
    )


def reference() -> FCLNConfig:
    """The network of the authors' code, with which their released weights were trained.

    docs/paper.md lists where it differs from the paper.
    """
    return FCLNConfig.of(
        backbone="vgg16", tensorflow_padding=False, feature_channels=512,
        photo_side=720, side_multiple=1, inclusive_pixels=True, ceil_pooling=True,
        anchor_shapes=PAPER_SHAPES, proposal_hidden=256, objectness_logits=2,
        grid=7, grid_touches_corners=True, recognition_hidden=4096, code_size=4096,
        encoded_size=512, encoding_normalised=False, language_hidden=512, embedding_size=0,
        null_word=True, longest_caption=15, says_unknown=True,
        recognition_dropout=0.5, language_dropout=0.0,
        proposals=1000, proposals_considered=0, proposal_overlap=0.7, final_overlap=0.3,
        initialisation="reference", match_anchors=False, sampled_boxes=256,
        positive_overlap=0.7, negative_overlap=0.3, reference_training=True,
        recognised_boxes=0, recognised_overlap=0.7, annotated_boxes=False,
        described_regions=0, discriminated_regions=0,
        proposal_objectness_weight=0.1, proposal_box_weight=0.05,
        objectness_weight=0.1, box_weight=0.1, caption_weight=1.0, caption_mean="captions",
        discrimination_weight=0.0, word_weight=0.0, contrast_weight=0.0, normaliser_weight=0.0,
        pull_weight=5e-5,
    )  # fmt: skip


def paper() -> FCLNConfig:
    """The paper's network and loss (section 3); where it is silent, the authors' code."""
    return reference().replace(
        ceil_pooling=False, objectness_logits=1, null_word=False, longest_caption=10,
        proposals=300, initialisation="paper", reference_training=False,
        proposal_box_weight=0.1, caption_mean="words", pull_weight=0.0,
    )  # fmt: skip


def small(*, tensorflow_padding: bool = False) -> FCLNConfig:
    """The default that ships: a mobilenet_v2 backbone, photos of 384 pixels.

    `tensorflow_padding` is for backbone weights that TensorFlow trained.
    """
    return FCLNConfig.of(
        backbone="mobilenet_v2", tensorflow_padding=tensorflow_padding, feature_channels=128,
        photo_side=384, side_multiple=32, anchor_shapes=shapes_of((24, 48, 96, 176, 288)),
        proposal_hidden=192,
        grid=7, grid_touches_corners=False, recognition_hidden=640, code_size=512,
        encoded_size=256, encoding_normalised=True, language_hidden=256, embedding_size=128,
        longest_caption=12,
        recognition_dropout=0.2, language_dropout=0.2,
        proposals=300, proposals_considered=2000, proposal_overlap=0.7, final_overlap=0.7,
        match_anchors=True, sampled_boxes=256, positive_overlap=0.6, negative_overlap=0.3,
        recognised_boxes=64, recognised_overlap=0.5, annotated_boxes=True,
        described_regions=24, discriminated_regions=32,
        proposal_objectness_weight=1.0, proposal_box_weight=3.0,
        objectness_weight=1.0, box_weight=3.0, caption_weight=1.0,
        discrimination_weight=0.5, word_weight=0.5, contrast_weight=0.5, normaliser_weight=0.05,
    )  # fmt: skip


def resnet50_fpn() -> FCLNConfig:
    """The default's losses on a larger network, with a feature pyramid and as many pixels as the
    paper; recognition and anchors as in torchvision's Faster R-CNN."""
    return small().replace(
        backbone="resnet50_fpn", feature_channels=256, photo_side=720, side_multiple=16,
        anchor_shapes=pyramid_shapes((32, 64, 128, 256, 512)), proposal_hidden=256,
        recognition_hidden=1024, code_size=1024, encoded_size=512, language_hidden=512,
        longest_caption=15,
    )  # fmt: skip


def efficientnet_lite() -> FCLNConfig:
    """The default's losses on EfficientNet-Lite2 with a light feature pyramid.

    Photos of 448 pixels; anchors of two sizes and three proportions for each of the maps of stride
    8 to 64.
    """
    sides = [share * (8 << level) for level in range(4) for share in (2.6, 4.4)]
    return small().replace(
        backbone="efficientnet_lite2", feature_channels=96, photo_side=448,
        anchor_shapes=shapes_of(sides), level_cells=7, proposal_hidden=128, context="sum",
    )  # fmt: skip


def mobilenet_v2_pyramid(*, tensorflow_padding: bool = False) -> FCLNConfig:
    """As efficientnet_lite, on MobileNetV2, which has half the operations.

    `tensorflow_padding` is for backbone weights that TensorFlow trained.
    """
    return efficientnet_lite().replace(
        backbone="mobilenet_v2_pyramid", tensorflow_padding=tensorflow_padding
    )


def region_rnn() -> FCLNConfig:
    """The paper's baseline that runs the backbone over every region's crop by itself."""
    return small().replace(method="region_rnn")


def full_image_rnn() -> FCLNConfig:
    """The paper's baseline that has one region, the whole photo, and learns its captions."""
    return small().replace(method="full_image_rnn", longest_caption=20)


NETWORKS: dict[str, Callable[[], FCLNConfig]] = {
    make.__name__: make
    for make in (
        *(small, paper, reference, region_rnn, full_image_rnn),
        *(resnet50_fpn, efficientnet_lite, mobilenet_v2_pyramid),
    )
}
