"""The operations on a GPU, against the same oracles as everywhere; test_transforms.py adds what torch does to them.

    python -m pytest --confcutdir tests/kernels -m gpu tests/kernels          needs torch, triton, numpy and pytest
"""

import functools
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from normality import assert_standard_normal
from operations import logistic_mixture, total_correlation, with_gradients
from torch.testing import assert_close

from kernels import nearest_code, philox, reparam_kl, reparam_log_weight

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("poisoned_memory"),
              pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def seeded(mu, logvar, k, prior, seed, row0, per_dim):
    return reparam_kl(mu, logvar, k, prior=prior, seed=seed, row0=row0, per_dim=per_dim)


def weighted(mu, logvar, k, prior, seed, row0, per_dim, path):
    return reparam_log_weight(mu, logvar, k, prior=prior, seed=seed, row0=row0, per_dim=per_dim, path=path)


SHAPES = [(1, 5, 2), (3, 7, 37), (2, 9, 300), (50, 64, 20), (1, 1, 1), (1, 70_001, 3), (1, 4096, 256)]


@pytest.mark.parametrize(("shape", "prior", "per_dim"), [*itertools.product(SHAPES, (False, True), (False, True))])
def test_values_and_gradients(agrees, shape, prior, per_dim):
    agrees(seeded, *shape, prior, per_dim, dtype=torch.float32, device="cuda", tolerance=1e-4)


@pytest.mark.parametrize("path", [False, True])
@pytest.mark.parametrize(("shape", "prior"), [*itertools.product(SHAPES[:-1], (False, True))])
def test_log_weights_and_their_gradients(agrees, shape, prior, path):
    agrees(functools.partial(weighted, path=path), *shape, prior, False, dtype=torch.float32, device="cuda", tolerance=1e-3,
           weight="path" if path else "full")


