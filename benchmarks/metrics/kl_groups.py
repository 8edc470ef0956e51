"""How the KL is shared out among the latents: collapse, one latent at a time."""

from ..context import Context
from . import Measured, metric

COLLAPSED = 0.01                                            # nats


@metric("kl_collapsed", unit="share", better="none", group="latent space", needs=["bound", "stochastic", "groups"])
def kl_collapsed(context: Context) -> Measured:
    """Groups of latents that say nothing about x: the share of g with E_x KL(q(z_g|x) || p(z_g)) < 0.01 nats.

    A group is a dimension wherever the KL is that of Gaussians; absent where the KL is one number for all latents (a prior
    without a closed form), is that of a point, or belongs to a time step. Over the test split. No direction is better: latents
    that the data do not need are rightly left.
    Source: Lucas et al. 2019, "Don't Blame the ELBO!" (collapse within epsilon; there of a share of the x, here of their mean).
    """
    return Measured(float((context.group_kl < COLLAPSED).double().mean()), n=len(context.test))


@metric("kl_largest", unit="nats", better="none", group="latent space", needs=["bound", "stochastic", "groups"])
def kl_largest(context: Context) -> Measured:
    """The largest E_x KL(q(z_g|x) || p(z_g)) of all groups g of latents, as in `kl_collapsed`.

    Beside the whole KL it says whether few latents carry it: at most log of how many values that latent can tell apart.
    Source: the rate of a Gaussian channel, Cover & Thomas 2006, theorem 9.1.1.
    """
    return Measured(float(context.group_kl.max()), n=len(context.test))
