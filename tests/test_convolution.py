"""Convolutions to and from one pixel, as products: the same values and gradients, for all that can be so and nothing else."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import zoo
from zoo.convolution import as_products

TO_ONE = [((3, 3), {"kernel_size": 4, "stride": 2, "padding": 1}), ((4, 4), {"kernel_size": 4}),
          ((5, 2), {"kernel_size": (5, 2)}), ((1, 1), {"kernel_size": 3, "padding": 1}),
          ((2, 3), {"kernel_size": 3, "stride": 3, "padding": (1, 0), "bias": False}),
          ((6, 6), {"kernel_size": 5, "stride": 2})]        # the last row and column meet no kernel
FROM_ONE = [{"kernel_size": 4}, {"kernel_size": (2, 5), "stride": 3}, {"kernel_size": 4, "stride": 2, "padding": 1},
            {"kernel_size": 3, "padding": (0, 1), "bias": False}]
OTHERS = [nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 5, groups=2), nn.Conv2d(4, 6, 3, dilation=2),
          nn.Conv2d(4, 6, 5, padding="same"), nn.Conv2d(4, 6, 5, padding=1, padding_mode="reflect"),
          nn.Conv2d(4, 6, 2, padding=2, stride=9), nn.ConvTranspose2d(4, 6, 4)]
OTHERS_FROM_ONE = [nn.ConvTranspose2d(4, 6, 3, groups=2), nn.ConvTranspose2d(4, 6, 3, dilation=2),
                   nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1)]


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def passes(module, x):
    """Value, gradients of x and the parameters; whether it was a convolution."""
    x = x.clone().requires_grad_()
    with Operations() as seen:
        y = module(x)
    weight = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)
    return [y, *torch.autograd.grad((y * weight).sum(), [x, *module.parameters()])], "convolution" in seen.names


@pytest.mark.parametrize(("make", "size", "settings"), [(nn.Conv2d, size, s) for size, s in TO_ONE] +
                         [(nn.ConvTranspose2d, (1, 1), s) for s in FROM_ONE])
def test_products_give_the_convolutions_values_and_gradients(make, size, settings):
    torch.manual_seed(0)
    module, x = make(4, 6, **settings).double(), torch.randn(3, 4, *size, dtype=torch.float64)
    expected, convolved = passes(module, x)
    with as_products(nn.Sequential(module)):
        found, still = passes(module, x)
    assert convolved and not still
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert passes(module, x)[1] and "forward" not in vars(module)


@pytest.mark.parametrize(("module", "size"), [(m, (5, 5)) for m in OTHERS] + [(m, (1, 1)) for m in OTHERS_FROM_ONE], ids=str)
def test_other_convolutions_stay(module, size):
    x = torch.randn(3, 4, *size)
    expected, _ = passes(module, x)
    with as_products(module):
        found, convolved = passes(module, x)
    assert convolved and all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_a_model_trains_with_products_and_is_left_as_it_was(monkeypatch):
    data = zoo.load_dataset("digits:dynamic")
    down = nn.Sequential(nn.Conv2d(1, 8, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 4), nn.Flatten())
    up = nn.Sequential(nn.Unflatten(-1, (4, 1, 1)), nn.ConvTranspose2d(4, 8, 4), nn.ReLU(),
                       nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1), nn.Unflatten(1, (1, 1)))
    first = zoo.create("vae", data.spec, latent_dim=4, encoder=nn.Sequential(down, nn.Linear(16, 8)), decoder=up)
    losses = {}
    for engine in ("eager", "compile"):
        model = copy.deepcopy(first)
        rows = zoo.fit(model, data, steps=3, batch_size=16, engine=engine, evaluate_every=1, progress=False).history
        losses[engine] = [row["loss"] for row in rows]
        assert not any("forward" in vars(m) for m in model.modules())
    with monkeypatch.context() as patch:
        patch.setattr("zoo.run.as_products", lambda model: as_products(nn.Identity()))
        rows = zoo.fit(first, data, steps=3, batch_size=16, engine="eager", evaluate_every=1, progress=False).history
    assert losses["eager"] == pytest.approx([row["loss"] for row in rows], rel=1e-5)
    assert losses["compile"] == pytest.approx(losses["eager"], rel=1e-5)
