"""How often `msabench data verify` calls honest features leaking, how often it finds a planted leak, and how long it
takes.

    python benchmarks/quality.py [--data-dir ../shared/data] [--draws 2000]

Honest: features from the data, videos of train and valid drawn anew into two such splits; noise; noise with a value per
video, as a speaker's voice has. Leaking: noise to which a share of the train labels is added.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from msabench.data import load, quality
from msabench.data.quality import Clips
from msabench.data.schema import Dataset
from msabench.ragged import Ragged

Draw = Callable[[np.random.Generator], tuple[Clips, Clips]]


def clips(dataset: Dataset, modality: str) -> tuple[Clips, Clips]:
    train, valid = (dataset.splits[name] for name in ("train", "valid"))
    first, second = (
        Clips(quality.means(getattr(s, modality)), s.labels.astype(np.float64), quality.videos(s))
        for s in (train, valid)
    )
    return first, second


def taken(whole: Clips, chosen: np.ndarray) -> Clips:
    return Clips(whole.x[chosen], whole.y[chosen], np.unique(whole.video[chosen], return_inverse=True)[1])


def redrawn(train: Clips, valid: Clips) -> Draw:
    """Train and valid together, as many videos as valid has drawn into a new valid."""
    videos = np.r_[train.video, valid.video + train.video.max() + 1]
    whole = Clips(np.r_[train.x, valid.x], np.r_[train.y, valid.y], videos)
    n, n_valid = int(videos.max()) + 1, int(valid.video.max()) + 1

    def draw(rng: np.random.Generator) -> tuple[Clips, Clips]:
        out = np.isin(videos, rng.choice(n, n_valid, replace=False))
        return taken(whole, ~out), taken(whole, out)

    return draw


def noise(train: Clips, valid: Clips, width: int, *, per_video: float = 0.0, leak: float = 0.0) -> Draw:
    """Real labels and videos with drawn features; leak: the share of a train label's variance in the first column."""

    def draw(rng: np.random.Generator) -> tuple[Clips, Clips]:
        sides = []
        for side in (train, valid):
            x = rng.normal(size=(len(side.y), width))
            x += per_video * rng.normal(size=(side.video.max() + 1, width))[side.video]
            sides.append(replace(side, x=x))
        y = (train.y - train.y.mean()) / train.y.std()
        sides[0].x[:, 0] = np.sqrt(1 - leak) * sides[0].x[:, 0] + np.sqrt(leak) * y
        return sides[0], sides[1]

    return draw


def cases(data_dir: Path) -> Iterator[tuple[str, Draw]]:
    twin = load("mosi-sim")
    yield "honest: mosi-sim audio, redrawn", redrawn(*clips(twin, "audio"))
    yield "honest: mosi-sim visual, redrawn", redrawn(*clips(twin, "visual"))
    if data_dir.is_dir():
        real = load("mosi", data_dir / "mosi_standard")
        yield "honest: mosi_standard audio, redrawn", redrawn(*clips(real, "audio"))
    base = clips(twin, "audio")
    for width in (20, 100):
        yield f"honest: noise, {width} columns", noise(*base, width)
        yield f"honest: noise with a value per video, {width} columns", noise(*base, width, per_video=1.0)
    for leak in (0.1, 0.2, 0.3, 0.5):
        yield f"leaking: {leak:.0%} of one of 100 columns", noise(*base, 100, leak=leak)


def large() -> Dataset:
    """The size of MOSEI's features in memory, with 768 columns of text features."""
    twin = load("mosei-sim")
    rng = np.random.default_rng(0)
    splits = {}
    for name, split in twin.splits.items():
        offsets = np.arange(len(split) + 1) * 20
        values = rng.normal(size=(20 * len(split), 768)).astype(np.float32)
        splits[name] = replace(split, text_features=Ragged(values, offsets))
    return replace(twin, splits=splits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--draws", type=int, default=2000)
    args = parser.parse_args()
    for name, draw in cases(args.data_dir):
        rng = np.random.default_rng(0)
        p = np.array([quality.judge(*draw(rng))[2] for _ in range(args.draws)])
        flagged = " ".join(f"{np.mean(p < rate):.4f}" for rate in (0.05, 0.01, 0.001, quality.SURE))
        print(f"{name:55} share with p below .05 .01 .001 {quality.SURE}: {flagged}", flush=True)
    dataset = large()
    size = sum(
        s.values.nbytes
        for split in dataset.splits.values()
        for s in (split.audio, split.visual, split.text_features)
        if s
    )
    begun = time.process_time()
    quality.notes(dataset.splits, "mosei")
    print(f"MOSEI's size, {size / 1e9:.1f} GB in memory: {time.process_time() - begun:.1f} s of the processor")


if __name__ == "__main__":
    main()
