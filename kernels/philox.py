"""The noise contract: random numbers that are a function of a seed and a place, the same on every device.

A seed is an int64 tensor (2,) = (key, offset) on the device where the numbers are wanted. Element (k, b, d) of a tensor
(K, B, D) is made of word d % 4 of one call of Philox4x32-10:

    words = philox4x32(key, counter = (d // 4, row0 + b, k, offset mod 2^32))

so it depends neither on K, B, D nor on how a kernel tiles the tensor, and a batch split over devices sees the numbers
of the whole batch when each part says by `row0` where it begins. Words are equal bit for bit on every device; normals,
which pass through log, cos and sin, to about 2e-6 (1e-5 where a GPU's approximate ones are used).

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; Box and Muller 1958.
"""

from typing import Any

import torch
from torch import Tensor

MASK = 0xFFFFFFFF


def philox4x32(
    key: Tensor | int, c0: Tensor, c1: Tensor, c2: Tensor, c3: Tensor, rounds: int = 10
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32: four counter words and a 64-bit key to four random words.

    key: int64; c0..c3: int64 tensors in [0, 2^32) that broadcast. Returns four int64 tensors in [0, 2^32).
    """
    k0, k1 = key & MASK, (key >> 32) & MASK
    for _ in range(rounds):
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # int64 wraps: the bits are those of the unsigned product
        c0, c1, c2, c3 = ((b >> 32) & MASK) ^ c1 ^ k0, b & MASK, ((a >> 32) & MASK) ^ c3 ^ k1, a & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def words(key: Tensor, offset: Tensor | int, n: int) -> Tensor:
    """The first n words (n,) of the stream (key, offset), int64 in [0, 2^32): the words of a tensor (1, 1, n).

    key: int64 (), on the device where the words are wanted.
    """
    return _assemble(_calls(key, offset, (1, 1, n), 0), (1, 1, n)).reshape(n)


def normal(seed: Tensor, shape: tuple[int, int, int], row0: int = 0) -> Tensor:
    """Standard normal numbers of the given shape (K, B, D), float32, on the device of `seed`; |eps| <= 6.8.

    Box-Muller on pairs of words: u = (w0 + 1/2) / 2^32 gives the radius sqrt(-2 ln u), w1 the angle in [-pi, pi).
    """
    w0, w1, w2, w3 = _calls(seed[0], seed[1], shape, row0)
    r0, r1, a0, a1 = _radius(w0), _radius(w2), _angle(w1), _angle(w3)
    return _assemble((r0 * a0.cos(), r0 * a0.sin(), r1 * a1.cos(), r1 * a1.sin()), shape)


def uniform(seed: Tensor, shape: tuple[int, int, int], row0: int = 0) -> Tensor:
    """Uniform numbers in [0, 1) of the given shape (K, B, D): multiples of 2^-24, float32, on the device of `seed`."""
    drawn = _assemble(_calls(seed[0], seed[1], shape, row0), shape)
    return (drawn >> 8).float() * 2.0**-24


@torch.library.custom_op("vae_zoo::fresh_seed", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def fresh_seed(like: Tensor) -> Tensor:
    """A seed (2,) from torch's default generator on the device of `like`, drawn without telling the host.

    An operator with a tag, because torch.compile merges two equal draws that it does not know to be random.
    """
    return torch.randint(-(2**63), 2**63 - 1, (2,), dtype=torch.int64, device=like.device)


@fresh_seed.register_fake
def _(like: Tensor) -> Tensor:
    return like.new_empty(2, dtype=torch.int64)


@fresh_seed.register_vmap
def _(info: Any, in_dims: tuple[int | None], like: Tensor) -> tuple[Tensor, int | None]:
    if info.randomness == "same":
        return fresh_seed(like), None
    if info.randomness == "different":
        return torch.stack([fresh_seed(like) for _ in range(info.batch_size)]), 0
    raise RuntimeError('vmap with randomness="error" met a draw of fresh noise; pass a seed, or randomness="different"')


def _calls(key: Tensor, offset: Tensor | int, shape: tuple[int, int, int], row0: int) -> tuple[Tensor, ...]:
    """The words of all calls that a tensor (K, B, D) needs: four vectors, in the order (k, b, d // 4), then padding.

    The padding makes vectors whole multiples of 64: code that Inductor made for the tail of an int64 loop on a CPU has
    written past the end of its buffer.
    """
    k, b, d = shape
    quads = (d + 3) // 4
    padded = (k * b * quads + 63) // 64 * 64
    call = torch.arange(padded, device=key.device)
    row, quad = call // max(quads, 1), call % max(quads, 1)
    sample, row = row // max(b, 1), (row % max(b, 1) + row0) & MASK
    return philox4x32(key, quad, row, sample, torch.zeros_like(call) + (offset & MASK))


def _assemble(parts: tuple[Tensor, ...], shape: tuple[int, int, int]) -> Tensor:
    """Four vectors, one a word of each call, to one tensor (K, B, D)."""
    k, b, d = shape
    quads = (d + 3) // 4
    return torch.stack(parts, -1)[: k * b * quads].reshape(k, b, 4 * quads)[..., :d]


def _radius(word: Tensor) -> Tensor:
    return (-2.0 * (word.float() * 2.0**-32 + 2.0**-33).log()).sqrt()


def _angle(word: Tensor) -> Tensor:
    return ((word ^ 0x80000000) - 0x80000000).float() * (torch.pi * 2.0**-31)
