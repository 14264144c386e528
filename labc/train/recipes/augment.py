"""Changes to training images that leave their labels right. All draw from the generator they are given, and nothing else."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def jittered(images: Tensor, jitter: tuple[float, float, float], generator: torch.Generator) -> Tensor:
    """Square grey images, uint8 [n, side²] or [n, 1, side, side] → the same, each shifted, rotated and scaled a little.

    Bilinear, zeros outside, rounded.
    jitter: the largest shift in pixels, rotation in degrees and relative scale; each drawn uniformly between ± that.
    """
    pixels, degrees, zoom = jitter
    n, side = len(images), math.isqrt(images[0].numel())
    draw = torch.rand(4, n, generator=generator) * 2 - 1
    angle, scale = draw[0] * math.radians(degrees), 1 + draw[1] * zoom
    cosine, sine, shift = scale * angle.cos(), scale * angle.sin(), draw[2:] * (2 * pixels / side)
    theta = torch.stack([torch.stack([cosine, -sine, shift[0]], 1), torch.stack([sine, cosine, shift[1]], 1)], 1)
    grid = functional.affine_grid(theta, [n, 1, side, side], align_corners=False)
    moved = functional.grid_sample(images.view(n, 1, side, side).float(), grid, align_corners=False)
    return moved.round().to(torch.uint8).view(images.shape)


def moved(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """uint8 [n, …, length] → the same, each moved along its last axis by up to `most` to either side (uniform), zeros moving in."""
    length = images.shape[-1]
    shift = torch.randint(-most, most + 1, (len(images),), generator=generator)
    source = torch.arange(length) - shift[:, None] + most
    padded = functional.pad(images, (most, most))
    return padded.gather(-1, source.view(len(images), *[1] * (images.dim() - 2), length).expand_as(images))


def louder(levels: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Logarithmic levels, uint8 [n, …] → each input's louder or softer by up to `most` levels (uniform); 0, which is silence, stays 0."""
    gain = torch.randint(-most, most + 1, (len(levels),), generator=generator)
    changed = (levels.int() + gain.view(-1, *[1] * (levels.dim() - 1))).clamp_(0, 255).to(torch.uint8)
    return changed.where(levels > 0, 0)
