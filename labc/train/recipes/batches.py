"""Shuffled batches of tensors that lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from labc.train.data import Part
from labc.train.recipes.recipe import Augment

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
    augment: Augment | None
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
            if self.augment is not None:
                images = self.augment(images, generator)
            yield images, self.part.labels[index]


@dataclass(frozen=True)
class Whole:
    """All images in order, 1000 at a time, of networks with convolutions (whose values are large) 100."""

    part: Part

    @property
    def size(self) -> int:
        return 1000 if self.part.images.dim() == 2 else 100

    def __len__(self) -> int:
        return -(-len(self.part) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        yield from zip(torch.split(self.part.images, self.size), torch.split(self.part.labels, self.size), strict=True)
