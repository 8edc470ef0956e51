"""How far drawn sequences are from real ones: single frames, and how they follow one another."""

from dataclasses import replace

import zoo

from .. import sequences
from ..context import Context
from . import Measured, metric


@metric("sequence_distance", unit="distance", better="lower", group="distribution", needs=["steps"])
def sequence_distance(context: Context) -> dict[str, Measured]:
    """Distances between `samples` drawn sequences and the training split: frames, transitions, autocorrelation, spectrum.

        _frames            Fréchet distance between single frames, in the data's units squared: blind to their order
        _transitions       the same between pairs of successive frames
        _autocorrelation   mean |rho - rho'| of each dimension's autocorrelation, lags 1 .. 20 (at most half the length)
        _spectrum          log-spectral distance between mean periodograms, dB
        _unigrams, _bigrams    of tokens, in place of these: total variation, in [0, 1]

    Dimensions that are constant in the training split are left out of the autocorrelation and the spectrum. All are biased
    upwards by finite sets: `sequence_floor` says by how much.
    Source: see benchmarks/sequences.py.
    """
    return compared("sequence_distance", context.samples, context.reference, context.data.spec)


@metric("sequence_floor", unit="distance", better="none", group="distribution", needs=["steps"])
def sequence_floor(context: Context) -> dict[str, Measured]:
    """The same distances of the test split from the training split: what real sequences have. Says nothing of the model.

    Of n test sequences: higher than it would be for as many as there are samples, where the test split is smaller.
    Source: as `sequence_distance`.
    """
    test = replace(context.data.test, binarise=False).batch(slice(None))
    return compared("sequence_floor", test, context.reference, context.data.spec)


def compared(name: str, a: zoo.Batch, b: zoo.Batch, spec: zoo.DataSpec) -> dict[str, Measured]:
    assert a.x is not None
    if spec.kind == "tokens":
        assert spec.vocabulary is not None
        found = {f"{what}grams": sequences.ngram_tv(a, b, n, spec.vocabulary) for n, what in ((1, "uni"), (2, "bi"))}
    else:
        assert spec.max_length is not None
        one, other = (sequences.dynamics(batch, spec.max_length) for batch in (a, b))
        found = {"frames": sequences.frame_distance(a, b, 1), "transitions": sequences.frame_distance(a, b, 2),
                 "autocorrelation": sequences.autocorrelation_distance(one, other),
                 "spectrum": sequences.spectral_distance(one, other)}
    return {f"{name}_{what}": Measured(value, n=len(a.x)) for what, value in found.items()}
