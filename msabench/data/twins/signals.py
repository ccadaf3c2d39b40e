"""Audio and visual sequences that carry a part of the sentiment in time.

A sequence is standardised noise, smooth over four steps, with a slight offset for each speaker, and then:

- at each opinion's word a burst: the part's value on the `value` features (each with its own sign), and a fixed
  height on the `accent` feature, which says where to read;
- elsewhere as many decoys: a random value on the `value` features without an accent, so that averages over time are
  poor readers;
- where a channel has an `end`, one more burst of so many seconds there: what is said last is said clearest;
- where it has a `sway`, the utterance's own level on the `value` features: averages say less, what stands out as much;
- in audio, if the utterance is ironic, a drawl: a second of a raised `drawl` feature from its last opinion on, or at
  the end where there is an `end`.

At last each feature gets an own scale and level, over three orders of magnitude, as raw COVAREP and Facet have.
Everything is whole numbers up to that point and powers of two after it: exact in float32, the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from msabench.data.twins.draws import UNIT, Draws
from msabench.ragged import Ragged

NOISE = 2 * UNIT  # one standard deviation of a feature's noise, in whole numbers
ACCENT = 4 * NOISE
_ROWS = 1 << 16  # steps made at a time


@dataclass(frozen=True)
class Channel:
    width: int
    rate: float  # steps a second
    longest: int  # steps; the rest of a longer utterance is cut off, as in the field's files
    value_features: int
    gain: float  # height of a burst per standard deviation of the part, in standard deviations of the noise
    drawl: int = 0  # height of what tells irony, in standard deviations of the noise; 0 where it is not heard
    lure: float = 1.0  # standard deviation of a decoy's height, as a part of the gain
    end: float = 0.0  # seconds of the burst at the end
    sway: float = 0.0  # of an utterance's own level on the value features, in standard deviations of the noise

    @property
    def snr(self) -> float:
        """Power of a burst's peak over that of the noise, over all value features."""
        return self.value_features * self.gain**2


def steps(channel: Channel, milliseconds: np.ndarray) -> np.ndarray:
    """(N,) int64 number of steps, at least 1."""
    return np.clip((milliseconds * int(2 * channel.rate)) // 2000, 1, channel.longest)


@dataclass(frozen=True)
class Layout:
    """Which features carry what, and how features are scaled: the same for all splits of a dataset."""

    accent: int
    drawl: int
    value: np.ndarray  # (value_features,) int64
    signs: np.ndarray  # (value_features,) float32, 1 or -1
    scale: np.ndarray  # (width,) float32 powers of two
    centre: np.ndarray  # (width,) float32 whole numbers


def layout(draws: Draws, channel: Channel) -> Layout:
    roles = draws.order(channel.width)
    value = roles[2 : 2 + channel.value_features]
    signs = (draws.bits(len(value)) % 2).astype(np.float32) * 2 - 1
    exponents = draws.bits(channel.width).astype(np.int64) % 11 - 4
    centre = (draws.bits(channel.width) % 9).astype(np.float32) * NOISE - 2 * NOISE  # -2 to 6 deviations
    return Layout(int(roles[0]), int(roles[1]), value, signs, np.ldexp(np.float32(1 / NOISE), exponents), centre)


def signals(
    draws: Draws,
    channel: Channel,
    features: Layout,
    lengths: np.ndarray,
    speakers: np.ndarray,
    spots: list[list[float]],
    part: np.ndarray,
    irony: np.ndarray,
) -> Ragged:
    """Sequences for N utterances.

    lengths: (N,) steps. speakers: (N,) int64, from 0. spots: per utterance, the opinions' places, as shares of its
    duration. part, irony: (N,), what is to be carried.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tracks = _tracks(draws, channel, lengths, offsets, spots, part, irony)
    levels = draws.normal((int(speakers.max()) + 1) * channel.width).reshape(-1, channel.width) // 4
    owner = np.repeat(speakers, lengths)

    values = np.empty((int(offsets[-1]), channel.width), np.float32)
    for start in range(0, len(values), _ROWS):
        rows = slice(start, min(start + _ROWS, len(values)))
        n = rows.stop - rows.start
        white = draws.normal((n + 3) * channel.width).reshape(n + 3, channel.width)
        x = (white[:-3] + white[1:-2] + white[2:-1] + white[3:] + levels[owner[rows]]).astype(np.float32)
        x[:, features.value] += tracks["value"][rows, None] * features.signs
        x[:, features.accent] += tracks["accent"][rows]
        x[:, features.drawl] += tracks["drawl"][rows]
        np.multiply(x + features.centre, features.scale, out=values[rows])
    return Ragged(values, offsets)


def _tracks(
    draws: Draws,
    channel: Channel,
    lengths: np.ndarray,
    offsets: np.ndarray,
    spots: list[list[float]],
    part: np.ndarray,
    irony: np.ndarray,
) -> dict[str, np.ndarray]:
    """What is added to a step's value, accent and drawl features: (sum of T,) float32 whole numbers each."""
    counts = np.array([len(places) for places in spots])
    who = np.repeat(np.arange(len(spots)), counts)
    places = np.array([place for each in spots for place in each])
    at = (places * lengths[who]).astype(np.int64)
    last = at[np.cumsum(counts) - 1]
    decoys = (draws.uniform(len(who)) * lengths[who]).astype(np.int64)
    height = np.rint(part * (channel.gain * NOISE))
    lure = np.rint(draws.normal(len(who)) * (channel.lure * channel.gain * NOISE / UNIT))
    shape = np.array([0.5, 1, 1, 1, 0.5])  # about 0.4 s
    second = np.ones(round(channel.rate))
    tracks = {key: np.zeros(int(offsets[-1])) for key in ("value", "accent", "drawl")}

    def add(track: str, sample: np.ndarray, step: np.ndarray, heights: np.ndarray, form: np.ndarray, left: int) -> None:
        for k, weight in enumerate(form):
            to = step + k - left
            inside = (to >= 0) & (to < lengths[sample])
            np.add.at(tracks[track], offsets[sample[inside]] + to[inside], np.rint(weight * heights[inside]))

    add("value", who, at, height[who], shape, 2)
    add("accent", who, at, np.full(len(who), float(ACCENT)), shape, 2)
    add("value", who, decoys, lure, shape, 2)
    if channel.sway:
        tracks["value"] += np.repeat(np.rint(draws.normal(len(lengths)) * (channel.sway * NOISE / UNIT)), lengths)
    if channel.end:
        held = np.ones(round(channel.rate * channel.end))
        everyone, start = np.arange(len(lengths)), lengths - len(held)
        add("value", everyone, start, height, held, 0)
        add("accent", everyone, start, np.full(len(lengths), float(ACCENT)), held, 0)
    ironic = np.flatnonzero(irony)
    if channel.drawl:
        latest = np.maximum(lengths - len(second), 0)  # all of it inside where there is room
        start = latest if channel.end else np.minimum(last, latest)
        add("drawl", ironic, start[ironic], np.full(len(ironic), float(channel.drawl * NOISE)), second, 0)
    return {key: track.astype(np.float32) for key, track in tracks.items()}
