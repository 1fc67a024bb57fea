"""Start: a new network and its objective, at random or with another network's weights."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint
from dcsearch.checkpoint.header import read_header
from dcsearch.checkpoint.imagenet import load_backbone
from dcsearch.errors import CheckpointError, Cure, UsageError
from dcsearch.model.config import FCLNConfig, FeaturesConfig
from dcsearch.model.fcln import FCLN
from dcsearch.model.initialisation import initialise
from dcsearch.model.network import make_network
from dcsearch.model.timm_pyramid import UnknownNetwork
from dcsearch.training.baselines import BaselineObjective, FullImageObjective
from dcsearch.training.objective import Objective, make_word_head
from dcsearch.training.options import TrainingOptions
from dcsearch.training.reference import ReferenceObjective
from dcsearch.vocabulary import Vocabulary

# Weights with a row for each word.
BY_WORD = (
    *("language.embedding.weight", "language.output.weight", "language.output.bias"),
    *("embedding.words.weight", "words.weight", "words.bias"),
)


def new_objective(config: FCLNConfig, *, words: int) -> Objective:
    """A network for a vocabulary of `words` words, its weights drawn, with its word head.

    Raises:
        ValueError: timm has no such backbone, or not with the maps that the pyramid needs.
    """
    network = make_network(config, words=words)
    head = make_word_head(network)
    initialise(network)
    return objective_of(network, words=head)


def objective_of(network: FCLN, *, words: torch.nn.Linear | None) -> Objective:
    """The objective that a network's config asks for."""
    config = network.config
    kind: type[Objective] = Objective
    if config.whole_photos:
        kind = FullImageObjective
    elif not config.localizes:
        kind = BaselineObjective
    elif config.objective.reference_training:
        kind = ReferenceObjective
    return kind(network, words=words)


def config_to_start(file: Path) -> FCLNConfig:
    """The config of a checkpoint as a run that begins with its weights takes it: its landmarks and
    probes are those of the old weights, and a new run keeps its own.

    Raises:
        CheckpointError: no such file, or not a checkpoint.
    """
    return read_header(file).config.replace(landmarks=0, probes=0)


def load_start(options: TrainingOptions, written: Sequence[Path]) -> Checkpoint | None:
    """The checkpoint that a run begins with, if any.

    Args:
        options: of the run.
        written: files that the run will write.

    Raises:
        UsageError: the run would write over it.
        CheckpointError: it is missing or damaged.
    """
    if options.start is None:
        return None
    if options.start.resolve() in [file.resolve() for file in written]:
        raise UsageError(f"the run would write over {options.start}; name another folder")
    return load_checkpoint(options.start)


def start_vocabulary(
    options: TrainingOptions, start: Checkpoint | None, texts: Iterable[str]
) -> Vocabulary:
    """The words of a run: of the texts, or of the checkpoint that it begins with, and with
    `start_fitting` those of the texts behind them."""
    if start and not options.start_fitting:
        return start.vocabulary
    counted = Vocabulary.count(texts, at_least=options.word_count)
    return start.vocabulary.with_words(counted.words) if start else counted


def begin(
    options: TrainingOptions, start: Checkpoint | None, *, words: int, resume: bool
) -> Objective:
    """The objective of a run before its first step; draws are seeded.

    Args:
        options: of the run.
        start: what it begins with, if not at random.
        words: of the vocabulary.
        resume: its weights will be replaced; nothing is downloaded.

    Raises:
        CheckpointError: weights are missing, damaged or of another network.
        UsageError: there is no such backbone.
    """
    torch.manual_seed(options.seed)
    try:
        objective = new_objective(options.config, words=words)
    except UnknownNetwork as error:
        raise UsageError(str(error), Cure.OTHER_BACKBONE) from None
    brought = start and same_backbone(options.config.features, start.config.features)
    fresh = not resume and not (start and not options.start_fitting)
    if options.pretrained and fresh and not brought:
        load_backbone(objective.network, options.backbone_weights)
    if start and options.start_fitting:
        start_fitting(objective, start)
    elif start:
        start_from(objective, start)
    return objective


def same_backbone(one: FeaturesConfig, other: FeaturesConfig) -> bool:
    """Whether the same weights give both backbones the same features, but for their channels."""
    return (one.backbone, one.tensorflow_padding) == (other.backbone, other.tensorflow_padding)


def start_fitting(objective: Objective, checkpoint: Checkpoint) -> list[str]:
    """Put those of a checkpoint's weights into a new network that fit it.

    A weight fits where it has the same name and shape, one of the backbone only where both networks
    have the same. Of weights that have a row for each word, those of the checkpoint's words are
    taken, which the new vocabulary has to begin with, and those of START or END. Landmarks and
    probes are left out: they are of the old weights.

    Returns:
        Names of the weights that begin anew.
    """
    weights = {**checkpoint.model.state_dict(), **checkpoint.word_head}
    own = objective.weights()
    words, new_words = len(checkpoint.vocabulary), objective.network.language.end
    new = []
    if not same_backbone(objective.network.config.features, checkpoint.config.features):
        weights = {name: each for name, each in weights.items() if not name.startswith("backbone.")}
    for kept in ("language.landmarks", "embedding.probes", "embedding.level"):
        weights.pop(kept, None)
    for name, value in own.items():
        old = weights.get(name)
        if old is not None and name in BY_WORD and old.shape[1:] == value.shape[1:]:
            value[:words] = old[:words]
            rest = min(len(old) - words, len(value) - new_words)  # START or END, and the null word
            value[new_words : new_words + rest] = old[words : words + rest]
        elif old is not None and old.shape == value.shape:
            value.copy_(old)
        else:
            new.append(name)
    objective.load_weights(own)
    return new


def start_from(objective: Objective, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into a new network with as many words.

    The networks may differ in what has no weights, as the side of photos, and the new one may have
    a `context` or joint inference, which begin at zero: its output at first is the old one's. The
    word head is taken from older files, which have it.

    Raises:
        CheckpointError: the new network has other weights.
    """
    network = objective.network
    weights, own = checkpoint.model.state_dict(), network.state_dict()
    for kept in ("language.landmarks", "embedding.probes", "embedding.level"):
        weights.pop(kept, None)
    for name, value in own.items():
        if name == "language.context" or name.startswith("location."):
            weights.setdefault(name, value)
    here, there = ({(name, each.shape) for name, each in of.items()} for of in (weights, own))
    if here != there:
        name, _ = min(here ^ there)
        raise CheckpointError(
            f"the model to start with, {checkpoint.name!r}, has other weights than the network "
            f"asked for ({name})",
            Cure.SAME_NETWORK,
        )
    network.load_state_dict(weights)
    load_word_head(objective, checkpoint)


def load_word_head(objective: Objective, checkpoint: Checkpoint) -> None:
    """Give an objective the word head of a checkpoint, where it wants one and there is one."""
    if objective.words is not None and checkpoint.word_head:
        objective.words.load_state_dict(
            {name.removeprefix("words."): own for name, own in checkpoint.word_head.items()}
        )


def provenance_of_start(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a run records of the checkpoint that it began with: provenance, name and hash. Of what
    that one began with in turn, name and hash only, or the record would grow with each start.
    """
    found = dict(checkpoint.provenance)
    if isinstance(before := found.get("began_with"), dict):
        found["began_with"] = {key: before.get(key) for key in ("name", "sha256")}
    return {**found, "name": checkpoint.name, "sha256": checkpoint.sha256}
