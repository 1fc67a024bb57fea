"""The backbones by name, without torch: the one place that names them.

A new backbone is a module here that defines a subclass of `backbone.Backbone` and a function
`make_backbone(config: FeaturesConfig)`, and one line below.
"""

import re
from typing import NamedTuple


class BackboneKind(NamedTuple):
    """Where a backbone is implemented, and what a config has to know of it."""

    module: str  # in dcsearch.model
    levels: int  # feature maps
    scales_anchors: bool = False  # anchors follow the photo's side where that is changed


BACKBONES = {
    "vgg16": BackboneKind("vgg16", levels=1),
    "mobilenet_v2": BackboneKind("mobilenet_v2", levels=1),
    "resnet50_fpn": BackboneKind("resnet50_fpn", levels=5),
    "mobilenet_v2_pyramid": BackboneKind("mobilenet_v2_pyramid", levels=4, scales_anchors=True),
    "efficientnet_lite2": BackboneKind("timm_pyramid", levels=4, scales_anchors=True),
}
# Any network that timm has; names of another form would make timm download what they name.
_TIMM = re.compile(r"timm:(?P<name>[\w.]+)")
_ANY_OF_TIMM = BackboneKind("timm_pyramid", levels=4, scales_anchors=True)


def backbone_kind(name: object) -> BackboneKind | None:
    """The kind of a backbone; None where there is no such backbone."""
    if not isinstance(name, str):
        return None
    return _ANY_OF_TIMM if _TIMM.fullmatch(name) else BACKBONES.get(name)


def timm_name(backbone: str) -> str | None:
    """What timm calls the backbone's network; None for one that is not timm's."""
    if backbone == "efficientnet_lite2":
        return "tf_efficientnet_lite2"
    named = _TIMM.fullmatch(backbone)
    return named["name"] if named else None
