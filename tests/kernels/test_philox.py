"""The noise contract: known answers, the place of every number, and what the numbers look like."""

import math

import pytest
import torch
from normality import assert_standard_normal, kolmogorov_smirnov
from torch.library import opcheck
from torch.testing import assert_close

from kernels import philox

KNOWN = (  # Random123's kat_vectors, philox4x32-10: counter, key, words
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
)
KEYS = (0, 9, -77, 2**40 + 3, -(2**63))


def seed(key: int, offset: int = 0) -> torch.Tensor:
    return torch.tensor([key, offset])


def by_hand(key: int, counter: tuple[int, ...]) -> tuple[int, ...]:
    """Philox in Python's whole numbers, which do not wrap."""
    c0, c1, c2, c3 = counter
    k0, k1 = key % 2**32, key % 2**64 >> 32
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter, key, answer):
    low, high = (int(word, 16) for word in key.split())
    key = int.from_bytes(((high << 32) | low).to_bytes(8, "little"), "little", signed=True)
    got = philox.philox4x32(torch.tensor(key), *(torch.tensor(int(word, 16)) for word in counter.split()))
    assert [f"{int(word):08x}" for word in got] == answer.split()


@pytest.mark.parametrize("key", KEYS)
def test_every_word_is_where_the_contract_says(key):
    k, b, d, row0, offset = 2, 3, 7, 2**32 - 2, -1
    got = philox.uniform(seed(key, offset), (k, b, d), row0)
    for i, j, m in ((0, 0, 0), (1, 2, 6), (1, 0, 3), (0, 1, 4)):
        word = by_hand(key, (m // 4, (row0 + j) % 2**32, i, offset % 2**32))[m % 4]
        assert got[i, j, m] == (word >> 8) * 2.0**-24


@pytest.mark.parametrize("key", KEYS)
def test_normals_are_box_muller_of_the_words(key):
    w = philox.words(seed(key)[0], 4, 400).double().reshape(-1, 2)
    radius, angle = (-2 * ((w[:, 0] + 0.5) / 2**32).log()).sqrt(), 2 * math.pi * w[:, 1] / 2**32
    want = torch.stack([radius * angle.cos(), radius * angle.sin()], -1).reshape(1, 1, 400)
    assert_close(philox.normal(seed(key, 4), (1, 1, 400)).double(), want, rtol=0, atol=2e-6)


@pytest.mark.parametrize("draw", [philox.normal, philox.uniform])
def test_numbers_depend_on_neither_batch_nor_width_nor_samples(draw):
    whole = draw(seed(7, 3), (3, 8, 37))
    assert torch.equal(draw(seed(7, 3), (2, 5, 10)), whole[:2, :5, :10])
    assert torch.equal(draw(seed(7, 3), (3, 4, 37), row0=4), whole[:, 4:])
    for other in (seed(8, 3), seed(7, 4), seed(7 + 2**32, 3)):
        assert not torch.isclose(draw(other, (3, 8, 37)), whole).any(-1).all()


@pytest.mark.parametrize("shape", [(1, 0, 4), (2, 3, 0), (0, 2, 2)])
def test_empty(shape):
    assert philox.normal(seed(1), shape).shape == philox.uniform(seed(1), shape).shape == shape
    assert philox.words(seed(1)[0], 0, 0).shape == (0,)


def test_normals_are_normal_and_independent():
    assert_standard_normal(philox.normal(seed(3), (6, 500, 100)))


def repeated(eps, axis, lag):
    """Every block of `lag` numbers twice."""
    pairs = eps.narrow(axis, 0, eps.shape[axis] // (2 * lag) * 2 * lag).unflatten(axis, (-1, 2, lag))
    return pairs.narrow(axis + 1, 0, 1).expand_as(pairs).flatten(axis, axis + 2)


def shared_radius(eps):
    """The mistake of one radius for both pairs of a call."""
    pairs = eps.unflatten(-1, (-1, 2, 2))
    radius = pairs.norm(dim=-1, keepdim=True)
    return (pairs / radius * radius[..., :1, :]).flatten(-3)


PLANTED = {
    "moment 1": lambda eps: eps + 0.01,
    "moment 2": lambda eps: 1.01 * eps,
    "moment 4": lambda eps: 3**0.5 * (2 * torch.special.ndtr(eps) - 1),
    "distribution": lambda eps: torch.where(eps.abs() < 0.02, eps + 0.02, eps),
    "numbers 1 apart along k": lambda eps: repeated(eps, 0, 1),
    "numbers 2 apart along b": lambda eps: repeated(eps, 1, 2),
    "numbers 4 apart along d": lambda eps: repeated(eps, 2, 4),
    "squares . apart along d": shared_radius,
}


@pytest.mark.parametrize("found", PLANTED)
def test_a_planted_bias_is_found(found):
    with pytest.raises(AssertionError, match=found):
        assert_standard_normal(PLANTED[found](philox.normal(seed(3), (6, 500, 100))))


def test_the_kolmogorov_smirnov_distance_is_scipys():
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    x = 0.9 * torch.randn(200, dtype=torch.float64)
    assert kolmogorov_smirnov(x) == pytest.approx(stats.kstest(x.numpy(), "norm").statistic, abs=1e-12)


def test_uniforms_are_uniform():
    """Seen through the normal quantile: every test of normals is one of them."""
    u = philox.uniform(seed(3), (6, 500, 100)).double()
    assert u.min() >= 0 and u.max() < 1
    assert_standard_normal(torch.special.ndtri(u + 2.0**-25))


def test_no_word_gives_an_infinite_normal():
    ends = torch.tensor([0, 1, 2**31, 2**32 - 2, 2**32 - 1])
    assert philox._radius(ends).max() < 6.8
    assert philox._radius(ends).isfinite().all()
    assert philox._angle(ends).abs().max() <= torch.pi


def test_compiled_words_are_the_eager_words():
    compiled = torch.compile(lambda s: philox.words(s[0], s[1], 1001), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(seed(-77, 5)), philox.words(seed(-77)[0], 5, 1001))


def test_seeds_may_be_mapped():
    seeds = torch.randint(100, (3, 2))
    mapped = torch.func.vmap(lambda s: philox.normal(s, (2, 3, 5)))(seeds)
    assert torch.equal(mapped, torch.stack([philox.normal(s, (2, 3, 5)) for s in seeds]))


def test_fresh_seeds_differ_and_obey_manual_seed():
    def two(like):
        return philox.fresh_seed(like), philox.fresh_seed(like)

    for draw in (two, torch.compile(two, fullgraph=True, backend="aot_eager_decomp_partition")):
        torch.manual_seed(3)
        one, other = draw(torch.zeros(2))
        torch.manual_seed(3)
        assert not torch.equal(one, other)
        assert torch.equal(one, philox.fresh_seed(torch.zeros(2)))


def test_the_operator_of_fresh_seeds_is_well_formed():
    """Not compared compiled and eager, as two draws differ."""
    opcheck(philox.fresh_seed, (torch.zeros(2),), test_utils=("test_schema", "test_autograd_registration", "test_faketensor"))


def test_fresh_seeds_obey_the_randomness_of_vmap():
    def draw(randomness):
        return torch.func.vmap(philox.fresh_seed, randomness=randomness)(torch.zeros(4, 2))

    assert len(draw("different").unique()) == 8
    assert len(draw("same").unique()) == 2
    with pytest.raises(RuntimeError, match="pass a seed"):
        draw("error")
