"""The front end of the keyword recipe: a second of sound becomes 32 × 64 bytes, by constants that firmware can repeat.

For each of 64 frames (256 samples, the next one 128 samples later):

1. samples, as int16 numbers, times a periodic Hann window, w[i] = ½ − ½ cos(2πi/256);
2. a 256-point FFT; power p[k] = re² + im², k = 0…128 (31.25 Hz each);
3. 32 triangular mel bands, E[b] = Σ p[k]·`bank()`[b, k], between 60 and 4000 Hz, mel = 2595 log₁₀(1 + f/700);
4. level = round(8·(log₂ max(E, 1) − 12)), clamped to 0…255: a step is 0.376 dB, digital silence is 0, and a sine at full scale in
   the middle of a band is about 240.

Levels are computed here in float64. A front end in other arithmetic may be off by one where E lies near the border of two levels; the
network takes any bytes, so what follows it is exact for whatever levels it is given.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE = 8000  # samples a second
WINDOW, HOP = 256, 128
FRAMES, BANDS = 64, 32
SAMPLES = (FRAMES - 1) * HOP + WINDOW  # 8320, 1.04 s
STEPS_PER_OCTAVE = 8  # of power, 3.01 dB
FLOOR = 12  # log2 of the power that becomes level 0
_LOWEST, _HIGHEST = 60.0, 4000.0


@cache
def bank() -> NDArray[np.float64]:
    """float64 [32, 129]: band b rises from 0 at the centre of band b − 1 to 1 at its own and falls to 0 at the next; read only."""
    low, high = (2595 * np.log10(1 + frequency / 700) for frequency in (_LOWEST, _HIGHEST))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    frequencies = np.arange(WINDOW // 2 + 1) * (RATE / WINDOW)
    rising = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    weights: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    weights.flags.writeable = False
    return weights


def fitted(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """int16 [n], n any → int16 [8320]: the middle of a longer sound; a shorter one in the middle of silence."""
    excess = len(samples) - SAMPLES
    if excess >= 0:
        return samples[excess // 2 : excess // 2 + SAMPLES]
    before = -excess // 2
    return np.pad(samples, (before, -excess - before))


def levels(samples: NDArray[np.int16]) -> NDArray[np.uint8]:
    """int16 [8320], 8 kHz → uint8 [32, 64]: bands (low to high) by frames."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP].astype(np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    spectrum = np.fft.rfft(frames * hann, axis=1)
    energy = (spectrum.real**2 + spectrum.imag**2) @ bank().T
    scaled = np.rint(STEPS_PER_OCTAVE * (np.log2(np.maximum(energy, 1)) - FLOOR))
    found: NDArray[np.uint8] = np.clip(scaled, 0, 255).astype(np.uint8).T.copy()
    return found
