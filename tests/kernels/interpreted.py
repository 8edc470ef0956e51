"""The kernels of reparam_kl, run by Triton's interpreter on a CPU. Started by test_triton.py in a process of its own."""

import functools
import itertools
import math

import pytest
import torch
import triton
import triton.language as tl
from interpreter import needs_loops
from torch.library import opcheck
from torch.testing import assert_close

from kernels import philox
from kernels._triton.philox import cos_sin, noise, philox4x32, radius, radius_of
from kernels._triton.reparam_kl import _chunk, _side_by_side
from kernels.reparam_kl import _backward, _forward, fused, reference

pytestmark = [needs_loops, pytest.mark.usefixtures("poisoned_memory")]
SEED = torch.tensor([-(2**50) + 1, 2])
SHAPES = [(1, 5, 2), (3, 7, 37), (2, 5, 260), (4, 6, 10), (1, 1, 1)]


@pytest.mark.parametrize(("shape", "prior", "per_dim"), [*itertools.product(SHAPES, (False, True), (False, True))])
def test_values_and_gradients(agrees, shape, prior, per_dim):
    agrees(fused, *shape, prior, per_dim, dtype=torch.float32, tolerance=1e-5)


@pytest.mark.parametrize("weight", ["full", "path"])
@pytest.mark.parametrize(("shape", "prior"), [((3, 7, 37), True), ((2, 5, 260), False), ((4, 6, 10), False), ((1, 1, 1), True)])
def test_log_weights_and_their_gradients(agrees, shape, prior, weight):
    agrees(functools.partial(fused, weight=weight), *shape, prior, False, dtype=torch.float32, tolerance=2e-5, weight=weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(agrees, dtype):
    one_ulp = torch.finfo(dtype).eps  # not half a one: the interpreter rounds towards zero
    agrees(fused, 3, 5, 20, True, False, dtype=dtype, tolerance=one_ulp)


def test_strides():
    mu, logvar, p_mu, p_logvar = torch.randn(20, 6).T, torch.randn(6, 50)[:, 3:23], torch.randn(20), torch.randn(6, 1)
    prior = (p_mu.expand(6, 20), p_logvar.expand(6, 20))
    eps = philox.normal(SEED, (2, 6, 20))
    got, want = fused(mu, logvar, 2, prior, SEED, 0, True), reference(mu, logvar, eps, prior, True)
    assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_mixed_dtypes():
    mu, logvar = torch.randn(5, 12, dtype=torch.bfloat16), torch.randn(5, 12)
    eps = philox.normal(SEED, (1, 5, 12))
    got, want = fused(mu, logvar, 1, (logvar, mu), SEED, 0, False), reference(mu, logvar, eps, (logvar, mu))
    assert_close(got, want, rtol=2**-7, atol=1e-5)


def test_rows_of_a_shard_are_the_rows_of_the_whole():
    mu, logvar = torch.randn(8, 12), torch.randn(8, 12)
    z, kl = fused(mu, logvar, 2, None, SEED, 0, False)
    z_part, kl_part = fused(mu[5:], logvar[5:], 2, None, SEED, 5, False)
    assert torch.equal(z_part, z[:, 5:])
    assert torch.equal(kl_part, kl[5:])


def test_empty_batch_and_leading_dimensions():
    z, kl = fused(torch.zeros(0, 3), torch.zeros(0, 3), 2, None, SEED, 0, False)
    assert (z.shape, kl.shape) == ((2, 0, 3), (0,))
    mu = torch.randn(2, 3, 5, requires_grad=True)
    z, kl = fused(mu, mu, 2, None, SEED, 0, True)
    assert (z.shape, kl.shape) == ((2, 2, 3, 5), (2, 3, 5))
    assert_close(z, reference(mu, mu, philox.normal(SEED, (2, 6, 5)).reshape(2, 2, 3, 5))[0])


@triton.jit
def _polar_kernel(word_p, out_p, n: tl.constexpr):
    i = tl.arange(0, n)
    word = tl.load(word_p + i).to(tl.uint32)
    x, y = cos_sin(word, False)
    tl.store(out_p + i, radius(word, False))
    tl.store(out_p + n + i, x)
    tl.store(out_p + 2 * n + i, y)
    u = word.to(tl.float32) * 2.0**-32 + 2.0**-33
    for sign in tl.static_range(-1, 2, 2):                  # a logarithm as wrong as a GPU's fast one may be
        tl.store(out_p + (3 + (sign + 1) // 2) * n + i, radius_of(u, tl.log2(u) + sign * 2.0**-22))


def test_polynomials_on_all_quarters_and_ends():
    near = torch.arange(-64, 64)
    quarters = (torch.arange(8)[:, None] * 2**29 + near).flatten()
    words = torch.cat([quarters % 2**32, torch.randint(2**32, (2048,)), 2**32 - 1 - 2 ** torch.linspace(0, 26, 1024).long()])
    out = torch.empty(5, 4096)
    _polar_kernel[(1,)](words, out, 4096)
    angle = words.double() * (2 * math.pi / 2**32)
    assert_close(out[1].double(), angle.cos(), rtol=0, atol=2e-7)
    assert_close(out[2].double(), angle.sin(), rtol=0, atol=2e-7)
    assert_close(out[0], philox._radius(words), rtol=5e-7, atol=1e-12)
    assert_close(out[3:], philox._radius(words).expand(2, -1), rtol=5e-7, atol=1.4e-6)


@triton.jit
def _noise_kernel(seed_p, word_p, eps_p, k, row0, ROWS: tl.constexpr, COLS: tl.constexpr, WIDE: tl.constexpr):
    """Eight columns, from the eighth on: the words of their calls (ROWS,2,4), and the normals made of them (ROWS,8)."""
    rows = row0 + tl.arange(0, ROWS)
    sample = tl.cast(k, tl.int64)
    eps = noise(seed_p, sample, rows, 8, ROWS, COLS, WIDE, False)
    tl.store(eps_p + tl.arange(0, ROWS)[:, None] * 8 + tl.arange(0, COLS)[None, :], eps)
    zero = tl.zeros([ROWS, 2], tl.uint32)
    quad = zero + (2 + tl.arange(0, 2)).to(tl.uint32)[None, :]
    row = zero + rows.to(tl.uint32)[:, None]
    offset = zero + tl.load(seed_p + 1).to(tl.uint32)
    words = philox4x32(tl.load(seed_p), quad, row, zero + sample.to(tl.uint32), offset)
    place = word_p + tl.arange(0, ROWS)[:, None] * 8 + tl.arange(0, 2)[None, :] * 4
    for i in tl.static_range(4):
        tl.store(place + i, words[i].to(tl.int64))


@pytest.mark.parametrize("wide", [4, 8])
@pytest.mark.parametrize("seed", [(-(2**50) + 1, 2), (2**63 - 1, -1), (0, 0)])
def test_words_are_those_of_plain_torch_and_normals_too_to_rounding(seed, wide):
    """What `seed=` gives on a CPU is what it gives on a GPU."""
    seed, row0, k = torch.tensor(seed), 2**31 - 7, 3
    words, eps = torch.zeros(4, 8, dtype=torch.int64), torch.empty(4, 8)
    _noise_kernel[(1,)](seed, words, eps, k, row0, 4, 8, wide)
    assert torch.equal(words >> 8, (philox.uniform(seed, (k + 1, 4, 16), row0)[k, :, 8:].double() * 2**24).long())
    quad, row = torch.arange(2, 4), row0 + torch.arange(4)[:, None]
    exact = philox.philox4x32(seed[0], quad, row, torch.tensor(k), seed[1] & philox.MASK)
    assert torch.equal(words.view(4, 2, 4), torch.stack(exact, -1))
    assert_close(eps, philox.normal(seed, (k + 1, 4, 16), row0)[k, :, 8:], rtol=0, atol=2e-6)


@pytest.mark.parametrize(("k", "prior", "weight"), [(19, False, "full"), (5, True, "path")])
def test_how_samples_are_dealt_out_does_not_show(monkeypatch, k, prior, weight):
    """A GPU that few programs fill makes each loop over samples; the noise is the same bits, sums are to rounding."""
    inputs = [t.requires_grad_() for t in tensors(5, 12)]

    def run():
        outputs = fused(*inputs[:2], k, tuple(inputs[2:]) if prior else None, SEED, 0, False, weight)
        return *outputs, *torch.autograd.grad([o.sin().sum() for o in outputs], inputs[: 2 + 2 * prior])

    z, *spread = run()
    monkeypatch.setattr("kernels._triton.reparam_kl.WARPS", 1)
    looped_z, *looped = run()
    assert torch.equal(z, looped_z)
    assert_close(looped, spread, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("k", "tiles", "chunk", "side_by_side"), [
    (1, 10**6, 1, 1), (50, 8, 1, 16), (50, 2048, 10, 2), (53, 10**4, 9, 1), (6, 10**4, 6, 1)])
def test_samples_of_a_program(k, tiles, chunk, side_by_side):
    assert (_chunk(k, tiles), _side_by_side(k, tiles)) == (chunk, side_by_side)


def tensors(b, d):
    return [0.6 * torch.randn(b, d) for _ in range(4)]


def number(mu, logvar, p_mu, p_logvar, seed=SEED):
    z, kl, weight = fused(mu, logvar, 3, (p_mu, p_logvar), seed, 0, False, "full")
    return z.sin().sum() + kl.square().sum() + weight.logsumexp(0).sum()


def test_operators_are_well_formed():
    h, p_mu, p_logvar = torch.randn(5, 12), torch.randn(5, 6), torch.randn(5, 6)
    for prior, per_dim, gweight in (((None, None), True, None), ((p_mu, p_logvar), False, torch.randn(3, 5))):
        inputs = (*h.chunk(2, 1), *prior, SEED)
        opcheck(_forward, (*inputs, 3, 0, per_dim, gweight is not None))
        opcheck(_backward, (torch.randn(3, 5, 6), torch.randn(5, 6) if per_dim else torch.randn(5), gweight, *inputs, 0, False))


def test_vmap_of_grad_with_a_seed_each():
    arguments = [torch.stack(ts) for ts in zip(*(tensors(5, 6) for _ in range(2)), strict=True)]
    seeds = torch.randint(100, (2, 2))
    gradients = torch.func.grad(number, argnums=(0, 1, 2, 3))
    mapped = torch.func.vmap(gradients)(*arguments, seeds)
    for i in range(2):
        assert_close([g[i] for g in mapped], list(gradients(*(t[i] for t in arguments), seeds[i])))


def test_second_derivatives_of_path_derivatives_are_refused():
    mu, logvar = (t.requires_grad_() for t in tensors(4, 5)[:2])
    (first,) = torch.autograd.grad(fused(mu, logvar, 2, None, SEED, 0, False, "path")[2].sum(), mu, create_graph=True)
    with pytest.raises(NotImplementedError, match="path=False"):
        first.sum().backward()


def test_equal_inputs_give_equal_bits():
    arguments = [t.requires_grad_() for t in tensors(5, 260)]
    one, other = (torch.autograd.grad(number(*arguments), arguments) for _ in range(2))
    assert all(map(torch.equal, one, other))
