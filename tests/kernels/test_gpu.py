"""reparam_kl on a GPU, against the same oracle as everywhere."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from kernels import philox, reparam_kl

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def seeded(mu, logvar, k, prior, seed, row0, per_dim):
    return reparam_kl(mu, logvar, k, prior=prior, seed=seed, row0=row0, per_dim=per_dim)


SHAPES = [(1, 5, 2), (3, 7, 37), (2, 9, 300), (50, 64, 20), (1, 1, 1), (1, 4096, 256)]


@pytest.mark.parametrize(("shape", "prior", "per_dim"), [*itertools.product(SHAPES, (False, True), (False, True))])
def test_values_and_gradients(agrees, shape, prior, per_dim):
    agrees(seeded, *shape, prior, per_dim, dtype=torch.float32, device="cuda", tolerance=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(agrees, dtype):
    tolerance = 1e-12 if dtype == torch.float64 else torch.finfo(dtype).eps
    agrees(seeded, 3, 65, 20, True, False, dtype=dtype, device="cuda", tolerance=tolerance)


def test_noise_is_the_contract():
    seed = torch.tensor([-9, 4], device="cuda")
    zero = torch.zeros(4096, 64, device="cuda")
    z, kl = reparam_kl(zero, zero, 2, seed=seed)
    assert_close(z, philox.normal(seed, (2, 4096, 64)), rtol=0, atol=1e-5)
    assert_close(z.cpu(), philox.normal(seed.cpu(), (2, 4096, 64)), rtol=0, atol=1e-5)
    assert (kl == 0).all()


def test_nothing_of_the_size_of_z_is_kept():
    h = torch.randn(4096, 512, device="cuda", requires_grad=True)
    before = torch.cuda.memory_allocated()
    z, kl = reparam_kl(*h.chunk(2, -1), 8)
    assert torch.cuda.memory_allocated() - before < z.nbytes + kl.nbytes + 2**16


def test_compiled_noise_is_eager_noise():
    mu = torch.randn(64, 20, device="cuda")

    def two():
        return [reparam_kl(mu, mu)[0] for _ in range(2)]

    torch.manual_seed(1)
    eager = two()
    torch.manual_seed(1)
    compiled = torch.compile(two, fullgraph=True)()
    assert not torch.equal(*eager)
    assert_close(compiled, eager)


def test_every_replay_of_a_graph_draws_anew():
    mu = torch.zeros(64, 20, device="cuda")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        reparam_kl(mu, mu)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        z, _ = reparam_kl(mu, mu)
    graph.replay()
    first = z.clone()
    graph.replay()
    assert not torch.isclose(first, z).all()


@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_properties(0).total_memory < 16 * 2**30,
    reason="needs 16 GiB of GPU memory",
)
def test_more_than_two_to_the_31_elements():
    rows = 2**23 + 1
    seed = torch.tensor([7, 1], device="cuda")
    zero = torch.zeros(1, 256, device="cuda", dtype=torch.bfloat16).expand(rows, 256)
    z, _ = reparam_kl(zero, zero, seed=seed)
    last = philox.normal(seed, (1, 1, 256), row0=rows - 1)
    assert_close(z[:, -1:].float(), last, rtol=2**-7, atol=1e-5)
