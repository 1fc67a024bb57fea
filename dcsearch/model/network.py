"""The network of a config: an FCLN, or a baseline of the paper."""

from dcsearch.model.baselines import FullImageRNN, RegionRNN
from dcsearch.model.config import FCLNConfig, Method
from dcsearch.model.fcln import FCLN

_CLASSES: dict[Method, type[FCLN]] = {
    "fcln": FCLN,
    "region_rnn": RegionRNN,
    "full_image_rnn": FullImageRNN,
}


def make_network(config: FCLNConfig, *, words: int) -> FCLN:
    """The network of a config for a vocabulary of `words` words, UNKNOWN included.

    Its weights are drawn, but not yet as `initialisation.initialise` draws them for training.

    Raises:
        ValueError: timm has no such network, or not with the maps that the pyramid needs.
    """
    return _CLASSES[config.method](config, words=words)
