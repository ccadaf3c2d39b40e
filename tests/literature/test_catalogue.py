"""What `list models` and `show model` print."""

import inspect

import pytest
import torch

from msabench.__main__ import main
from msabench.contract import registry
from msabench.literature import catalogue, published
from msabench.literature.catalogue import Size, size
from msabench.text.encoders import TextEncoder
from msabench.text.sources import EncoderSource


@pytest.fixture(scope="module")
def rows() -> dict[str, list[str]]:
    """The table's cells by model, where no text is wrapped."""
    lines = [line for line in catalogue.table().split("\n\n")[0].splitlines() if not line.startswith(" ")]
    return {cells[0]: cells for line in lines if len(cells := [c.strip() for c in line.split("  ") if c.strip()]) > 5}


def test_every_model_has_a_row_with_year_what_it_reads_size_and_published_mae(rows: dict[str, list[str]]) -> None:
    assert set(registry.entries()) <= set(rows)
    assert rows["mcer"][1:7] == ["2024", "text audio visual", "finetune", "0.84", "0.699", "0.532"]
    assert rows["ridge_text"][1:7] == ["–", "text", "frozen", "–", "–", "–"]
    assert rows["iccn"][1] == "2020"


def test_where_sources_differ_the_least_and_the_largest_mae_are_shown(rows: dict[str, list[str]]) -> None:
    maes = {r.metrics["mae"] for r in published.results("mosi") if r.model == "tfn" and not r.variant}
    assert len(maes) > 1
    assert rows["tfn"][5] == f"{min(maes):.3f}–{max(maes):.3f}"


def test_a_models_size_is_that_of_its_parameters_beside_the_text_encoder() -> None:
    """text_only: one Linear."""
    assert size(registry.get("text_only"), 384) == Size(384 + 1, "finetune")
    assert size(registry.get("ridge_text"), 384) == Size(0, "frozen")
    assert size(registry.get("mean"), 384) == Size(0, "")


def test_an_encoders_size_is_read_without_its_weights(tiny: EncoderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    every = torch.arange(tiny.vocab_size).numpy()
    model = TextEncoder(tiny, every)  # [PAD]'s row is no parameter there
    expected = sum(p.numel() for p in model.parameters()) + tiny.width
    monkeypatch.setattr(torch, "load", lambda *_: pytest.fail("weights were loaded"))
    assert catalogue.encoder_size(tiny) == expected


def test_the_year_is_the_venues() -> None:
    assert published.parse("paper: {venue: ACL 2020}", "new").year == "2020"
    assert published.parse("paper: {title: In 1999}", "new").year == ""


def test_settings_are_shown_with_the_comments_that_stand_by_them() -> None:
    shown = list(catalogue.settings(registry.get("iccn").config))
    fields = {
        line.split()[0]: " ".join(line.split()) for line in shown if line.startswith("  ") and "#" not in line[:4]
    }
    assert fields["batch_size"] == "batch_size 64", "a model's own default, once"
    assert fields["kernel"] == "kernel 3 # over time"
    assert fields["patience"].startswith("patience 8 # epochs without a better validation MAE")
    assert [line for line in shown if not line.startswith(" ")] == [
        "ICCNConfig (msabench.models.iccn)",
        "TrainConfig (msabench.config)",
    ]
    of_mcer = [line.strip() for line in catalogue.settings(registry.get("mcer").config)]
    assert "# Table III, MOSI (MOSEI in literature/mcer.yaml)" in of_mcer


@pytest.mark.parametrize("name", sorted(registry.entries()))
def test_every_model_can_be_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole: each field of its config once, each preset, each note."""
    assert main(["show", "model", name]) == 0
    text = capsys.readouterr().out
    entry, words = registry.get(name), " ".join(text.split())
    assert text.startswith(f"{name}: ")
    section = text.split("settings and their defaults")[1].split("\npreset ")[0].split("\npublished\n")[0]
    names = [line.split()[0] for line in section.split("\nnotes\n")[0].splitlines() if line.startswith("    ")]
    assert sorted(n for n in names if n != "#") == sorted(inspect.signature(entry.config).parameters)
    for expected in (*published.load(name).presets, *published.load(name).notes):
        assert " ".join(expected.split()) in words


def test_show_tells_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "mcer"]) == 2
    assert "a run's number or  model NAME" in capsys.readouterr().err
    assert main(["show", "model", "mcerr"]) == 2
    assert "Did you mean 'mcer'?" in capsys.readouterr().err
