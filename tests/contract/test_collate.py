"""One gather makes a padded batch, and its features are scaled by what they were measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.testing import assert_allclose, assert_array_equal

from msabench.contract.collate import BLOCK, Scale, pad
from msabench.ragged import Ragged
from msabench.seeds import stream


def test_a_row_without_a_step_is_one_real_zero_step() -> None:
    sequences = Ragged(np.full((2, 3), 7, np.float32), np.array([0, 0, 2, 2]))
    padded = pad(sequences, np.array([0, 1, 2]), Scale(np.ones(3), np.ones(3)))
    assert padded.mask.tolist() == [[True, False], [True, True], [True, False]]
    assert padded.values[:, :, 0].tolist() == [[0, 0], [6, 6], [0, 0]]


def test_a_split_without_any_step_is_zero_steps() -> None:
    padded = pad(Ragged(np.zeros((0, 3), np.float32), np.zeros(3, np.int64)), np.arange(2))
    assert padded.values.shape == (2, 1, 3)
    assert padded.mask.all()


def test_token_ids_become_int64() -> None:
    padded = pad(Ragged(np.array([5, 6, 7], np.int32), np.array([0, 1, 3])), np.arange(2))
    assert padded.values.dtype == torch.int64
    assert padded.values.tolist() == [[5, 0], [6, 7]]


def test_memory_mapped_features_are_read_and_not_written(tmp_path: Path) -> None:
    values = stream(0).normal(size=(9, 2)).astype(np.float32)
    np.save(tmp_path / "values.npy", values)
    offsets = np.array([0, 4, 9])
    mapped = Ragged(np.load(tmp_path / "values.npy", mmap_mode="r"), offsets)
    scale = Scale.of(mapped)
    assert torch.equal(
        pad(mapped, np.arange(2), scale).values, pad(Ragged(values, offsets), np.arange(2), scale).values
    )
    assert_array_equal(mapped.values, values)


def test_a_constant_feature_becomes_zero_everywhere() -> None:
    values = np.array([[1.0, 376.1, 5.0], [2.0, 376.1, 5.0 + 1e-7]], np.float64).astype(np.float32)
    sequences = Ragged(values, np.array([0, 1, 2]))
    scale = Scale.of(sequences)
    assert scale.std.tolist() == [0.5, 0, 0]
    elsewhere = Ragged(np.full((1, 3), 9, np.float32), np.array([0, 1]))
    assert pad(elsewhere, np.arange(1), scale).values.tolist() == [[[15, 0, 0]]]


def test_large_offsets_cost_no_precision_and_blocks_are_joined() -> None:
    values = (stream(0).normal(size=(BLOCK + 1000, 2)) + np.array([0, 1e4])).astype(np.float32)
    scale = Scale.of(Ragged(values, np.array([0, len(values)])))
    assert_allclose(scale.std, values.astype(np.float64).std(0), rtol=1e-9)
