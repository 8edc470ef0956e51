"""What `zoo-bench kernels` times: each operation beside the same thing as one writes it in torch, at sizes that fit the device.

Both take the same inputs and do float32 arithmetic. mu and logvar are halves of a net's last layer, so their rows lie apart.
The two likelihoods have no kernel: there the operation is the textbook under torch.compile, to see what a kernel could gain.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from kernels.logistic_mixture_nll import reference as plain_mixture
from kernels.total_correlation import reference as plain_correlation

Call = Callable[..., Tensor | tuple[Tensor, ...]]


@dataclass(frozen=True)
class Case:
    """fused: None where there is no kernel. data: what the calls read besides the inputs, and give no gradient.

    elements: how many times the arithmetic is done; None: the product of all sizes.
    """

    operation: str
    size: dict[str, int]
    dtype: torch.dtype
    inputs: Callable[[], list[Tensor]]
    fused: Call | None
    textbook: Call
    differentiable: bool = True
    data: tuple[Tensor, ...] = ()
    elements: int | None = None

    @property
    def count(self) -> int:
        return math.prod(self.size.values()) if self.elements is None else self.elements

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


def textbook_prior(mu: Tensor, logvar: Tensor, p_mu: Tensor, p_logvar: Tensor) -> tuple[Tensor, Tensor]:
    """The same, KL from another diagonal Gaussian."""
    m, v, pm, pv = mu.float(), logvar.float(), p_mu.float(), p_logvar.float()
    z = m + torch.exp(0.5 * v) * torch.randn(1, *mu.shape, device=mu.device)
    return z.to(mu.dtype), 0.5 * (pv - v + (v.exp() + (m - pm).square()) / pv.exp() - 1).sum(-1)


def textbook_log_weight(mu: Tensor, logvar: Tensor, k: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """And log p(z) - log q(z), whose constants cancel."""
    m, v = mu.float(), logvar.float()
    eps = torch.randn(k, *mu.shape, device=mu.device)
    z = m + torch.exp(0.5 * v) * eps
    kl = 0.5 * (m.square() + v.exp() - 1 - v).sum(-1)
    return z.to(mu.dtype), kl, 0.5 * (v + eps.square() - z.square()).sum(-1)


def textbook_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """-log p(x), nats for each example, as `zoo.likelihoods.Bernoulli` has it."""
    return F.binary_cross_entropy_with_logits(logits.float(), x, reduction="none").sum(-1)


def textbook_gaussian(x: Tensor, mu: Tensor, raw: Tensor) -> Tensor:
    """-log p(x), nats for each example, as `zoo.likelihoods.Gaussian` has it: a scale for each number, at least 0.01."""
    logvar = 2 * (F.softplus(raw.float()) + 0.01).log()
    return 0.5 * (math.log(2 * math.pi) + logvar + (x - mu.float()).square() * (-logvar).exp()).sum(-1)


def cases(device: torch.device, scale: str | None = None) -> list[Case]:
    """Tensors on that device, of sizes for a `scale`, cpu or cuda, which is the device's own unless given.

    For a CPU only what takes seconds there.
    """
    gpu = (scale or device.type) == "cuda"
    both = [torch.float32, torch.bfloat16]
    few = both[: 1 + gpu]
    sizes = [(128, 32), (4096, 256), *([(65536, 512), (16, 16384)] if gpu else [])]
    rows, width = (8192, 3072) if gpu else (128, 784)
    return [
        *(reparam_kl(*size, dtype, device) for size in sizes for dtype in both),
        *(reparam_kl_prior(*sizes[gpu], dtype, device) for dtype in few),
        *(reparam_log_weight(*size, 50, dtype, device) for size in sizes[: 1 + gpu] for dtype in both),
        *(total_correlation(n, 32, device) for n in ([256, 1024, 4096, 8192] if gpu else [256])),
        *(nearest_code(*((131072, 8192) if gpu else (4096, 512)), 64, dtype, device) for dtype in few),
        *(logistic_mixture_nll(64 if gpu else 2, 10, dtype, device) for dtype in few),
        *(likelihood(rows, width, dtype, device) for likelihood in (bernoulli_nll, gaussian_nll) for dtype in few),
    ]


def _halves(rows: int, latents: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    return list((0.5 * torch.randn(rows, 2 * latents, dtype=dtype, device=device)).chunk(2, -1))


def reparam_kl(rows: int, latents: int, dtype: torch.dtype, device: torch.device) -> Case:
    return Case("reparam_kl", {"B": rows, "D": latents}, dtype, lambda: _halves(rows, latents, dtype, device),
                kernels.reparam_kl, textbook)


def reparam_kl_prior(rows: int, latents: int, dtype: torch.dtype, device: torch.device) -> Case:
    def inputs() -> list[Tensor]:
        return [*_halves(rows, latents, dtype, device), *_halves(rows, latents, dtype, device)]

    return Case("reparam_kl_prior", {"B": rows, "D": latents}, dtype, inputs,
                lambda mu, logvar, *prior: kernels.reparam_kl(mu, logvar, prior=prior), textbook_prior)


def reparam_log_weight(rows: int, latents: int, k: int, dtype: torch.dtype, device: torch.device) -> Case:
    return Case("reparam_log_weight", {"B": rows, "D": latents, "k": k}, dtype, lambda: _halves(rows, latents, dtype, device),
                lambda mu, logvar: kernels.reparam_log_weight(mu, logvar, k),
                lambda mu, logvar: textbook_log_weight(mu, logvar, k))


def total_correlation(rows: int, latents: int, device: torch.device) -> Case:
    def inputs() -> list[Tensor]:
        mu, logvar = _halves(rows, latents, torch.float32, device)
        return [mu + (logvar / 2).exp() * torch.randn_like(mu), mu, logvar]

    return Case("total_correlation", {"B": rows, "D": latents}, torch.float32, inputs, kernels.total_correlation,
                plain_correlation, elements=rows * rows * latents)


def nearest_code(n: int, k: int, width: int, dtype: torch.dtype, device: torch.device) -> Case:
    def inputs() -> list[Tensor]:
        return [torch.randn(rows, width, dtype=dtype, device=device) for rows in (n, k)]

    return Case("nearest_code", {"N": n, "K": k, "d": width}, dtype, inputs, kernels.nearest_code,
                lambda x, codes: torch.cdist(x.float(), codes.float()).argmin(1), differentiable=False, elements=n * k)


def logistic_mixture_nll(images: int, components: int, dtype: torch.dtype, device: torch.device) -> Case:
    x = torch.randint(256, (images, 3, 32, 32), device=device) / 255
    return Case("logistic_mixture_nll", {"images": images, "pixels": 32 * 32, "M": components}, dtype,
                lambda: [torch.randn(images, 10 * components, 32, 32, dtype=dtype, device=device)],
                lambda params: kernels.logistic_mixture_nll(x, params),
                lambda params: plain_mixture(x.flatten(2), params.flatten(2), 256), data=(x,))


def bernoulli_nll(rows: int, width: int, dtype: torch.dtype, device: torch.device) -> Case:
    x = torch.randint(2, (rows, width), device=device).float()
    return Case("bernoulli_nll", {"B": rows, "D": width}, dtype, lambda: [torch.randn(rows, width, dtype=dtype, device=device)],
                None, lambda logits: textbook_bernoulli(x, logits), data=(x,))


def gaussian_nll(rows: int, width: int, dtype: torch.dtype, device: torch.device) -> Case:
    x = torch.rand(rows, width, device=device)
    return Case("gaussian_nll", {"B": rows, "D": width}, dtype, lambda: _halves(rows, width, dtype, device),
                None, lambda mu, raw: textbook_gaussian(x, mu, raw), data=(x,))
