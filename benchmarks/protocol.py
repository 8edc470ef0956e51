"""One trial, and the numbers of it that a suite fixes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Budget:
    """Arguments of `zoo.fit`."""

    steps: int = 1000
    batch_size: int = 128
    lr: float = 1e-3
    final_lr: float = 1e-4
    warmup: int = 0
    ema: float = 0.999
    evaluate_every: int = 500
    precision: str = "float32"


@dataclass(frozen=True)
class Evaluation:
    """What is measured, and on how much."""

    metrics: tuple[str, ...] = ("*",)                       # names, or patterns in a suite's file
    elbo_samples: int = 1                                   # draws of z for each test example
    iwae_k: int = 100                                       # importance samples for each test example
    iwae_examples: int = 250                                # of the test split, from its start
    samples: int = 1000                                     # drawn from the model for the Fréchet distance
    extractor: str = "random_projection"                    # its feature space
    labelled: int = 1000                                    # training examples that probes and clusterings learn from
    batch_sizes: tuple[int, ...] = (1, 64)                  # to time training, encoding, decoding and sampling at
    elbo_targets: tuple[float, ...] = ()                    # nats; the seconds that training takes to reach them are measured


@dataclass(frozen=True)
class Trial:
    """One training run and its evaluation. `settings` are complete: the zoo's defaults under the suite's."""

    suite: str
    dataset: str
    variant: str
    seed: int
    settings: Mapping[str, Any] = field(hash=False)
    budget: Budget
    evaluation: Evaluation

    def __str__(self) -> str:
        return f"{self.dataset} {self.variant} seed {self.seed}"
