"""What is no likelihood of the data gets no likelihood's name: densities of bytes, cross-entropy of grey pixels."""

import pytest
import torch
from support import dataset

import zoo
from benchmarks.metrics import METRICS, measure
from zoo.likelihoods import Bernoulli, ContinuousBernoulli, Gaussian

LIKELIHOOD = [name for name in METRICS if METRICS.get(name).group == "likelihood"]


class Own(zoo.Variant):
    """A variant that brings p(x|z) of its own."""

    entry = zoo.entry("vae")

    def likelihood(self, z, given):
        mu = self.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])[..., 0, :, :, :]
        return self.make(mu)

    def objective(self, terms, step):
        return -terms.elbo


def unit_variance(mu):
    """The mean squared error as a likelihood."""
    return Gaussian(mu, torch.ones_like(mu))


def found(context, kind, make):
    data = dataset(kind)
    model = Own(spec=data.spec, latent_dim=2, hidden=4)
    model.make = make
    return set(measure(context(model, data, metrics=tuple(LIKELIHOOD), refined_examples=2))[0])


@pytest.mark.parametrize(("kind", "make"), [("byte", unit_variance), ("byte", Bernoulli), ("unit", Bernoulli),
                                            ("binary", unit_variance)])
def test_what_is_not_normalised_on_the_data_is_no_likelihood(context, kind, make):
    assert found(context, kind, make) == set()


@pytest.mark.parametrize(("make", "kind", "bits"), [(Bernoulli, "binary", True), (unit_variance, "unit", False),
                                                    (ContinuousBernoulli, "unit", False)])
def test_bits_are_of_probabilities_only(context, kind, make, bits):
    names = found(context, kind, make)
    assert {"elbo", "rate", "distortion", "nll_iwae_7"} <= names and ("bits_per_dim" in names) == bits


@pytest.mark.parametrize("kind", ["byte", "unit", "binary"])
def test_settings_cannot_ask_for_it(kind):
    spec = dataset(kind).spec
    for name in ("gaussian", "bernoulli"):
        if (kind, name) in (("unit", "gaussian"), ("binary", "bernoulli")):
            continue
        with pytest.raises(ValueError, match=f"{name} is not a likelihood of {kind} data"):
            zoo.create("vae", spec, likelihood=name)
