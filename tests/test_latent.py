"""Ways through latent space: where they begin, where they end, what stands still."""

import pytest
import torch
from mpl_toolkits.mplot3d import Axes3D

from zoo import latent
from zoo.pictures import latent_map

F64 = torch.float64


def test_a_traversal_moves_one_latent_a_row() -> None:
    start = torch.tensor([7.0, 8.0, 9.0])
    z = latent.traversal(start, torch.tensor([2, 0]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert z.tolist() == [[7, 8, 1], [7, 8, 2], [3, 8, 9], [4, 8, 9]] and start.tolist() == [7, 8, 9]


def test_an_interpolation_goes_straight_to_the_next_and_round() -> None:
    z = torch.tensor([[0.0, 0.0], [2.0, 4.0], [-2.0, 0.0]])
    rows = latent.interpolation(z, 3).unflatten(0, (3, 3))
    assert torch.equal(rows[:, 0], z) and torch.equal(rows[:, 2], z[[1, 2, 0]])
    assert rows[:, 1].tolist() == [[1, 2], [0, 2], [-1, 0]]


def test_the_plane_has_gaussian_quantiles_and_is_laid_out_as_a_map() -> None:
    z = latent.plane(torch.tensor([1.0, -1.0], dtype=F64), torch.tensor([2.0, 0.5], dtype=F64), 5).unflatten(0, (5, 5))
    assert z[2, 2].tolist() == pytest.approx([1, -1])
    right, up = z[2, 4, 0], z[0, 2, 1]
    assert float(right) == pytest.approx(1 + 2 * 2.3263478740) and float(up) == pytest.approx(-1 + 0.5 * 2.3263478740)
    share = 0.5 * (1 + torch.erf((z[2, :, 0] - 1) / (2 * 2**0.5)))                 # Gaussian, not even, steps
    assert share.tolist() == pytest.approx([0.01, 0.255, 0.5, 0.745, 0.99])


def test_principal_axes_of_known_codes() -> None:
    g = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(4, 4, generator=g, dtype=F64))
    parts = torch.randn(50, 4, generator=g, dtype=F64)
    parts, _ = torch.linalg.qr(parts - parts.mean(0))       # centred and orthonormal
    scaled = parts * torch.tensor([4.0, 2.0, 1.0, 2.0])
    found, share = latent.principal(scaled @ turn + 3, 1)
    assert share == pytest.approx(16 / 25) and torch.allclose(found[:, 0].abs(), scaled[:, 0].abs(), atol=1e-9)
    again, _ = latent.principal((scaled @ turn + 3).flip(0), 1)
    assert torch.allclose(again.flip(0), found)             # the sign is no accident
    assert latent.principal(torch.zeros(5, 3), 2)[1] == 0


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_maps_in_the_plane_and_in_space(size: int) -> None:
    codes, label = torch.randn(20, size, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    (flat,), (deep,) = latent_map(codes, label).axes, latent_map(codes, label, dims=3).axes
    assert isinstance(deep, Axes3D) and not isinstance(flat, Axes3D)
    assert ("principal" in flat.get_title()) == (size > 2) and ("principal" in deep.get_title()) == (size > 3)
    assert len(latent_map(codes, dims=3).axes[0].collections[0].get_offsets()) == 20
