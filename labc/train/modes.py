"""What becomes of each activation: float in front of a sign, 8 bits in front of a binary layer, 16 bits around a residual sum."""

from __future__ import annotations

from torch import nn

from labc.train.functions import Add, Concat, Mean
from labc.train.graph import INPUT, Graph, Step
from labc.train.layers import ChannelLayer, Sign

ACTIVATIONS = (nn.ReLU, nn.PReLU, nn.Hardtanh, nn.ReLU6)
AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, Mean)
_PASSED = (nn.MaxPool1d, nn.MaxPool2d, nn.Flatten, Concat)  # the values stay what they are, in their step
_MONOTONE = (*ACTIVATIONS, *_PASSED, nn.BatchNorm1d, nn.BatchNorm2d)


class Modes:
    """`of[name]` is "float", "u8" or "i16" for each activation step; `stream[name]` the stream of each value that may be 16 bits.

    A stream is all values that residual sums tie to one another, also through activations and max pools: they share one step.
    """

    def __init__(self, graph: Graph) -> None:
        steps = graph.steps()
        readers: dict[str, list[Step]] = {name: [] for name in (INPUT, *graph.names)}
        for step in steps:
            for source in step.inputs:
                readers[source].append(step)
        signed: dict[str, bool] = {}  # whether only signs are taken of the value, perhaps behind monotone steps
        for step in reversed(steps):
            signed[step.name] = step.name != graph.output and all(
                isinstance(reader.module, Sign) or (isinstance(reader.module, _MONOTONE) and signed[reader.name])
                for reader in readers[step.name]
            )
        parent = {name: name for name in readers}

        def root(name: str) -> str:
            while parent[name] != name:
                name = parent[name]
            return name

        for step in steps:
            if isinstance(step.module, (Add, *ACTIVATIONS, *_PASSED)):
                for source in step.inputs:
                    if source != INPUT:
                        parent[root(source)] = root(step.name)
        binary = any(isinstance(step.module, ChannelLayer) for step in steps)
        wide = {root(s.name) for s in steps if isinstance(s.module, Add)}
        curved = [s for s in steps if isinstance(s.module, ACTIVATIONS) and not isinstance(s.module, nn.ReLU)]
        wide |= {root(s.name) for s in curved if binary and not signed[s.name]}
        self.stream = {name: root(name) for name in readers if root(name) in wide}
        self.of: dict[str, str] = {}
        for step in steps:
            if isinstance(step.module, ACTIVATIONS):
                eight = binary and not signed[step.name]
                self.of[step.name] = "i16" if step.name in self.stream else "u8" if eight else "float"
        pooled = any(isinstance(step.module, AVERAGES) and self._meets_binary(step, readers) for step in steps)
        self.quantizes = bool(self.stream) or "u8" in self.of.values() or pooled

    def _meets_binary(self, step: Step, readers: dict[str, list[Step]]) -> bool:
        """Whether a binary layer reads the value, with no sign between."""
        return any(
            isinstance(reader.module, ChannelLayer) or (isinstance(reader.module, _MONOTONE) and self._meets_binary(reader, readers))
            for reader in readers[step.name]
        )
