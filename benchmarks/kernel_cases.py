"""What `zoo-bench kernels` times: each operation beside the same thing as one writes it in torch, at sizes that fit the device.

Both take the same inputs and do float32 arithmetic. mu and logvar are halves of a net's last layer, so their rows lie apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import kernels
from kernels.logistic_mixture_nll import reference as plain_mixture
from kernels.total_correlation import reference as plain_correlation

Call = Callable[..., Tensor | tuple[Tensor, ...]]


@dataclass(frozen=True)
class Case:
    operation: str
    size: dict[str, int]
    dtype: torch.dtype
    inputs: Callable[[], list[Tensor]]
    fused: Call
    textbook: Call
    differentiable: bool = True

    @property
    def name(self) -> str:
        return f"{self.operation} {self.said} {str(self.dtype).removeprefix('torch.')}"

    @property
    def said(self) -> str:
        return ", ".join(f"{name} {n}" for name, n in self.size.items())


def textbook(mu: Tensor, logvar: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """z = mu + exp(logvar / 2) eps, KL = 1/2 sum(mu^2 + exp(logvar) - 1 - logvar), as one writes them."""
    m, v = mu.float(), logvar.float()
    z = m + torch.exp(0.5 * v) * torch.randn(k, *mu.shape, device=mu.device)
    return z.to(mu.dtype), 0.5 * (m.square() + v.exp() - 1 - v).sum(-1)


def textbook_log_weight(mu: Tensor, logvar: Tensor, k: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """And log p(z) - log q(z), whose constants cancel."""
    m, v = mu.float(), logvar.float()
    eps = torch.randn(k, *mu.shape, device=mu.device)
    z = m + torch.exp(0.5 * v) * eps
    kl = 0.5 * (m.square() + v.exp() - 1 - v).sum(-1)
    return z.to(mu.dtype), kl, 0.5 * (v + eps.square() - z.square()).sum(-1)


def cases(device: torch.device) -> list[Case]:
    """On a CPU only what takes seconds there."""
    gpu = device.type == "cuda"
    both = [torch.float32, torch.bfloat16]
    sizes = [(128, 32), (4096, 256), *([(65536, 512), (16, 16384)] if gpu else [])]
    return [
        *(reparam_kl(*size, dtype, device) for size in sizes for dtype in both),
        *(reparam_log_weight(*size, 50, dtype, device) for size in sizes[: 1 + gpu] for dtype in both),
        *(total_correlation(rows, 32, device) for rows in ([256, 1024, 4096, 8192] if gpu else [256])),
        *(nearest_code(*((131072, 8192) if gpu else (4096, 512)), 64, dtype, device) for dtype in both[: 1 + gpu]),
        *(logistic_mixture_nll(64 if gpu else 2, 10, dtype, device) for dtype in both[: 1 + gpu]),
    ]


def _halves(rows: int, latents: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    return list((0.5 * torch.randn(rows, 2 * latents, dtype=dtype, device=device)).chunk(2, -1))


def reparam_kl(rows: int, latents: int, dtype: torch.dtype, device: torch.device) -> Case:
    return Case("reparam_kl", {"B": rows, "D": latents}, dtype, lambda: _halves(rows, latents, dtype, device),
                kernels.reparam_kl, textbook)


def reparam_log_weight(rows: int, latents: int, k: int, dtype: torch.dtype, device: torch.device) -> Case:
    return Case("reparam_log_weight", {"B": rows, "D": latents, "k": k}, dtype, lambda: _halves(rows, latents, dtype, device),
                lambda mu, logvar: kernels.reparam_log_weight(mu, logvar, k),
                lambda mu, logvar: textbook_log_weight(mu, logvar, k))


def total_correlation(rows: int, latents: int, device: torch.device) -> Case:
    def inputs() -> list[Tensor]:
        mu, logvar = _halves(rows, latents, torch.float32, device)
        return [mu + (logvar / 2).exp() * torch.randn_like(mu), mu, logvar]

    return Case("total_correlation", {"B": rows, "D": latents}, torch.float32, inputs, kernels.total_correlation,
                plain_correlation)


def nearest_code(n: int, k: int, width: int, dtype: torch.dtype, device: torch.device) -> Case:
    def inputs() -> list[Tensor]:
        return [torch.randn(rows, width, dtype=dtype, device=device) for rows in (n, k)]

    return Case("nearest_code", {"N": n, "K": k, "d": width}, dtype, inputs, kernels.nearest_code,
                lambda x, codes: torch.cdist(x.float(), codes.float()).argmin(1), differentiable=False)


def logistic_mixture_nll(images: int, components: int, dtype: torch.dtype, device: torch.device) -> Case:
    x = torch.randint(256, (images, 3, 32, 32), device=device) / 255
    return Case("logistic_mixture_nll", {"images": images, "pixels": 32 * 32, "M": components}, dtype,
                lambda: [torch.randn(images, 10 * components, 32, 32, dtype=dtype, device=device)],
                lambda params: kernels.logistic_mixture_nll(x, params),
                lambda params: plain_mixture(x.flatten(2), params.flatten(2), 256))
