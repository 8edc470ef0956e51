"""What the extractor's classifier makes of samples: are all classes there, and is it sure?"""

import torch

from ..context import Context, mean_and_error
from . import Measured, metric

SURE = 0.9


@metric("class_tv", unit="share", better="lower", group="distribution", needs=["still", "classifier"])
def class_tv(context: Context) -> Measured:
    """Total variation between the classes of samples and those of the training split, as the extractor's classifier sees both.

        1/2 sum_c |p_c - q_c|        p, q: shares of the samples, and of training examples, whose most likely class is c

    0 only for very many samples: about (classes / (2 pi n))^1/2 for the right distribution. What is scored is described at
    `fcd`. The standard error is over samples, linearised.
    Source: Srivastava et al. 2017, for counting modes by a classifier, with the KL divergence; here the total variation,
    Levin & Peres 2017, proposition 4.2, which stays finite where a class is missing.
    """
    features = context.features
    drawn, real = (features.probabilities(x) for x in (features.samples, features.real.features))
    classes = drawn.argmax(1)
    p, q = (torch.bincount(c, minlength=drawn.shape[1]).double() / len(c) for c in (classes, real.argmax(1)))
    value, stderr = mean_and_error((p - q).sign()[classes] / 2)
    return Measured(float((p - q).abs().sum() / 2), stderr, len(classes))


@metric("confident", unit="share", better="none", group="distribution", needs=["still", "classifier"])
def confident(context: Context) -> dict[str, Measured]:
    """Share of samples whose largest class probability exceeds 0.9; beside it, as `confident_real`, of training examples.

    A share below the real one: samples in between classes. Above it: samples all of one kind. Neither is good, and a
    classifier trained with smoothed labels is rarely sure.
    Source: this project; the confidence term of the inception score, Salimans et al. 2016, section 4, made a share.
    """
    features, found = context.features, {}
    for label, x in (("confident", features.samples), ("confident_real", features.real.features)):
        sure = (features.probabilities(x).amax(1) > SURE).double()
        found[label] = Measured(*mean_and_error(sure), len(sure))
    return found
