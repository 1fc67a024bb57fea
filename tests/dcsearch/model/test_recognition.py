"""Recognition network: what it says of region features, with weights set by hand."""

import copy

import pytest
import torch
from torch.testing import assert_close

from dcsearch.model.recognition import RecognitionNetwork


def network(dropout: float = 0.5) -> RecognitionNetwork:
    """Two inputs, two hidden units and codes of two numbers."""
    made = RecognitionNetwork(inputs=2, hidden=2, code_size=2, dropout=dropout)
    with torch.no_grad():
        made.fc6.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
        made.fc6.bias.copy_(torch.tensor([1.0, 0.0]))
        made.fc7.weight.copy_(torch.tensor([[2.0, 1.0], [-1.0, 1.0]]))
        made.fc7.bias.zero_()
        made.objectness.weight.copy_(torch.tensor([[1 / 2, 5.0]]))
        made.offsets.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1 / 4, 0.0], [0.0, 0.0]]))
    return made


def test_codes_and_heads_by_hand() -> None:
    found = network().eval()(torch.tensor([[[[2.0]], [[4.0]]], [[[-3.0]], [[-5.0]]]]))
    # hidden: relu(2 + 1, -4) = (3, 0) and relu(-3 + 1, 5) = (0, 5)
    assert_close(found.codes, torch.tensor([[6.0, 0.0], [5.0, 5.0]]))
    assert_close(found.objectness, torch.tensor([3.0, 27.5]))
    assert_close(found.offsets, torch.tensor([[6.0, 0.0, 6 / 4, 0.0], [5.0, 5.0, 5 / 4, 0.0]]))


def test_no_regions_give_empty_answers() -> None:
    found = network().eval()(torch.zeros(0, 2, 1, 1))
    assert found.codes.shape == (0, 2)
    assert found.objectness.shape == (0,)
    assert found.offsets.shape == (0, 4)


def test_a_new_network_leaves_every_proposal_where_it_is() -> None:
    made = RecognitionNetwork(inputs=18, hidden=8, code_size=8, dropout=0.0)
    features = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    assert_close(made(features).offsets, torch.zeros(5, 4))


def test_features_are_read_channel_by_channel_then_row_by_row() -> None:
    made = RecognitionNetwork(inputs=8, hidden=8, code_size=8, dropout=0.0)
    with torch.no_grad():
        for layer in (made.fc6, made.fc7):
            layer.weight.copy_(torch.eye(8))
            layer.bias.zero_()
    features = torch.arange(8.0).reshape(1, 2, 2, 2)
    assert_close(made(features).codes, torch.arange(8.0)[None])


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    made = network(dropout=0.5)
    features = torch.ones(200, 2, 1, 1)
    assert len(made.eval()(features).codes.unique(dim=0)) == 1
    assert len(made.train()(features).codes.unique(dim=0)) > 1


def test_folded_layers_compute_what_autocast_does_and_nothing_where_it_is_off() -> None:
    torch.manual_seed(0)
    made = RecognitionNetwork(inputs=18, hidden=8, code_size=8, dropout=0.0).eval()
    folded = copy.deepcopy(made)
    folded.fold(torch.bfloat16)
    assert folded.state_dict().keys() == made.state_dict().keys()
    features = torch.randn(5, 2, 3, 3)
    for enabled in (True, False):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            for own, other in zip(folded(features), made(features), strict=True):
                assert torch.equal(own, other)
    with torch.autocast("cpu", torch.bfloat16):
        torch.autograd.backward(folded(features).codes.sum())
    assert folded.fc6.weight.grad is not None


@pytest.mark.parametrize("last", [False, True])
def test_layers_folded_for_channels_that_come_last_compute_the_same(last: bool) -> None:
    torch.manual_seed(0)
    made = RecognitionNetwork(inputs=18, hidden=8, code_size=8, dropout=0.0).eval()
    features = torch.randn(5, 2, 3, 3)
    with torch.no_grad():
        expected = made(features)
        made.fold(torch.float32, channels=2)
        if last:
            features = features.contiguous(memory_format=torch.channels_last)
        for own, other in zip(made(features), expected, strict=True):
            assert_close(own, other)
        assert made(features[:0]).codes.shape == (0, 8)
