"""`msabench report` from the command line."""

from __future__ import annotations

import argparse

import pytest

from msabench.__main__ import main
from msabench.cli import report as command
from msabench.errors import MsabenchError, UsageError
from msabench.store import open_store
from msabench.store.protocol import Point


@pytest.fixture
def call(monkeypatch, memory_store, tmp_path):
    """call(records, "--format", "text"): the command's exit code, with its store replaced by a list."""

    def run_command(records, *arguments, predictions=None):
        monkeypatch.setattr("msabench.store.open_store", lambda *a, **k: memory_store(list(records), predictions or {}))
        parser = argparse.ArgumentParser()
        command.register(parser.add_subparsers())
        args = parser.parse_args(["report", "--out", str(tmp_path / "reports"), *arguments])
        return args.handler(args)

    return run_command


def test_the_table_is_printed_and_written_in_five_formats(call, run, tmp_path, capsys):
    assert call([run(), run("tfn", mae=0.9)]) == 0
    assert "0.700" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == [
        "report.csv",
        "report.html",
        "report.json",
        "report.md",
        "report.tex",
    ]


def test_format_text_writes_nothing(call, run, tmp_path):
    assert call([run()], "--format", "text") == 0
    assert not (tmp_path / "reports").exists()


def test_figures_are_drawn_where_they_were_asked_for(call, run, tmp_path, capsys):
    folder = tmp_path / "figures"
    assert call([run(), run("tfn", mae=0.9)], "--format", "text", "--columns", "mae", "--figures", str(folder)) == 0
    shown = capsys.readouterr().out
    assert f"Drew 3 pictures as SVG and PDF in {folder}" in shown
    assert "Not drawn: mosi.differences: no two rows" in shown
    assert (folder / "mosi.learning-curves.svg").exists()


def test_latex_is_aligned_on_request(call, run, tmp_path):
    assert call([run()], "--format", "latex", "--latex", "siunitx") == 0
    assert "S[table-format=1.3]" in (tmp_path / "reports" / "report.tex").read_text()


def test_an_empty_store_says_how_to_make_a_run(call, capsys):
    assert call([]) == 0
    assert "python -m msabench run mcer mosi" in capsys.readouterr().out


def test_only_failed_runs_say_so_and_how_to_make_a_run(call, run, capsys):
    assert call([run(status="FAILED")]) == 0
    shown = capsys.readouterr().out
    assert "1 failed" in shown
    assert "python -m msabench run mcer mosi" in shown


def test_dataset_and_model_choose_runs(call, run, capsys):
    call(
        [run(), run("tfn"), run(dataset="mosei")],
        "--dataset",
        "mosi",
        "--model",
        "tfn",
        "--format",
        "text",
        "--no-published",
    )
    shown = capsys.readouterr().out
    assert "TFN" in shown
    assert "mosei" not in shown
    assert "MCER" not in shown


def test_an_unknown_dataset_suggests_the_closest(call, run):
    with pytest.raises(UsageError, match=r"no run of dataset 'mosy'\. Did you mean 'mosi'\?"):
        call([run()], "--dataset", "mosy")


def test_a_folder_that_cannot_be_written_is_one_clear_error(call, run, tmp_path):
    (tmp_path / "reports").write_text("a file where the folder should be")
    with pytest.raises(MsabenchError, match=r"cannot write .*report\.md: .*\n.*--out DIR"):
        call([run()])


def test_another_metric_convention_scores_the_stored_predictions(call, run, capsys):
    record = run()
    predictions = {record.id: "id,label,prediction\na,1.0,0.0\nb,0.0,2.0\n"}
    call([record], "--metric-convention", "mag_bert", "--format", "text", "--no-published", predictions=predictions)
    shown = capsys.readouterr().out
    assert "1.000" in shown  # MAE without the row whose label is 0
    assert "as mag_bert does" in shown


def test_the_metric_conventions_are_not_for_sims(call, run):
    record = run(dataset="sims")
    record.result["test"] = {"mae": 0.4, "acc_2": 0.8}
    with pytest.raises(UsageError, match="MOSI and MOSEI"):
        call([record], "--metric-convention", "mult")


def test_a_run_of_the_embedded_store_reaches_the_page(run, tmp_path, capsys):
    record = run(mae=0.7654)
    store = open_store(None, tmp_path)
    names = {"model": record.model, "dataset": record.dataset, "seed": record.seed}
    ours = {"uuid": record.uuid, "key": record.key, "setting": record.setting, "data": record.data, "notes": ["a note"]}
    number = store.begin({"status": "RUNNING", "config": {**record.config, **names}, "info": {"msabench": ours}})
    store.log_metrics(number, [Point("valid.mae", epoch, 1 / epoch) for epoch in (1, 2, 3)])
    store.finish(number, record.result)
    store.close()
    assert main(["report", "--results", str(tmp_path), "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "0.765" in shown
    assert "a note" in shown
    assert "MCER table I" in shown  # the published rows
    assert "0.333 at epoch 3" in (tmp_path / "report.html").read_text()


def test_watch_shows_again_when_a_run_has_ended(call, run, monkeypatch, capsys):
    records = [run()]

    def sleep(seconds: float) -> None:
        assert seconds == 2
        if len(records) == 3:
            raise KeyboardInterrupt
        records.append(run("tfn", seed=len(records)))

    monkeypatch.setattr("msabench.cli.report.time.sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        call(records, "--watch", "2", "--format", "text")
    assert capsys.readouterr().out.count("shown again when a run ends") == 3
