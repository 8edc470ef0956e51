"""Whether samples look real, and whether they cover what is real: precision, recall, density and coverage, k = 5.

Read them together: slight blur raises the precision, and a few examples repeated have the best one.
"""

from torch import Tensor

from ..context import Context, mean_and_error
from . import Measured, metric


def measured(values: Tensor) -> Measured:
    return Measured(*mean_and_error(values), len(values))


@metric("precision", unit="share", better="higher", group="distribution", needs=["still"])
def precision(context: Context) -> Measured:
    """Share of samples that are nearer to a real example than its 5th real neighbour is, in the extractor's feature space.

    `samples` samples against as many training examples, chosen by the seed; see benchmarks/manifolds.py. The standard error
    takes the real examples as given. Below 1 for real examples in place of samples too.
    Source: Kynkäänniemi et al. 2019, eq. 1-2.
    """
    return measured(context.features.neighbourhoods.precision)


@metric("recall", unit="share", better="higher", group="distribution", needs=["still"])
def recall(context: Context) -> Measured:
    """Share of real examples that are nearer to a sample than its 5th neighbour among samples is.

    The same sets as for `precision`. The standard error takes the samples as given. Outliers among samples have large balls
    and raise it.
    Source: Kynkäänniemi et al. 2019, eq. 1-2.
    """
    return measured(context.features.neighbourhoods.recall)


@metric("density", unit="ratio", better="none", group="distribution", needs=["still"])
def density(context: Context) -> Measured:
    """How densely samples lie where real examples do: balls of real examples around a sample, over their expected number.

    1 for the real distribution; above 1 where samples crowd in its modes, which is why more is not better. The same sets and
    error as for `precision`.
    Source: Naeem et al. 2020, section 3.
    """
    return measured(context.features.neighbourhoods.density)


@metric("coverage", unit="share", better="higher", group="distribution", needs=["still"])
def coverage(context: Context) -> Measured:
    """Share of real examples that have a sample nearer than their 5th real neighbour.

    The same sets and error as for `recall`. 1 - 2^-5 = 0.97 is expected of the real distribution.
    Source: Naeem et al. 2020, section 3.
    """
    return measured(context.features.neighbourhoods.coverage)
