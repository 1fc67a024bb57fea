"""Choices: the names of which an option of the library takes one.

Nothing is imported here, so that a front end can offer them before torch or numpy is loaded.
"""

from typing import Literal

# Of a region for a phrase: docs/evaluation.md compares them.
Score = Literal["likelihood", "fused", "embedding"]

# Of an evaluation of retrieval: what is averaged over the phrases of a query, and what becomes of
# words outside the vocabulary.
Mean = Literal["log-probability", "probability"]
UnknownWords = Literal["dropped", "spoken"]

# Of an evaluation of captions: the rules, and what the regions of a photo are ranked by.
CaptionProtocol = Literal["fixed", "reference"]
CaptionRank = Literal["objectness", "caption"]

# Of training: a recipe (TrainingOptions.preset), a network, what every
# region is given of its whole photo, how photos are augmented, and which figure of a validation
# says which weights are best.
Preset = Literal["default", "paper", "modern"]
Network = Literal[
    "small",
    "paper",
    "reference",
    "region-rnn",
    "full-image-rnn",
    "resnet50-fpn",
    "mobilenet-v2-pyramid",
    "efficientnet-lite",
]
Context = Literal["none", "sum"]
Variation = Literal["none", "flips", "all", "widely"]
StopBy = Literal["detection mAP", "mAP", "localization"]
