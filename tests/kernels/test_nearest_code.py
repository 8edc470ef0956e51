"""nearest_code in plain torch."""

import sys

import pytest
import torch

from kernels import nearest_code
from kernels.nearest_code import reference


def test_blocks_do_not_show(monkeypatch):
    x, codes = torch.randn(50, 7), torch.randn(9, 7)
    want = torch.cdist(x.double(), codes.double()).argmin(1)
    assert torch.equal(nearest_code(x, codes), want)
    monkeypatch.setattr(sys.modules["kernels.nearest_code"], "NUMBERS", 20)
    assert torch.equal(reference(x, codes), want)


def test_distances_are_not_rounded_under_autocast():
    codes = torch.tensor([[100.0], [100.1], [100.2]])
    with torch.autocast("cpu", torch.bfloat16):
        assert nearest_code(codes, codes).tolist() == [0, 1, 2]


def test_no_vectors_and_no_gradient():
    codes = torch.randn(3, 2, requires_grad=True)
    assert nearest_code(torch.zeros(0, 2), codes).shape == (0,) and not nearest_code(torch.zeros(1, 2), codes).requires_grad


@pytest.mark.parametrize(("x", "codes", "error", "said"), [
    (torch.zeros(2), torch.zeros(2, 2), ValueError, "x has shape"),
    (torch.zeros(2, 3), torch.zeros(2, 2), ValueError, "agree in d"),
    (torch.zeros(2, 3), torch.zeros(0, 3), ValueError, "nothing to be nearest"),
    (torch.zeros(2, 3), torch.zeros(2, 3).int(), TypeError, "codes is torch.int32"),
])
def test_wrong_arguments_are_named(x, codes, error, said):
    with pytest.raises(error, match=said):
        nearest_code(x, codes)
