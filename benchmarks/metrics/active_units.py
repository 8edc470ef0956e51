"""How many latents carry anything."""

from ..context import Context
from . import Measured, metric

THRESHOLD = 0.01


@metric("active_units", unit="latents", better="none", group="latent space")
def active_units(context: Context) -> Measured:
    """Latents whose posterior mean moves with x: the number of d with Var_x E_q[z_d|x] > 0.01, over the test split.

    Where there is a latent at every step, all frames of all sequences count as examples. Of models whose codes have no
    scale of their own (point posteriors) it says only which codes are constant.
    Source: Burda et al. 2016, section 5.1.
    """
    return Measured(int((context.codes.double().var(0) > THRESHOLD).sum()), n=len(context.codes))
