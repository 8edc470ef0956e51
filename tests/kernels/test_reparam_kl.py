"""reparam_kl on a CPU: values, gradients of every input, transforms, noise, shapes, refusals."""

import itertools
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

import kernels
from kernels import philox, reparam_kl, reparam_log_weight

SEED = torch.tensor([-5, 2])


def seeded(mu, logvar, k, prior, seed, row0, per_dim):
    return reparam_kl(mu, logvar, k, prior=prior, seed=seed, row0=row0, per_dim=per_dim)


def inputs(*shape, count=4, dtype=torch.float64):
    return [0.6 * torch.randn(shape, dtype=dtype) for _ in range(count)]


def number(mu, logvar, p_mu, p_logvar, seed=SEED):
    """One number that depends on all of z and kl, and not linearly."""
    z, kl = reparam_kl(mu, logvar, 3, prior=(p_mu, p_logvar), seed=seed)
    return z.sin().sum() + kl.square().sum()


@pytest.mark.parametrize(("k", "prior", "per_dim"), [*itertools.product((1, 3), (False, True), (False, True))])
def test_values_and_gradients(agrees, k, prior, per_dim):
    agrees(seeded, k, 5, 7, prior, per_dim, dtype=torch.float64, tolerance=1e-12)


@pytest.mark.parametrize(("prior", "per_dim", "path"), [*itertools.product((False, True), repeat=3)])
def test_log_weights_and_their_gradients(agrees, prior, per_dim, path):
    def call(mu, logvar, k, prior, seed, row0, per_dim):
        return reparam_log_weight(mu, logvar, k, prior=prior, seed=seed, row0=row0, per_dim=per_dim, path=path)

    agrees(call, 3, 5, 7, prior, per_dim, dtype=torch.float64, tolerance=1e-12, weight="path" if path else "full")


def test_the_path_derivative_has_no_noise_where_q_is_the_prior():
    mu, logvar = (t.requires_grad_() for t in inputs(4, 3, count=2))
    prior = (mu.detach(), logvar.detach())
    for path, exact in ((False, False), (True, True)):
        _, _, log_weight = reparam_log_weight(mu, logvar, 5, prior=prior, seed=SEED, path=path)
        assert_close(log_weight, torch.zeros(5, 4, dtype=torch.float64), rtol=0, atol=1e-14)
        gradients = torch.autograd.grad(log_weight.sum(), (mu, logvar))
        assert all((g.abs() < 1e-13).all() for g in gradients) == exact


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_precision(agrees, dtype):
    agrees(seeded, 3, 5, 7, True, False, dtype=dtype, tolerance=max(3e-6, torch.finfo(dtype).eps))


def test_kl_keeps_its_precision_near_the_prior():
    mu, logvar = torch.full((1, 1), 1e-6), torch.full((1, 1), 1e-4)
    _, kl = reparam_kl(mu, logvar)
    _, exact = reparam_kl(mu.double(), logvar.double())
    assert_close(kl.double(), exact, rtol=1e-2, atol=0)


def test_any_float64_input_makes_it_float64():
    mu, logvar = inputs(2, 3, count=2, dtype=torch.float32)
    z, kl = reparam_kl(mu, logvar, prior=(mu.double(), logvar.double()))
    assert (z.dtype, kl.dtype) == (torch.float32, torch.float64)


def test_first_and_second_derivatives():
    mu, logvar, p_mu, p_logvar, eps = (t.requires_grad_() for t in (*inputs(2, 3), torch.randn(2, 2, 3).double()))

    def call(mu, logvar, p_mu, p_logvar, eps):
        return reparam_kl(mu, logvar, 2, prior=(p_mu, p_logvar), eps=eps, per_dim=True)

    assert torch.autograd.gradcheck(call, (mu, logvar, p_mu, p_logvar, eps))
    assert torch.autograd.gradgradcheck(call, (mu, logvar, p_mu, p_logvar, eps))


