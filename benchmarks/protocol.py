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
    factor_examples: int = 3000                             # encoded where factors are known: of test, valid and train in turn
    factor_points: int = 1000                               # that a disentanglement metric learns from; half as many test it
    factor_seeds: int = 2                                   # repetitions that such a metric is a mean over
    dci_points: int = 500                                   # the same for DCI, which is dearer
    dci_rounds: int = 10                                    # of its boosting
    dci_seeds: int = 1
    refined_k: int = 100                                    # importance samples after q was refined for each example
    refined_examples: int = 50                              # of the test split, from its start
    ais_examples: int = 0                                   # for annealed importance sampling, which is dear: 0 leaves it out
    ais_steps: int = 200                                    # temperatures from the prior to the posterior
    batch_sizes: tuple[int, ...] = (1, 64)                  # to time training, encoding, decoding and sampling at
    elbo_targets: tuple[float, ...] = ()                    # nats; the seconds that training takes to reach them are measured


@dataclass(frozen=True)
class Trial:
    """One training run and its evaluation. `settings` are complete: the zoo's defaults under the suite's. A baseline stands in
    for a variant: it takes no steps, and of the budget only the batch size, in which throughput is measured."""

    suite: str
    dataset: str
    variant: str
    seed: int
    settings: Mapping[str, Any] = field(hash=False)
    budget: Budget
    evaluation: Evaluation
    role: str = "variant"                                   # or "baseline"

    def __str__(self) -> str:
        return f"{self.dataset} {self.variant} seed {self.seed}"
