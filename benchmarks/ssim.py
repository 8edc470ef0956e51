"""Structural similarity of images.

    SSIM = (2 m_x m_y + C1) (2 c_xy + C2) / ((m_x^2 + m_y^2 + C1) (v_x + v_y + C2)),    C1 = 0.01^2, C2 = 0.03^2

of means m, variances v and covariance c under a Gaussian window, averaged over the window's places and over channels.
Values lie in [0, 1] (data range 1); window 11x11 with sigma 1.5, only where it is inside the image.
Source: Wang et al. 2004, eq. 13 and section III-C. Departs: on images smaller than the window, its central part, of the
largest odd size that fits.
"""

import torch
from torch import Tensor

SIZE, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
AT_ONCE = 500                                               # images


def band(side: int, size: int) -> Tensor:
    """(places,side) float64: a window's weights at each of its places along one side; rows sum to 1."""
    line = torch.exp(-0.5 * ((torch.arange(size, dtype=torch.float64) - size // 2) / SIGMA) ** 2)
    places = torch.arange(side - size + 1)[:, None]
    return torch.zeros(len(places), side, dtype=torch.float64).scatter_(
        1, places + torch.arange(size), (line / line.sum()).expand(len(places), -1))


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """(N,) float64, of images x and y (N,C,H,W) in [0, 1]."""
    return torch.cat([_ssim(a.double(), b.double()) for a, b in zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True)])


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    size = min(SIZE, *x.shape[2:])
    size -= size % 2 == 0
    rows, columns = (band(side, size) for side in x.shape[2:])                          # a Gaussian window is a product
    m_x, m_y, x_x, y_y, x_y = (rows @ v @ columns.mT for v in (x, y, x * x, y * y, x * y))
    v_x, v_y, c_xy = x_x - m_x**2, y_y - m_y**2, x_y - m_x * m_y
    local = (2 * m_x * m_y + C1) * (2 * c_xy + C2) / ((m_x**2 + m_y**2 + C1) * (v_x + v_y + C2))
    return local.flatten(1).mean(1)
