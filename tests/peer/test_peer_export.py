"""MMSA's own loader reads what `data convert --to mmsa` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msabench.data import load
from msabench.data.export import for_mmsa, write_mmsa
from msabench.data.schema import SPLITS


@pytest.mark.parametrize("model", ["self_mm", "mult"])
def test_its_loader_reads_a_written_dataset(peer: Any, data_dir: Path, tmp_path: Path, model: str) -> None:
    made, _ = for_mmsa(load("mosi", data_dir))
    write_mmsa(made, tmp_path / "mosi.pkl")
    config = peer.config(
        model,
        featurePath=str(tmp_path / "mosi.pkl"),
        custom_feature="",
        use_bert=True,
        need_data_aligned=False,
        **dict.fromkeys(("feature_T", "feature_A", "feature_V"), ""),
    )
    for name in SPLITS:
        read = peer.module("data_loader").MMDataset(config, mode=name)
        split = made.splits[name]
        assert len(read) == len(split)
        assert read.ids == split.ids
        assert np.array_equal(read.labels["M"], split.labels)
        for row in range(len(split)):
            for m, length, values in (
                ("audio", read.audio_lengths[row], read.audio[row]),
                ("visual", read.vision_lengths[row], read.vision[row]),
                ("token_ids", int(read.text[row, 1].sum()), read.text[row, 0]),
            ):
                assert np.array_equal(values[:length], getattr(split, m)[row])
                assert not values[length:].any()
        sample = read[0]
        assert {"raw_text", "text", "audio", "vision", "audio_lengths", "vision_lengths"} <= sample.keys()
