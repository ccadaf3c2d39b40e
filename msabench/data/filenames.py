"""Under which names, besides MMSA's, the field's files of a dataset go; what is in them is found out by reading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

# By dataset and alignment: MulT's (yaohungt/Multimodal-Transformer, src/dataset.py) and MAG-BERT's (datasets/).
_FILES: dict[str, dict[str, tuple[str, ...]]] = {
    "mosi": {"unaligned": ("mosi_data_noalign.pkl",), "aligned": ("mosi_data.pkl", "mosi.pkl")},
    "mosei": {"unaligned": ("mosei_senti_data_noalign.pkl",), "aligned": ("mosei_senti_data.pkl", "mosei.pkl")},
}
_PART = "train.pkl"  # of MISA's folder, aligned, and of MMIM's, which is not: the name does not tell


def others(dataset: str, folders: Iterable[str], kinds: Iterable[str]) -> Iterator[str]:
    """Paths below the place where data lies, the preferred first; `kinds`: of alignment."""
    if dataset not in _FILES:
        return
    folders = list(folders)
    for kind in kinds:
        for file in _FILES[dataset].get(kind, ()):
            yield from (file, *(f"{folder}/{file}" for folder in folders))
    yield from (f"{folder}/{_PART}" for folder in folders)
