"""VQ-VAE, van den Oord et al. 2017, eq. 3 and appendix A.1: nearest codes, straight-through gradients, k-means by averages."""

import math

import pytest
import torch
from support import SPECS, B, examples, perturbed, small

import zoo


def model_of(**settings):
    model = perturbed(small("vq_vae", "binary", **{"latent_dim": 8, "codes": 10, "groups": 4, **settings}))
    return model, examples("binary")


def test_the_code_is_the_nearest():
    model, batch = model_of()
    q = model(batch).q
    distance = torch.cdist(q.encoded.flatten(0, 1), model.codebook)
    assert torch.equal(q.index.flatten(), distance.argmin(-1))
    torch.testing.assert_close(q.chosen.flatten(0, 1), model.codebook[distance.argmin(-1)])
    assert len(q.index.unique()) > 2


def test_objective_by_hand():
    model, batch = model_of(commitment=0.25)
    terms = model(batch)
    commitment = (terms.q.encoded - terms.q.chosen).square().flatten(1).sum(1)
    expected = terms.nll[0] + 4 * math.log(10) + 0.25 * commitment
    torch.testing.assert_close(model.objective(terms, torch.tensor(0.0)), expected)


def test_the_decoder_gets_the_codes():
    model, batch = model_of()
    torch.testing.assert_close(model(batch, 2).z, model(batch).q.chosen.flatten(1).expand(2, B, 8))


def test_gradients_pass_straight_through_the_codes():
    """d nll / d z_e = d nll / d z."""
    model, batch = model_of()
    terms = model(batch)
    at_z, at_encoded = torch.autograd.grad(terms.nll.sum(), [terms.z, terms.q.encoded])
    torch.testing.assert_close(at_encoded.flatten(1), at_z[0])
    assert (at_z != 0).any()


def test_the_commitment_pulls_the_encoder_to_its_codes_and_moves_no_decoder():
    model, batch = model_of()
    terms = model(batch)
    pull = (model.objective(terms, torch.tensor(0.0)) + terms.elbo).sum()
    (g,) = torch.autograd.grad(pull, [terms.q.encoded], retain_graph=True)
    torch.testing.assert_close(g, 0.5 * (terms.q.encoded - terms.q.chosen), atol=1e-4, rtol=1e-4)
    decoder = torch.autograd.grad(pull, list(model.decoder.parameters()), allow_unused=True)
    assert all(d is None or (d.abs() < 1e-4).all() for d in decoder)


def test_an_update_is_one_weighted_step_of_k_means():
    """From N_c old counts at codes e_c: the mean of (decay N_c) copies of e_c and (1 - decay) of each new point."""
    model, batch = model_of(decay=0.7)
    terms = model(batch)
    with torch.no_grad():
        model.counts.copy_(torch.rand(10) + 0.5)
        model.sums.copy_(model.codebook * model.counts[:, None])
    new = model.updated_buffers(terms)
    points, index = terms.q.encoded.detach().flatten(0, 1), terms.q.index.flatten()
    for c in range(10):
        mine = points[index == c]
        weight = 0.7 * model.counts[c] + 0.3 * len(mine)
        mean = (0.7 * model.counts[c] * model.codebook[c] + 0.3 * mine.sum(0)) / weight
        torch.testing.assert_close(new["counts"][c], weight)
        torch.testing.assert_close(new["codebook"][c], mean, atol=1e-4, rtol=1e-4)      # 1e-5: the smoothing of counts


def test_decay_zero_is_k_means_itself():
    model, batch = model_of(decay=0.0)
    terms = model(batch)
    new, index = model.updated_buffers(terms)["codebook"], terms.q.index.flatten()
    for c in index.unique():
        torch.testing.assert_close(new[c], terms.q.encoded.flatten(0, 1)[index == c].mean(0), atol=1e-4, rtol=1e-4)
    assert new.isfinite().all()                             # codes that nobody chose


def test_a_forward_pass_moves_no_code_and_training_does():
    model, batch = model_of()
    before = {k: v.clone() for k, v in model.named_buffers()}
    model(batch)
    assert all(torch.equal(v, before[k]) for k, v in model.named_buffers())
    data = zoo.Dataset("one", model.spec, *[zoo.Split(batch.x, batch.label)] * 3, note="")
    zoo.fit(model, data, steps=1, progress=False)
    assert all(not torch.equal(v, before[k]) for k, v in model.named_buffers())


def test_samples_are_made_of_codes():
    model, _ = model_of()
    z = model.prior(zoo.Batch()).sample(500, zoo.noise.Generated(0)).view(-1, 1, 2)
    assert (z == model.codebook).all(-1).any(-1).all()
    chosen = (z == model.codebook).all(-1).float().mean(0)
    assert ((chosen - 0.1).abs() < 5 * math.sqrt(0.09 / 2000)).all()


def test_groups_must_share_out_the_latents():
    with pytest.raises(ValueError, match="multiple of groups"):
        zoo.create("vq_vae", SPECS["binary"], latent_dim=10, groups=4)
