"""A dataset's identity: what it holds, not where or how it was stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from msabench.data.schema import SPLITS, Split

SEQUENCES = ("audio", "visual", "text_features", "token_ids")
_BLOCK = 1 << 24  # bytes hashed at a time: a memory map is never copied whole


def fingerprint(splits: Mapping[str, Split]) -> str:
    """sha256 (hex) over the ids, text, labels and sequences of train, valid and test, in this order.

    The same for a file, its cached form, and the same content in another container.
    """
    digest = hashlib.sha256()
    for name in SPLITS:
        split = splits[name]
        _text(digest, [name, split.ids, split.text])
        _array(digest, "labels", split.labels.astype("<f4"))
        for key, labels in sorted(split.extra_labels.items()):
            _array(digest, f"labels {key}", labels.astype("<f4"))
        for key in SEQUENCES:
            sequences = getattr(split, key)
            if sequences is not None:
                _array(digest, f"{key} offsets", sequences.offsets.astype("<i8"))
                _array(digest, key, sequences.values)
    return digest.hexdigest()


def _text(digest: hashlib._Hash, content: object) -> None:
    data = json.dumps(content).encode("ascii")
    digest.update(len(data).to_bytes(8, "little") + data)


def _array(digest: hashlib._Hash, key: str, values: np.ndarray) -> None:
    order = values.dtype.newbyteorder("<")
    _text(digest, [key, order.str, values.shape])
    rows = max(1, _BLOCK // max(1, values.itemsize * int(np.prod(values.shape[1:]))))
    for start in range(0, len(values), rows):
        digest.update(np.ascontiguousarray(values[start : start + rows], order).data)
