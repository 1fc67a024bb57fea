"""Initialisation: the deviations that the paper and its authors' code begin with."""

import pytest
import torch

from dcsearch.model.fcln import FCLN
from dcsearch.training.start import new_objective
from tests.conftest import WORDS, tiny_config


def deviation(weights: torch.Tensor) -> float:
    return float(weights.detach().std())


def made(initialisation: str) -> FCLN:
    """A new network whose language model is large enough to measure."""
    config = tiny_config().replace(
        initialisation=initialisation,
        encoding_normalised=False,
        recognition_hidden=64,
        code_size=64,
        encoded_size=48,
        language_hidden=16,
        embedding_size=0,
    )
    torch.manual_seed(0)
    return new_objective(config, words=500).network


def test_the_paper_begins_with_a_gaussian_of_a_hundredth_everywhere_but_in_the_backbone() -> None:
    model = made("paper")
    for part in (model.localization, model.recognition, model.language):
        for name, parameter in part.named_parameters():
            if name.endswith("bias"):
                assert not parameter.any(), name
            elif parameter.numel() > 500:
                assert deviation(parameter) == pytest.approx(0.01, rel=0.1), name
    offsets = torch.cat([model.localization.offsets.weight.flatten(),
                         model.recognition.offsets.weight.flatten()])  # fmt: skip
    assert deviation(offsets) == pytest.approx(0.01, rel=0.2)  # where ours and the code have 0
    torch.manual_seed(0)
    plain = new_objective(model.config.replace(initialisation="he"), words=500).network
    for own, other in zip(model.backbone.parameters(), plain.backbone.parameters(), strict=True):
        assert torch.equal(own, other)


def test_the_reference_code_begins_as_torch7_and_torch_rnn_do() -> None:
    model = made("reference")
    language, recognition = model.language, model.recognition
    for linear in (language.encoder, language.output):
        most = linear.in_features**-0.5
        for values in (linear.weight, linear.bias):
            assert values.abs().max() <= most
        assert deviation(linear.weight) == pytest.approx(most / 3**0.5, rel=0.05)
        assert linear.bias.any()
    assert deviation(language.embedding.weight) == pytest.approx(1.0, rel=0.05)
    for gates in (language.input_gates, language.hidden_gates):
        assert deviation(gates.weight) == pytest.approx((48 + 16) ** -0.5, rel=0.05)
    assert language.input_gates.bias.tolist() == [0.0] * 16 + [1.0] * 16 + [0.0] * 32
    for layer in (model.localization.convolution, recognition.objectness):
        assert deviation(layer.weight) == pytest.approx(0.01, rel=0.25)
        assert not layer.bias.any()
    for layer in (model.localization.offsets, recognition.offsets):
        assert not layer.weight.any()
        assert not layer.bias.any()


def test_ours_begins_as_it_did_before_there_was_a_choice() -> None:
    torch.manual_seed(0)
    model = new_objective(tiny_config(), words=len(WORDS)).network
    assert model.config.initialisation == "he"
    assert deviation(model.language.embedding.weight) == pytest.approx(0.1, rel=0.2)
