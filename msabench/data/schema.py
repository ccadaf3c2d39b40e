"""A dataset in memory: ragged sequences, never padded ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from msabench.frames import frame
from msabench.ragged import Ragged

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Split:
    ids: list[str]  # "video$_$clip", as in the field's files
    text: list[str]  # raw sentences; empty strings where the file has none
    labels: np.ndarray  # (N,) float32
    audio: Ragged | None = None
    visual: Ragged | None = None
    text_features: Ragged | None = None  # precomputed (T, 768) BERT or (T, 300) GloVe features, where the file has them
    token_ids: Ragged | None = None  # the file's bert-base-uncased ids (int32), used only where it has no raw text
    extra_labels: dict[str, np.ndarray] = field(default_factory=dict)  # CH-SIMS' "text", …; MOSEI's emotions

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        widths = {
            m: getattr(self, m).width for m in ("audio", "visual", "text_features") if getattr(self, m) is not None
        }
        return f"<{len(self)} clips, {', '.join(f'{name} {width}' for name, width in widths.items())}>"

    def to_frame(self) -> pd.DataFrame:
        """A clip a row: id, text, label, and its number of steps in each modality that comes as features."""
        steps = {f"{m}_steps": s.lengths for m in ("audio", "visual") if (s := getattr(self, m)) is not None}
        return frame({"id": self.ids, "text": self.text, "label": self.labels, **steps})


@dataclass(frozen=True)
class Dataset:
    name: str  # "mosi", "mosei", "mosi-sim", ...
    splits: dict[str, Split]  # train, valid, test
    fingerprint: str  # sha256 of the content, hex
    source: str  # the file it came from, or how it was simulated
    notes: tuple[str, ...] = ()  # defects handled, with counts; stored with every run
    label_range: float = 3.0
    truth: dict[str, float] = field(default_factory=dict)  # simulated twins: the planted best MAE, Corr, ...
    protocol: str = "mosi"  # of msabench.metrics; `load` has it from the dataset's card
    language: str = "en"  # of the sentences, ISO 639-1; from the card too
    control: str | None = None  # how msabench.data.controls altered it; None: it is as it was read

    def __repr__(self) -> str:
        return f"<{self.name}, {', '.join(f'{name}: {split!r}' for name, split in self.splits.items())}>"