PAIRS = [lambda: total_correlation(5, 7, 3), lambda: total_correlation(300, 257, 32), lambda: total_correlation(65, 70, 130),
         lambda: logistic_mixture(2, (3, 2), 3, 5), lambda: logistic_mixture(8, (32, 32), 10, 256),
         lambda: total_correlation(70_001, 9, 5), lambda: total_correlation(9, 70_001, 5),
         lambda: logistic_mixture(70_001, (1,), 2, 5)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("make", PAIRS)
def test_pairs_and_mixtures(make, dtype):
    """Against float64 of the rounded inputs. Of the whole: sharp components leave small elements few digits."""
    example = make()
    inputs = example.to("cuda", dtype)
    got = with_gradients(example.public, inputs)
    want = with_gradients(example.reference, [t.detach().double().requires_grad_() for t in inputs])
    near = max(1e-4, 2 * torch.finfo(dtype).eps)
    for i, (one, other) in enumerate(zip(got, want, strict=True)):
        assert one.isfinite().all() and one.dtype == (torch.float32 if i < len(got) - len(inputs) else dtype)
        assert (one - other).norm() < near * other.norm()


@pytest.mark.parametrize("make", PAIRS[:4])
def test_pairs_and_mixtures_in_replayed_graphs(make):
    example = make()
    inputs = example.to("cuda", torch.float32)
    want = with_gradients(example.public, inputs)
    call = torch.compile(example.public, fullgraph=True, mode="reduce-overhead")
    for _ in range(4):                                      # run, recorded, replayed
        torch.compiler.cudagraph_mark_step_begin()
        assert_close(with_gradients(call, inputs), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("n", "k", "d"), [(5, 3, 2), (1000, 1030, 65), (4096, 512, 64)])
def test_the_code_found_is_as_near_as_any(n, k, d, dtype):
    """Distances are compared, not indices: rounding may choose between codes that are equally near."""
    x, codes = torch.randn(n, d, device="cuda").to(dtype), torch.randn(k, d, device="cuda").to(dtype)
    distances = torch.cdist(x.double(), codes.double()).square()
    found = distances.gather(1, nearest_code(x, codes)[:, None])[:, 0]
    assert_close(found, distances.amin(1), rtol=0, atol=1e-4)


def test_nothing_of_the_size_of_all_pairs_is_kept():
    inputs = total_correlation(8192, 8192, 32).to("cuda", torch.float32)
    x, codes = torch.randn(131072, 64, device="cuda"), torch.randn(8192, 64, device="cuda")
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with_gradients(total_correlation(1, 1, 1).public, inputs)
    nearest_code(x, codes)
    assert torch.cuda.max_memory_allocated() - before < 64 * 2**20      # N x B float32 would be 256 MiB, N x K 4 GiB


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


def differ(draws):
    return all(torch.isclose(one, other).float().mean() < 0.05 for one, other in itertools.combinations(draws, 2))


def test_every_replay_of_a_graph_draws_anew():
    """And its backward pass has the noise of its forward pass: dz/dlogvar = (z - mu) / 2."""
    mu, logvar = (torch.randn(64, 20, device="cuda", requires_grad=True) for _ in range(2))

    def step():
        z, _, log_weight = reparam_log_weight(mu, logvar)
        return z, log_weight, *torch.autograd.grad(z.sum(), logvar)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        z, log_weight, gradient = step()
    draws, weights = [], []
    for _ in range(3):
        graph.replay()
        assert_close(gradient, 0.5 * (z[0] - mu).detach(), rtol=1e-4, atol=1e-5)
        draws.append(z.detach().clone())
        weights.append(log_weight.detach().clone())
    assert differ(draws) and differ(weights)


def test_reduce_overhead_draws_anew_at_every_call():
    mu, logvar = (torch.randn(64, 20, device="cuda", requires_grad=True) for _ in range(2))
    call = torch.compile(lambda mu, logvar: reparam_kl(mu, logvar)[0], fullgraph=True, mode="reduce-overhead")
    draws = []
    for _ in range(6):
        torch.compiler.cudagraph_mark_step_begin()
        z = call(mu, logvar)
        draws.append(z.detach().clone())
        (gradient,) = torch.autograd.grad(z.sum(), logvar)
        assert_close(gradient, 0.5 * (draws[-1][0] - mu).detach(), rtol=1e-4, atol=1e-5)
    assert differ(draws)


@pytest.mark.parametrize("shape", [(6, 5000, 100), (50, 999, 10)])
def test_noise_is_normal_and_independent(shape):
    k, b, d = shape
    zero = torch.zeros(b, d, device="cuda")
    assert_standard_normal(reparam_kl(zero, zero, k, seed=torch.tensor([3, 0], device="cuda"))[0])
    assert_standard_normal(torch.cat([reparam_kl(zero, zero)[0] for _ in range(k)]))       # and fresh noise, from call to call


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_compute_sanitizer_finds_nothing(tool):
    """Every kernel, forward and backward, at small odd sizes."""
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed")
    here = Path(__file__).parent
    command = [sanitizer, "--tool", tool, "--report-api-errors", "no", "--error-exitcode", "9", "--target-processes", "all",
               sys.executable, "-m", "pytest", "--confcutdir", str(here), "-q", "-p", "no:cacheprovider",
               "-k", "(grad_and_vmap and cuda) or (code_found and 5-3-2)", str(here)]
    run = subprocess.run(command, cwd=here.parents[1], capture_output=True, text=True,
                         env=os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})
    assert run.returncode == 0 and " passed" in run.stdout, run.stdout[-4000:] + run.stderr[-4000:]


def memory():
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0


@pytest.mark.skipif(memory() < 32 * 2**30, reason="needs 32 GiB of GPU memory")
def test_more_than_two_to_the_31_elements():
    rows = 2**23 + 1
    seed = torch.tensor([7, 1], device="cuda")
    mu, logvar = (torch.zeros(1, 256, device="cuda", dtype=torch.bfloat16).expand(rows, 256).requires_grad_() for _ in range(2))
    z, kl = reparam_kl(mu, logvar, seed=seed)
    last = philox.normal(seed, (1, 1, 256), row0=rows - 1)
    assert_close(z[:, -1:].float(), last, rtol=2**-7, atol=1e-5)
    above = torch.zeros_like(z)
    above[:, -1] = 1
    gradients = torch.autograd.grad(z, (mu, logvar), above)
    for gradient, want in zip(gradients, (torch.ones_like(last), 0.5 * last), strict=True):
        assert_close(gradient[-1:].float(), want[0], rtol=2**-7, atol=1e-5)
        assert not gradient[:-1].any() and (kl == 0).all()
