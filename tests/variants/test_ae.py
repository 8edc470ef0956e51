"""AE: the reconstruction alone, from a code without noise."""

import torch
import torch.nn.functional as F
from support import examples, perturbed, small


def test_objective_is_the_cross_entropy_of_the_reconstruction():
    model, batch = perturbed(small("ae", "binary")), examples("binary")
    logits = model.decoder(model.encoder(batch.x))[:, 0]
    cross_entropy = F.binary_cross_entropy_with_logits(logits, batch.x, reduction="none").sum((1, 2, 3))
    torch.testing.assert_close(model.objective(model(batch), torch.tensor(0.0)), cross_entropy)


def test_the_code_is_the_encoders_output_and_costs_nothing():
    model, batch = perturbed(small("ae", "binary")), examples("binary")
    terms = model(batch, 3)
    assert torch.equal(terms.z, model.encoder(batch.x).expand(3, -1, -1))
    assert (terms.kl == 0).all()
