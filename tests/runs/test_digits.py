"""The digits of one tiny run per model: whoever changes them without raising PROTOCOL is told so here.

They are those of one kind of processor and one torch; elsewhere, and for a model not recorded there, the test skips.
`python tests/runs/test_digits.py` records this machine's, in the place of what was recorded of its kind.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from msabench.config import PROTOCOL, DataConfig
from msabench.contract import registry
from msabench.data.batching import Prepared, prepare
from msabench.data.schema import Dataset, Split
from msabench.literature import presets
from msabench.ragged import Ragged
from msabench.train.loop import train

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "digits.json"
WORDS = ["good film", "bad film", "very bad", "a good end", "not good", "a film"]


def this_kind() -> str:
    """What two machines must share to come to the same digits."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        about = dict(line.replace("\t", "").split(": ", 1) for line in lines if ": " in line)
    except OSError:
        about = {}
    processor = " ".join(about.get(name, "?") for name in ("vendor_id", "cpu family", "model"))
    return f"{processor}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def data(encoder: str) -> Prepared:
    """24, 8 and 10 clips with words, in which every modality tells something of the label."""
    splits = {}
    for name, n in (("train", 24), ("valid", 8), ("test", 10)):
        draw = np.random.default_rng(n)
        labels = np.round(draw.uniform(-3, 3, n), 1).astype(np.float32)
        sequences = {}
        for m, width, longest in (("audio", 5, 7), ("visual", 6, 9)):
            lengths = draw.integers(1, longest, n)
            values = draw.normal(size=(lengths.sum(), width)) + np.repeat(labels, lengths)[:, None]
            sequences[m] = Ragged(values.astype(np.float32), np.concatenate([[0], np.cumsum(lengths)]))
        text = [WORDS[int(label) % len(WORDS)] for label in labels]
        splits[name] = Split([f"{name}$_${i}" for i in range(n)], text, labels, **sequences)
    options = DataConfig(text_encoder=encoder, max_tokens=10)
    return prepare(Dataset("mosi", splits, "f" * 64, "made up"), options, standardise=True)


class Unrecorded:
    def log(self, values: dict[str, float], epoch: int) -> None: ...

    def artifact(self, name: str, content: bytes) -> None: ...


def digits(model: str, prepared: Prepared, workdir: Path) -> str:
    """A hash of the predictions on valid and test after two epochs, with every bit."""
    config = presets.build(model, "mosi", preset="default", seed=3, overrides=["max_epochs=2", "batch_size=7"])
    cpu: Any = torch.device("cpu")
    result = train(config, prepared, device=cpu, workdir=workdir, recorder=Unrecorded(), progress=False)
    made = b"".join(result.predictions[split]["prediction"].tobytes() for split in ("valid", "test"))
    return hashlib.sha256(made).hexdigest()[:16]


@pytest.mark.parametrize("model", list(registry.entries()))
def test_a_tiny_run_of_each_model_has_the_digits_of_its_protocol(model: str, tiny: Any, tmp_path: Path) -> None:
    recorded = json.loads(GOLDEN.read_text())
    if recorded["protocol"] != PROTOCOL:
        pytest.fail(f"{GOLDEN.name} is of protocol {recorded['protocol']}: record it anew (python {__file__})")
    known = recorded["digits"].get(this_kind(), {}).get(model)
    if known is None:
        pytest.skip(f"no digits of {model} are recorded on this kind of machine: {this_kind()}")
    assert digits(model, data(str(tiny.path)), tmp_path) == known, (
        "Other digits for the same configuration, data and code. If the harness changed them, raise config.PROTOCOL; "
        "if the model's own file did, its runs have another key anyway: take it out of all kinds of machines. "
        f"Then record them: python {__file__}"
    )


def record() -> None:
    import tempfile

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from conftest import _save

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        prepared = data(str(_save(Path(folder) / "encoder")))
        found = {model: digits(model, prepared, Path(folder) / model) for model in registry.entries()}
    before = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    kept = before["digits"] if before.get("protocol") == PROTOCOL else {}
    content = {"protocol": PROTOCOL, "digits": {**kept, this_kind(): found}}
    GOLDEN.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    record()
