"""What a metric may need of a model, its data or the suite: predicates by name. Where one is not met, the metric is absent."""

from collections.abc import Callable

import zoo
from zoo.likelihoods import Family

from . import extractors, frechet
from .baselines import Baseline
from .context import SHOWN, Context
from .extractors import inception


def _joint(c: Context) -> zoo.Joint | None:
    """p(x, z) of the first test example."""
    return c.model.joint(c.test.head(1).batch(noise=c.noise(SHOWN)))


def _bound(c: Context) -> bool:
    """Not if p(x|z) is one of zoo.likelihoods and none of such data: grey pixels under a Bernoulli, bytes under a density."""
    if c.model.entry.bound == "none":
        return False
    joint = _joint(c)
    p = joint and joint.likelihood(joint.prior.sample(1, c.noise(SHOWN))[None])
    return not isinstance(p, Family) or c.data.spec.kind in p.kinds


def _density(c: Context) -> bool:
    return not {"deterministic", "discrete"} & set(c.model.entry.tags) and _joint(c) is not None


NEEDS: dict[str, tuple[str, Callable[[Context], bool]]] = {
    "trained": ("a model that is trained by steps", lambda c: not isinstance(c.model, Baseline)),
    "latents": ("a model with latents", lambda c: c.model.latent_dim > 0),
    "bound": ("a model whose terms bound log p(x)", _bound),
    "density": ("a model whose latents are real numbers, drawn at once", _density),
    "ais": ("a suite that asks for it: ais_examples under [evaluation]", lambda c: c.evaluation.ais_examples > 0),
    "steps": ("sequences", lambda c: c.data.spec.sequence),
    "discrete": ("discrete data", lambda c: c.data.spec.discrete),
    "numbers": ("data that are numbers", lambda c: c.data.spec.kind != "tokens"),
    "tokens": ("tokens", lambda c: c.data.spec.kind == "tokens"),
    "still": ("data that are no sequences", lambda c: not c.data.spec.sequence),
    "images": ("images with values in [0, 1]", lambda c: not c.data.spec.sequence and len(c.data.spec.shape) == 3
               and c.data.spec.kind != "real"),
    "classifier": ("an extractor that is a classifier", lambda c: extractors.classifies(c.evaluation.extractor)),
    "inception": (f"images of 1 or 3 channels, and the Inception weights in ${inception.VARIABLE}", lambda c: inception.named()
                  and NEEDS["images"][1](c) and c.data.spec.shape[0] in (1, 3)),
    "many samples": ("samples enough to extrapolate from", lambda c: frechet.parts(*c.features.samples.shape) >= 3),
    "decoder": ("a model that decodes one latent an example",
                lambda c: c.model.latent_dim > 0 and not isinstance(c.model, zoo.SequenceVariant)),
    "code": ("one code an example, not one a step", lambda c: c.one_code),
    "groups": ("a KL of several groups of latents", lambda c: c.one_code and len(c.group_kl) > 1),
    "labels": ("labelled data", lambda c: (c.data.spec.classes or 0) > 1 and c.data.test.label is not None),
    "parts": ("a model whose prior and likelihood can be asked by themselves", lambda c: isinstance(c.model, zoo.Variant)),
    "stochastic": ("a posterior that is no point", lambda c: "deterministic" not in c.model.entry.tags),
    "novel": ("data that leave a class out of training", lambda c: c.data.novel is not None),
    "hidden": ("data with hidden values whose truth is known", lambda c: c.data.hidden),
    "complete": ("data of which nothing is missing", lambda c: c.data.test.observed is None),
    "unconditional": ("a model that is not told the label", lambda c: "conditional" not in c.model.entry.tags),
    "oracle": ("data whose log-likelihood is known", lambda c: c.data.log_likelihood is not None),
    "factors": ("data with several known factors, and a model that is told none of them",
                lambda c: len(c.data.spec.factors) > 1 and "conditional" not in c.model.entry.tags),
}
IMPLIED = {"latent space": ("latents",), "disentanglement": ("latents",)}   # what every metric of a group needs
