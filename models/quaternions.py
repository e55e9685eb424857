"""Rotations as quaternions (w, x, y, z), the form in which published labels and outputs store theta.

q and -q are the same rotation. Which of the two is given follows the published conversion: the component that the
square root is taken of is positive, and the signs of the diagonal decide which one that is.
"""

import torch
from torch import Tensor


def quaternions_from_rotations(rotations: Tensor) -> Tensor:
    """Unit quaternions (..., 4) of rotations (..., 3, 3)."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in rotations.unbind(-2))
    # Four times the outer product of the quaternion with itself: each of its rows is the quaternion, scaled.
    outer = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, zy - yz, xz - zx, yx - xy], -1),
            torch.stack([zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx], -1),
            torch.stack([xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy], -1),
            torch.stack([yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz], -1),
        ],
        -2,
    )
    # Each choice has a component of at least one half, so no row is near zero.
    across = torch.where(xx > yy, 1, 2)
    along = torch.where(xx < -yy, 3, 0)
    row = torch.where(zz < 0, across, along)
    chosen = outer.gather(-2, row[..., None, None].expand(*row.shape, 1, 4))[..., 0, :]
    return torch.nn.functional.normalize(chosen, dim=-1)


def rotations_from_quaternions(quaternions: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of quaternions (..., 4) of any length but zero."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)
