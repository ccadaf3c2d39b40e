"""Folders of .csd files as CMU-MultimodalSDK writes them (file_ops.py, `write_CSD`), small and made here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Entries = Mapping[str, tuple[Any, Any]]  # by id: intervals (n, 2), features (n, d) numbers or n words

FILES = {  # the field's names, with the names that the sequences give themselves
    "text": ("CMU_MOSI_TimestampedWords", "CMU_MOSI_ModifiedTimestampedWords"),
    "audio": ("CMU_MOSI_COVAREP", "COVAREP"),
    "visual": ("CMU_MOSI_Visual_Facet_41", "FACET_4.1"),
    "labels": ("CMU_MOSI_Opinion_Labels", "Opinion Segment Labels"),
}


def write_sequence(path: Path, root: str, entries: Entries, **packed: Any) -> None:
    """One computational sequence; `packed` goes to h5py, gzip otherwise, as the SDK has it."""
    packed = packed or {"compression": "gzip", "compression_opts": 9}
    with h5py.File(path, "w") as file:
        for id_, (intervals, features) in entries.items():
            if len(features) and isinstance(features[0], str):
                features = np.array([[word.encode()] for word in features])  # (n, 1) bytes
            file.create_dataset(f"{root}/data/{id_}/features", data=features, **packed)
            file.create_dataset(f"{root}/data/{id_}/intervals", data=np.asarray(intervals, float), **packed)
        metadata = {"root name": root, "dimension namescomputational sequence version": "1.0", "md5": None}
        for key, value in metadata.items():
            stored = file.create_dataset(f"{root}/metadata/{key}", (1,), dtype=h5py.string_dtype())
            stored[0] = json.dumps(value)


def write_folder(folder: Path, sequences: Mapping[str, Entries], **settings: str) -> Path:
    """Sequences by what they hold, under the field's names; `settings` become csd.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    for role, entries in sequences.items():
        name, root = FILES[role]
        write_sequence(folder / f"{name}.csd", root, entries)
    if settings:
        (folder / "csd.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    return folder


def write_folds(folder: Path, **videos: list[str]) -> Path:
    (folder / "folds.json").write_text(json.dumps(videos))
    return folder


def write_csd(folder: Path, clips: Mapping[str, list[dict[str, Any]]], align: str = "words") -> Path:
    """The clips of each split: {"id": "video$_$clip", "text", "labels" (1,) or (7,), "audio" (T, d), "visual" (T, d)}.

    They come back as they are where they have a step per word, others with align="none". Clips of a video are numbered
    as they come; each lasts a second, over which its words and its steps are spread. Raises ValueError for clips that
    no such file holds.
    """
    entries: dict[str, dict[str, list[tuple[Any, Any]]]] = {role: {} for role in FILES}
    for clip in (clip for split in clips.values() for clip in split):
        video = clip["id"].split("$_$")[0]
        start = len(entries["labels"].get(video, []))
        content = {"text": clip["text"].split(), "labels": [clip["labels"]]}
        for role, features in {**content, "audio": clip["audio"], "visual": clip["visual"]}.items():
            if np.asarray(features).dtype.kind == "O":
                raise ValueError("HDF5 has no objects")
            times = np.linspace(start, start + 1, len(features) + 1)
            intervals = np.stack([times[:-1], times[1:]], 1)
            entries[role].setdefault(video, []).append((intervals, features))
    joined = {
        role: {
            video: tuple(np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*pieces, strict=True))
            for video, pieces in videos.items()
        }
        for role, videos in entries.items()
    }
    joined["text"] = {video: (times, list(map(str, words))) for video, (times, words) in joined["text"].items()}
    write_folder(folder, joined, **{} if align == "words" else {"align": align})
    videos = {split: sorted({clip["id"].split("$_$")[0] for clip in part}) for split, part in clips.items()}
    return write_folds(folder, **videos)