def test_functional_transforms():
    arguments = inputs(4, 5, 6)
    seeds = torch.randint(100, (4, 2))
    gradients = torch.func.grad(number, argnums=(0, 1, 2, 3))
    mapped = torch.func.vmap(gradients)(*arguments, seeds)
    for i in range(4):
        one = [t[i].clone().requires_grad_() for t in arguments]
        assert_close([g[i] for g in mapped], list(torch.autograd.grad(number(*one, seeds[i]), one)))
    one, direction = [t[0] for t in arguments], [t[1] for t in arguments]
    _, forward = torch.func.jvp(number, tuple(one), tuple(direction))
    assert_close(forward, sum((g * d).sum() for g, d in zip(gradients(*one), direction, strict=True)))


def test_noise():
    mu, logvar = inputs(4, 3, count=2, dtype=torch.float32)
    std = (logvar / 2).exp()

    def draw(**noise):
        return (reparam_kl(mu, logvar, 2, **noise)[0] - mu) / std

    assert_close(draw(seed=SEED, row0=9), philox.normal(SEED, (2, 4, 3), row0=9))
    assert not torch.isclose(draw(seed=SEED), draw(seed=SEED + 1)).any()
    assert not torch.isclose(draw(), draw()).any()
    torch.manual_seed(1)
    want = draw()
    torch.manual_seed(1)
    assert torch.equal(draw(), want)
    eps = torch.randn(2, 4, 3)
    assert_close(draw(eps=eps), eps)


def test_leading_dimensions_are_rows():
    arguments = inputs(3, 4, 5)
    z, kl = reparam_kl(*arguments[:2], 2, prior=tuple(arguments[2:]), seed=SEED, per_dim=True)
    flat = [t.reshape(12, 5) for t in arguments]
    z_flat, kl_flat = reparam_kl(*flat[:2], 2, prior=tuple(flat[2:]), seed=SEED, per_dim=True)
    assert torch.equal(z, z_flat.reshape(2, 3, 4, 5))
    assert torch.equal(kl, kl_flat.reshape(3, 4, 5))
    z, kl, log_weight = reparam_log_weight(arguments[0][0, 0], arguments[1][0, 0], 2, seed=SEED)
    assert (z.shape, kl.shape, log_weight.shape) == ((2, 5), (), (2,))


@pytest.mark.parametrize("noise", [{}, {"seed": SEED}, {"eps": torch.zeros(2, 0, 3)}])
def test_an_empty_batch(noise):
    mu, logvar = (torch.zeros(0, 3, requires_grad=True) for _ in range(2))
    z, kl = reparam_kl(mu, logvar, 2, **noise)
    assert (z.shape, kl.shape) == ((2, 0, 3), (0,))
    (z.sum() + kl.sum()).backward()
    assert mu.grad.shape == (0, 3)


X = torch.zeros(4, 3)
REFUSED = [
    (ValueError, "k = 0", (X, X, 0), {}),
    (ValueError, "row0 = -1", (X, X), {"row0": -1}),
    (ValueError, "no dimensions", (X[0, 0], X[0, 0]), {}),
    (ValueError, r"logvar has shape \(4, 1\)", (X, X[:, :1]), {}),
    (ValueError, r"p_logvar has shape \(3,\); it must be \(4, 3\)", (X, X), {"prior": (X, X[0])}),
    (ValueError, r"eps has shape \(4, 3\); it must be \(2, 4, 3\)", (X, X, 2), {"eps": X}),
    (ValueError, "drop one", (X, X), {"eps": X[None], "seed": SEED}),
    (ValueError, "pair", (X, X), {"prior": (X,)}),
    (ValueError, r"seed is torch.float32 \(2,\)", (X, X), {"seed": SEED.float()}),
    (ValueError, r"seed is torch.int64 \(1,\)", (X, X), {"seed": SEED[:1]}),
    (ValueError, "p_mu is on meta", (X, X), {"prior": (X.to("meta"), X)}),
    (TypeError, "mu is torch.int64", (X.long(), X), {}),
]


@pytest.mark.parametrize(("error", "says", "arguments", "keywords"), REFUSED, ids=[says for _, says, _, _ in REFUSED])
def test_refusals(error, says, arguments, keywords):
    with pytest.raises(error, match=says):
        reparam_kl(*arguments, **keywords)


def test_the_package_is_light_and_says_whose_it_is():
    assert kernels.PROJECT == "vae-zoo"
    code = "import sys, torch; before = set(sys.modules); import kernels; print('triton' in set(sys.modules) - before)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"
