"""Shuffled batches of tensors that lie in memory, and the jitter that makes them harder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from labc.train.data import Part

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Shuffled:
    """One epoch per iteration: every image at most once, in an order drawn from (seed, epoch); the last partial batch is dropped.

    `batch` images per process; `rank` of `world` processes takes its own share. `place()` gives (epoch, rank, world) when an epoch starts.
    A resumed run draws what the whole run would have drawn.
    """

    part: Part
    batch: int
    seed: int
    side: int
    jitter: tuple[float, float, float] | None
    place: Callable[[], tuple[int, int, int]]

    def __len__(self) -> int:
        return max(1, len(self.part) // (self.batch * self.place()[2]))

    def __iter__(self) -> Iterator[Batch]:
        epoch, rank, world = self.place()
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.part), generator=generator)[rank::world]
        for number in range(len(self)):
            index = order[number * self.batch : (number + 1) * self.batch]
            images = self.part.images[index]
            if self.jitter is not None:
                images = jittered(images, self.side, self.jitter, generator)
            yield images, self.part.labels[index]


@dataclass(frozen=True)
class Whole:
    """All images in order, 1000 at a time."""

    part: Part

    def __len__(self) -> int:
        return -(-len(self.part) // 1000)

    def __iter__(self) -> Iterator[Batch]:
        yield from zip(torch.split(self.part.images, 1000), torch.split(self.part.labels, 1000), strict=True)


def jittered(images: Tensor, side: int, jitter: tuple[float, float, float], generator: torch.Generator) -> Tensor:
    """uint8 [n, side²] → the same, each image shifted, rotated and scaled a little (bilinear, zeros outside, rounded).

    jitter: the largest shift in pixels, rotation in degrees and relative scale; each drawn uniformly between ± that.
    """
    pixels, degrees, zoom = jitter
    n = len(images)
    draw = torch.rand(4, n, generator=generator) * 2 - 1
    angle, scale = draw[0] * math.radians(degrees), 1 + draw[1] * zoom
    cosine, sine, shift = scale * angle.cos(), scale * angle.sin(), draw[2:] * (2 * pixels / side)
    theta = torch.stack([torch.stack([cosine, -sine, shift[0]], 1), torch.stack([sine, cosine, shift[1]], 1)], 1)
    grid = functional.affine_grid(theta, [n, 1, side, side], align_corners=False)
    moved = functional.grid_sample(images.view(n, 1, side, side).float(), grid, align_corners=False)
    return moved.round().to(torch.uint8).view(n, side * side)
