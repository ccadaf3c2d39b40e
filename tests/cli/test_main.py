"""The command line as its user meets it: a process, its output and its exit code."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-layer BERT with a tokeniser of a few letters, saved to disk as any local encoder is."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny encoder")
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), **size)).save_pretrained(folder)
    return folder


def msabench(*args: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "msabench", *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=os.environ | environment, timeout=300, check=False
    )


@pytest.fixture
def train(tmp_path: Path, data_dir: Path, tiny_encoder: Path) -> list[object]:
    """The arguments of a run that takes seconds."""
    return ["run", "mcer", "mosi", "--data-dir", data_dir, "--text-encoder", tiny_encoder, "--max-epochs", 3]


def test_help_comes_at_once_and_teaches_by_example(tmp_path: Path) -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = msabench("--help", cwd=tmp_path)
        seconds.append(time.perf_counter() - start)
    assert done.returncode == 0
    assert "python -m msabench run mcer mosi" in done.stdout
    heavy = ("torch", "pandas", "sacred", "numpy", "pymongo", "transformers", "matplotlib")
    code = f"import sys, msabench.__main__ as m; m.parser(); print([n for n in {heavy} if n in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert loaded.stdout.strip() == "[]", "what --help does not need is not imported"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["runn"], 2, "unknown command 'runn'. Did you mean 'run'?"),
        (["list", "model"], 2, "unknown what 'model'. Did you mean 'models'?"),
        (["data", "inf"], 2, "Did you mean 'info'?"),
        (["run", "mcer", "mosi", "--text-mode", "thawed"], 2, "unknown --text-mode 'thawed'."),
        (["run", "mcerr", "mosi"], 2, "unknown model 'mcerr'. Did you mean 'mcer'?"),
        (["run", "mcer", "mosii"], 2, "Did you mean 'mosi'"),
        (["run", "mcer", "mosi", "--set", "lr_brt=1"], 2, "Did you mean 'lr_bert'"),
        (["run", "mcer", "mosi", "--set", "lr_bert=fast"], 2, "lr_bert"),
        (["run", "mcer", "mosi", "--seeds", "4-0"], 2, "--seeds '4-0'"),
        (["run", "mcer", "mosi", "--device", "tpu"], 2, "--device 'tpu'"),
        (["run", "mcer", "mosi", "--data-dir", "nowhere"], 3, "unaligned_50.pkl"),
        (["run", "mcer", "mosi", "--no-sim"], 3, "unaligned_50.pkl"),
        (["run", "mcer", "mosi-sim", "--text-encoder", "nowhere"], 2, "nowhere"),
        (["show", "12"], 1, "12"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_clear_sentence(args: list[str], code: int, message: str, tmp_path: Path) -> None:
    done = msabench(*args, cwd=tmp_path)
    assert done.stderr.startswith("msabench: "), done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.returncode == code


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in msabench("run", "mcerr", "mosi", "--debug", cwd=tmp_path).stderr


def test_a_run_is_stored_shown_reported_and_not_repeated(train: list[object], tmp_path: Path) -> None:
    first = msabench(*train, "--seeds", "0-1", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "mean ± std" in first.stdout
    assert "48/16/16 clips, not the 1284/229/686" in first.stdout, "a deviation from Table II is said"
    again = msabench(*train, "--seeds", "0-1", cwd=tmp_path)
    assert again.returncode == 0
    assert "already done" in again.stdout + again.stderr
    assert "--overwrite" in again.stdout + again.stderr
    runs = msabench("list", "runs", cwd=tmp_path)
    assert runs.stdout.count("mcer") == 2
    shown = msabench("show", "1", cwd=tmp_path)
    assert shown.returncode == 0
    assert "lr_bert" in shown.stdout
    report = msabench("report", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert "published" in report.stdout
    assert {p.name for p in (tmp_path / "reports").iterdir()} >= {
        "report.md",
        "report.csv",
        "report.tex",
        "report.html",
    }


def test_a_model_in_a_file_of_ones_own_runs_and_is_stored_with_it(
    train: list[object], tmp_path: Path, checkout: Path
) -> None:
    page = (checkout / "docs" / "add_a_model.md").read_text("utf-8")
    (tmp_path / "my_model.py").write_text(page.split("```python\n")[1].split("```")[0], "utf-8")
    command = ["run", "my_model", *train[2:], "--model-path", "my_model.py"]
    first = msabench(*command, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    from msabench.store import open_store

    store = open_store(None, tmp_path / "results")
    (run,) = store.find(model="my_model", status="COMPLETED")
    assert "my_model.py" in str(store.document(run.id)["experiment"]["sources"])
    again = msabench(*command, cwd=tmp_path)
    assert "already done" in again.stdout + again.stderr
    without = msabench(*command[:-2], cwd=tmp_path)
    assert without.returncode == 2
    assert "unknown model 'my_model'" in without.stderr


FAILS_WITH_SEED_1 = """
from msabench.models.text_only import TextOnly, TextOnlyConfig
from msabench.registry import register


@register("moody", TextOnlyConfig)
class Moody(TextOnly):
    def loss(self, output, batch, state):
        return {"task": super().loss(output, batch, state)["task"] * (float("nan") if state.seed == 1 else 1.0)}
