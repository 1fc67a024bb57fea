"""Initialisation: what the layers after the backbone weigh before they learn.

The parts initialise themselves for training from scratch ("he"); here are the ways of the paper and
of its authors' code. Both leave fc6 and fc7 to VGG-16's own weights, which training loads.
"""

from torch import nn

from dcsearch.model.fcln import FCLN
from dcsearch.model.language import LanguageModel


def initialise(network: FCLN) -> None:
    """Draw the weights of a new network as its config asks for.

    The location LSTM of joint inference comes last, so that all other weights of a seed are those
    of the network without it; the weights of the photo's own code begin at zero in any case.
    """
    if network.config.initialisation == "paper":
        initialise_as_paper(network.localization, network.recognition, network.language)
    elif network.config.initialisation == "reference":
        initialise_as_reference(network.language)
    if network.language.context is not None:
        nn.init.zeros_(network.language.context)
    if network.config.language.joint_inference:
        network.location.reset_parameters()


def initialise_as_paper(*parts: nn.Module) -> None:
    """Every weight Gaussian with deviation 0.01 (section 3.3), every bias 0."""
    for part in parts:
        for parameter in part.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.01)
            else:
                nn.init.zeros_(parameter)


def initialise_as_reference(language: LanguageModel) -> None:
    """The language model's layers as Torch7 and torch-rnn make them (LSTM.lua).

    Linear layers are uniform within 1 / sqrt(inputs), embeddings Gaussian, gates Gaussian with
    deviation 1 / sqrt(E + H), and the forget gates' bias 1. The other parts begin as here anyway.
    """
    for layer in (language.encoder, language.embedding, language.output):
        layer.reset_parameters()
    deviation = (language.input_gates.in_features + language.hidden_gates.in_features) ** -0.5
    for gates in (language.input_gates, language.hidden_gates):
        nn.init.normal_(gates.weight, std=deviation)
