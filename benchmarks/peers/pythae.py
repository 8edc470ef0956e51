"""pythae 0.1.2: its networks, trainer and estimator; and a model of the zoo's around the same networks.

    its loss = 1/2 sum (x - decoder(z))^2 + KL(q(z|x) || N(0, I)),    -ELBO under p(x|z) = N(decoder(z), I) but for a constant

Source: Chadebec, Vincent & Allassonnière 2022; `VAE.loss_function` and `VAE.get_nll` in its `models/vae/vae_model.py`.
"""

import contextlib
import copy
import importlib.metadata
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn

import zoo
from zoo.distributions import LOG_2PI
from zoo.likelihoods import Gaussian, Likelihood, full
from zoo.noise import Default

VERSION = importlib.metadata.version("pythae")
SHAPE = (1, 28, 28)
LATENT = 16
NETWORKS = ("mlp", "conv")                                  # 784-512-16-512-784; its convolutional nets for MNIST
COPIES = 100                                                # rows of one pass of its estimator

for _name in [name for name in logging.root.manager.loggerDict if name.startswith("pythae.")]:
    logging.getLogger(_name).setLevel(logging.WARNING)      # each has set its own, and prints


def build(networks: str, seed: int = 0) -> VAE:
    """Its model. Leaves torch's global generator as it was."""
    config = VAEConfig(input_dim=SHAPE, latent_dim=LATENT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(config) if networks == "mlp" else VAE(config, Encoder_Conv_VAE_MNIST(config), Decoder_Conv_AE_MNIST(config))


def epochs(model: VAE, x: Tensor, batch_size: int, lr: float, folder: Path) -> Callable[[], None]:
    """A function that trains `model`, in place, by an epoch of its trainer on images x (N,1,28,28): `train_step`, with its
    loader and progress bar; no evaluation, no checkpoint, no copy of the best model. `folder`: for what it writes at first.
    """
    cpu = next(model.parameters()).device.type == "cpu"
    config = BaseTrainerConfig(output_dir=str(folder), per_device_train_batch_size=batch_size, learning_rate=lr, no_cuda=cpu)
    trainer = BaseTrainer(model, BaseDataset(x, torch.zeros(len(x))), training_config=config)
    trainer.prepare_training()

    def epoch() -> None:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            trainer.train_step(1)
            trainer.callback_handler.on_epoch_end(trainer.training_config)          # closes the bar
    return epoch


def loss(model: VAE, x: Tensor, eps: Tensor) -> Tensor:
    """Its loss on x (B,1,28,28) for this noise (B,D), nats, mean over the batch, without the Gaussian's constant."""
    with _given(model, eps):
        return model({"data": x}).loss


def log_p(model: VAE, x: Tensor, samples: int, eps: Tensor | None = None) -> float:
    """Its estimate of log p(x), nats, mean over images, from a multiple of COPIES samples each. It is named get_nll, and has no
    minus. Gradients are turned off for it, as its own scripts do. eps (COPIES,D): the noise for each image, not drawn."""
    with torch.no_grad(), _given(model, eps):
        return float(model.eval().get_nll(x, n_samples=samples, batch_size=COPIES))


@contextlib.contextmanager
def _given(model: VAE, eps: Tensor | None) -> Iterator[None]:
    """Within the block the model takes this noise."""
    if eps is not None:
        model._sample_gauss = lambda mu, std: (mu + eps * std, eps)
    try:
        yield
    finally:
        model.__dict__.pop("_sample_gauss", None)


class Given(Default):
    """Noise whose latents are these, (B,D) or (K,1,D)."""

    def __init__(self, eps: Tensor) -> None:
        super().__init__(eps.device)
        self.eps = eps

    def latent(self, shape: tuple[int, ...]) -> tuple[Tensor | None, Tensor | None]:
        return self.eps.expand(shape), None


class UnitGaussian(Gaussian):
    """N(mu, I): a density summed in one pass."""

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        assert mask is None, "its networks know no missing values"
        errors = F.mse_loss(self.mu, x.expand_as(self.mu), reduction="none").flatten(2)
        return -0.5 * (errors.sum(-1) + LOG_2PI * errors.shape[-1])


def codes(net: nn.Module) -> nn.Module:
    """The layers of its encoder, and its two heads as one product (B,2D): the zoo's nets end so."""
    layers, means, log_variances = copy.deepcopy(net.layers), net.embedding, net.log_var
    assert isinstance(layers, nn.ModuleList) and isinstance(means, nn.Linear) and isinstance(log_variances, nn.Linear)
    heads = nn.utils.skip_init(nn.Linear, means.in_features, 2 * means.out_features)
    with torch.no_grad():
        heads.weight.copy_(torch.cat([means.weight, log_variances.weight]))
        heads.bias.copy_(torch.cat([means.bias, log_variances.bias]))
    takes_rows = isinstance(next(layers[0].children()), nn.Linear)
    return nn.Sequential(OrderedDict(taken=nn.Flatten() if takes_rows else nn.Identity(), layers=nn.Sequential(*layers),
                                     made=nn.Flatten(), heads=heads))


class Means(nn.Module):
    """Its decoder's output (N,1,28,28)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)["reconstruction"]


class SameNetworks(zoo.Variant):
    """-ELBO as the zoo computes it, with copies of pythae's networks."""

    entry = zoo.Entry("pythae's networks", zoo.Variant, paper="Chadebec, Vincent & Allassonnière 2022",
                      url="https://arxiv.org/abs/2206.08309", equation="the plain VAE")

    @classmethod
    def of(cls, model: VAE) -> "SameNetworks":
        return cls(spec=zoo.DataSpec(SHAPE, "unit"), latent_dim=LATENT, encoder=codes(model.encoder),
                   decoder=Means(copy.deepcopy(model.decoder)))

    def objective(self, terms: zoo.Terms, step: Tensor) -> Tensor:
        return -terms.elbo

    def emit(self, h: Tensor) -> Likelihood:
        mu = full(self.decoder(h.flatten(0, 1)))
        return UnitGaussian(mu.unflatten(0, h.shape[:2]), mu.new_ones(()))

    def loss(self, x: Tensor, eps: Tensor) -> Tensor:
        """pythae's loss on x for this noise (B,D), as `zoo.fit` comes by it."""
        terms = self(zoo.Batch(x), 1, Given(eps))
        return self.objective(terms, torch.zeros(())).mean() - 0.5 * LOG_2PI * self.spec.size

    @torch.no_grad()
    def log_p(self, x: Tensor, eps: Tensor) -> float:
        """The importance-weighted bound on log p(x), nats, mean over images, with this noise (K,D) for each."""
        return float(self(zoo.Batch(x), len(eps), Given(eps[:, None])).iwae.mean())

    @staticmethod
    def as_theirs(ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """What belongs to each of this model's parameters, by pythae's names."""
        found = {}
        for name, value in ours.items():
            theirs = name.replace(".net.", ".", 1)
            if ".heads." in theirs:
                found[theirs.replace("heads", "embedding")], found[theirs.replace("heads", "log_var")] = value.chunk(2)
            else:
                found[theirs] = value
        return found