"""


def test_a_seed_that_fails_does_not_end_the_seeds_after_it(train: list[object], tmp_path: Path) -> None:
    (tmp_path / "moody.py").write_text(FAILS_WITH_SEED_1)
    done = msabench("run", "moody", *train[2:], "--model-path", "moody.py", "--seeds", "0-2", cwd=tmp_path)
    assert done.returncode == 1
    assert "1 of 3 seeds failed. Seed 1:" in done.stderr
    assert "seed 2" in done.stdout
    assert "n = 2" in done.stdout
    from msabench.store import open_store

    runs = open_store(None, tmp_path / "results").find()
    assert [(run.seed, run.status) for run in runs] == [(0, "COMPLETED"), (1, "FAILED"), (2, "COMPLETED")]


def test_dashes_in_a_model_s_name_are_underscores(train: list[object], tmp_path: Path) -> None:
    assert msabench("run", "ridge-audio", *train[2:-2], cwd=tmp_path).returncode == 0
    assert "ridge_audio" in msabench("list", "runs", "model=ridge_audio", cwd=tmp_path).stdout


def digits(folder: Path) -> dict[str, object]:
    """All that a completed run stored, but for what time and memory it took."""
    from msabench.store import open_store

    store = open_store(None, folder / "results")
    [run] = store.find(status="COMPLETED")
    curves = {name: points for name, points in store.metrics(run.id).items() if name != "seconds"}
    result = {k: v for k, v in (run.result or {}).items() if k not in ("seconds", "peak_memory_mib")}
    files = {name: store.artifact(run.id, name) for name in store.artifacts(run.id)}
    arrays = {
        name: {k: v.tolist() for k, v in np.load(io.BytesIO(content)).items()}
        for name, content in files.items()
        if name.endswith(".npz")
    }
    tables = {name: content for name, content in files.items() if name.endswith(".csv")}
    return {"curves": curves, "result": result, "notes": run.notes, "arrays": arrays, "tables": tables}


@pytest.mark.slow
def test_a_run_killed_in_mid_epoch_resumes_to_the_same_digits(train: list[object], tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    train = [*train, "--set", "max_epochs=8", "--set", "batch_size=4"]
    assert msabench(*train, cwd=whole).returncode == 0
    command = [sys.executable, "-m", "msabench", *map(str, train)]
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # a user's pipe
    process = subprocess.Popen(command, cwd=cut, stdout=subprocess.PIPE, text=True, env=plain)
    assert process.stdout is not None
    for line in process.stdout:  # epoch 2 is done: somewhere in epoch 3 it is killed
        if line.startswith("epoch   2"):
            break
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    resumed = msabench(*train, "--resume", cwd=cut)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after epoch" in resumed.stdout
    assert digits(whole) == digits(cut)


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_can_be_resumed(train: list[object], tmp_path: Path) -> None:
    train = [*train, "--set", "max_epochs=50", "--set", "patience=50", "--set", "batch_size=4"]
    process = subprocess.Popen(
        [sys.executable, "-m", "msabench", *map(str, train)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch   1"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--resume" in out + err
    assert "Traceback" not in err
    assert "INTERRUPTED" in msabench("list", "runs", cwd=tmp_path).stdout
    command = [sys.executable, "-m", "msabench", *map(str, train), "--resume"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as resumed:
        assert resumed.stdout is not None
        assert any("resumed after epoch" in line for line in resumed.stdout)  # stops reading at the first
        resumed.kill()


def test_a_reader_that_goes_away_does_not_stop_a_run(train: list[object], tmp_path: Path) -> None:
    command = " ".join(shlex.quote(str(part)) for part in [sys.executable, "-u", "-m", "msabench", *train])
    subprocess.run(["bash", "-c", f"{command} | head -n 1"], cwd=tmp_path, capture_output=True, check=True, timeout=300)
    assert "COMPLETED" in msabench("list", "runs", cwd=tmp_path).stdout


def test_a_results_folder_that_cannot_be_made_is_named(train: list[object], tmp_path: Path) -> None:
    blocked = tmp_path / "results"
    blocked.write_text("a file where a folder should be")
    done = msabench(*train, cwd=tmp_path)
    assert done.returncode == 1
    assert "results" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_truncated_pickle_is_refused(tmp_path: Path, data_dir: Path) -> None:
    folder = tmp_path / "MOSI" / "Processed"
    folder.mkdir(parents=True)
    content = (data_dir / "MOSI" / "Processed" / "unaligned_50.pkl").read_bytes()
    (folder / "unaligned_50.pkl").write_bytes(content[: len(content) // 2])
    done = msabench("run", "mcer", "mosi", "--data-dir", tmp_path, cwd=tmp_path)
    assert done.returncode == 3
    assert "unaligned_50.pkl" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_mongodb_does_not_stop_a_run(train: list[object], tmp_path: Path) -> None:
    done = msabench(*train, "--store", "mongodb://user:secret@127.0.0.1:9/db", "--max-epochs", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1:9" in done.stdout + done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert "COMPLETED" in msabench("list", "runs", cwd=tmp_path).stdout


def test_reading_from_an_unreachable_mongodb_says_so(tmp_path: Path) -> None:
    done = msabench("report", "--store", "mongodb://user:secret@127.0.0.1:9/db", cwd=tmp_path)
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize("what", ["models", "datasets", "runs"])
def test_list_works_in_an_empty_folder(what: str, tmp_path: Path) -> None:
    assert msabench("list", what, cwd=tmp_path).returncode == 0


def test_doctor_finds_what_is_there(tmp_path: Path, data_dir: Path) -> None:
    done = msabench("doctor", "--data-dir", data_dir, cwd=tmp_path)
    assert "torch" in done.stdout
    assert "unaligned_50.pkl" in done.stdout
    assert "Traceback" not in done.stderr
