"""`msabench data …` as a user types it."""

from __future__ import annotations

import argparse
import hashlib
import pickle
from collections import UserDict
from dataclasses import replace

import numpy as np
import pytest
from layouts import LAYOUTS, clips

from msabench.cli import data as cli
from msabench.data import cards, find, load
from msabench.data.inspect import describe
from msabench.errors import DataError, UsageError
from msabench.text.encoders import resolve, tokenise


@pytest.fixture
def msabench():
    parser = argparse.ArgumentParser()
    cli.register(parser.add_subparsers())

    def run(*words: object) -> int:
        args = parser.parse_args(["data", *map(str, words)])
        return args.handler(args)

    return run


def test_info_shows_the_dataset_at_a_glance(msabench, capsys):
    assert msabench("info", "mosi-sim") == 0
    shown = capsys.readouterr().out
    dataset = load("mosi-sim")
    for word in (dataset.fingerprint, "≠" if len(dataset.splits["train"]) != 1284 else "= 1284", "no video stands in"):
        assert word in shown
    for key, value in dataset.truth.items():
        assert key in shown
        assert f"{value:.4f}" in shown


def test_info_of_real_data(msabench, capsys, shared_data):
    assert msabench("info", "mosi", "--data-dir", shared_data / "mosi_bclstm") == 0
    shown = capsys.readouterr().out
    for word in ("≠ 1284", "1447", "visual         100", "not the 1284/229/686"):
        assert word in shown


def test_info_of_data_without_text_audio_or_visual():
    dataset = load("mosi-sim")
    bare = {name: replace(s, audio=None, visual=None, text=[""] * len(s)) for name, s in dataset.splits.items()}
    assert describe(replace(dataset, splits=bare), find.card("mosi-sim")).count("not in the data") == 3


def test_info_says_whether_there_are_text_features():
    dataset = load("mosi-sim")
    shown = describe(dataset, find.card("mosi-sim"))
    assert "--text-mode features cannot be used: the data has no text features" in shown
    given = {name: replace(split, text_features=split.audio) for name, split in dataset.splits.items()}
    assert "--text-mode features can be used" in describe(replace(dataset, splits=given), find.card("mosi-sim"))


def test_a_twin_written_and_read_back_is_itself_under_its_own_name(msabench, tmp_path, capsys):
    assert msabench("simulate", "mosi-sim", tmp_path) == 0
    assert (tmp_path / "MOSI/Processed/unaligned_50.pkl").exists()
    made, found = load("mosi-sim"), load("mosi", tmp_path)
    assert (found.name, found.truth, found.notes) == ("mosi-sim", made.truth, ())
    assert found.fingerprint == made.fingerprint
    assert made.fingerprint in capsys.readouterr().out
    assert msabench("verify", "mosi", "--data-dir", tmp_path) == 1
    out = capsys.readouterr().out
    assert "expected  none known: it holds mosi-sim, a simulated twin, and not CMU-MOSI" in out
    assert "another copy" not in out


def test_a_written_twin_holds_the_tokens_that_mmsa_reads(msabench, tmp_path):
    """text_bert (N, 3, 50): ids, mask, segments (MMSA, data_loader.py and models/subNets/BertTextEncoder.py)."""
    msabench("simulate", "mosi-sim", tmp_path)
    written = pickle.loads((tmp_path / "MOSI/Processed/unaligned_50.pkl").read_bytes())
    ids = tokenise(resolve("minilm"), load("mosi-sim").splits["valid"].text, 50)
    text_bert = written["valid"]["text_bert"]
    assert text_bert.shape == (len(ids), 3, 50)
    for row, (token_ids, mask, segments) in enumerate(text_bert):
        assert token_ids[mask > 0].tolist() == ids[row].tolist()
        assert not token_ids[mask == 0].any()
        assert not segments.any()
        assert mask.tolist() == sorted(mask, reverse=True)


def test_a_twin_is_written_without_an_encoder_too(msabench, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("msabench.text.sources._minilm", lambda: None)
    monkeypatch.setattr("msabench.text.sources._in_hub_cache", lambda name: None)
    assert msabench("simulate", "mosi-sim", tmp_path) == 0
    assert "without text_bert, which MMSA needs: no text encoder" in capsys.readouterr().out
    assert load("mosi", tmp_path).fingerprint == load("mosi-sim").fingerprint


def test_a_twin_with_defects_is_mended_and_counted(msabench, tmp_path):
    msabench("simulate", "mosi-sim", tmp_path, "--defects")
    found = load("mosi", tmp_path)
    notes = " ".join(found.notes)
    for word in ("infinite values set to 0", "NaN values set to 0", "have no step at all", "repeat an id", "outside"):
        assert word in notes
    assert all(np.isfinite(split.audio.values).all() for split in found.splits.values())


def test_only_twins_are_simulated(msabench, tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'mosi-sim'"):
        msabench("simulate", "mosi", tmp_path)


def test_verify_knows_the_fields_files_by_their_checksum(msabench, tmp_path, capsys, monkeypatch):
    rows = {"regression_labels": np.zeros(2), "id": ["a", "b"], "raw_text": ["x", "y"]}
    path = tmp_path / "mosi_unaligned_50.pkl"
    path.write_bytes(pickle.dumps(dict.fromkeys(("train", "valid", "test"), rows)))
    assert msabench("verify", "mosi", "--data-dir", tmp_path) == 1
    assert "differs" in capsys.readouterr().out
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(find.CARDS, "mosi", replace(find.CARDS["mosi"], sha256={"unaligned": digest}))
    assert msabench("verify", "mosi", "--data-dir", tmp_path) == 0
    assert "known" in capsys.readouterr().out


def test_list_names_every_dataset(msabench, tmp_path, capsys):
    assert msabench("list", "--data-dir", tmp_path) == 0
    shown = capsys.readouterr().out
    assert all(card.title in shown for card in cards.CARDS.values())


def test_convert_asks_for_trust_and_then_makes_the_file_readable(msabench, tmp_path):
    rows = UserDict(regression_labels=np.zeros(2), id=["a", "b"], raw_text=["x", "y"])
    path = tmp_path / "mosi_unaligned_50.pkl"
    path.write_bytes(pickle.dumps(dict.fromkeys(("train", "valid", "test"), rows)))
    with pytest.raises(DataError, match=r"(?s)collections.UserDict.*convert --trust"):
        load("mosi", tmp_path)
    with pytest.raises(DataError, match="refused"):
        msabench("convert", path)
    clean = tmp_path / "clean" / "mosi_unaligned_50.pkl"
    assert msabench("convert", path, "--trust", "-o", clean) == 0
    assert load("mosi", clean.parent).splits["train"].ids == ["a", "b"]
    with pytest.raises(UsageError, match="nothing to convert"):
        msabench("convert", clean)


@pytest.fixture
def reviews(tmp_path):
    """A folder of one's own: two clips a split, sentences alone."""
    rows = [f"{split}$_${i},{split},a film,{i - 0.5}" for split in ("train", "valid", "test") for i in range(2)]
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "data.csv").write_text("\n".join(["id,split,text,label", *rows]))
    return tmp_path / "reviews"


def test_add_reads_the_data_and_registers_it_under_its_name(msabench, reviews, tmp_path, capsys):
    assert msabench("add", "reviews", reviews / "data.csv", "--data-dir", tmp_path / "data") == 0
    assert "registered as reviews. Run on it:  python -m msabench run ridge_all reviews" in capsys.readouterr().out
    assert load("reviews", tmp_path / "data").name == "reviews"
    assert msabench("list", "--data-dir", tmp_path / "data") == 0
    assert str(reviews) in capsys.readouterr().out
    assert msabench("info", "reviews", "--data-dir", tmp_path / "data") == 0
    assert "-3 to 3, scored as mosi" in capsys.readouterr().out


def test_add_takes_a_name_once(msabench, reviews, tmp_path):
    words = ("add", "reviews", reviews, "--data-dir", tmp_path / "data")
    assert msabench(*words) == 0
    with pytest.raises(UsageError, match=r"registered already.*--replace"):
        msabench(*words)
    assert msabench(*words, "--replace") == 0


def test_add_registers_nothing_that_cannot_be_read_or_scored(msabench, reviews, tmp_path):
    table = reviews / "data.csv"
    table.write_text(table.read_text().replace(",0.5", ",4.5"))
    with pytest.raises(DataError, match=r"labels reach 4\.5, beyond 3 on either side of 0(?s:.*)label_range: 5"):
        msabench("add", "reviews", reviews, "--data-dir", tmp_path / "data")
    table.write_text("id,text\n")
    with pytest.raises(DataError, match="the table is empty"):
        msabench("add", "reviews", reviews, "--data-dir", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_damaged_card_is_listed_as_such(msabench, tmp_path, capsys):
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "card.yaml").write_text("a: [")
    assert msabench("list", "--data-dir", tmp_path) == 0
    assert "damaged card" in capsys.readouterr().out


def test_a_card_stays_when_data_moves_unless_another_is_given(msabench, reviews, tmp_path):
    (tmp_path / "card.yaml").write_text("title: Our reviews\nlabel_range: 2")
    words, place = ("add", "reviews"), ("--data-dir", tmp_path / "data")
    assert msabench(*words, reviews, "--card", tmp_path / "card.yaml", *place) == 0
    reviews.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"its data is no longer at .*reviews(?s:.*)data add reviews PATH --replace"):
        load("reviews", tmp_path / "data")
    assert msabench(*words, tmp_path / "moved", "--replace", *place) == 0
    assert load("reviews", tmp_path / "data").label_range == 2
    (tmp_path / "card.yaml").write_text("label_range: 4")
    assert msabench(*words, tmp_path / "moved", "--replace", "--card", tmp_path / "card.yaml", *place) == 0
    card = find.card("reviews", tmp_path / "data")
    assert (card.label_range, card.title) == (4, "reviews")


def test_info_takes_a_path_too(msabench, reviews, tmp_path, capsys):
    assert msabench("info", reviews / "data.csv") == 0
    assert f"source       {reviews}" in capsys.readouterr().out
    with pytest.raises(DataError, match="no such file or folder, nor a dataset"):
        msabench("info", tmp_path / "none.pkl")


def test_a_set_that_is_missing_is_told_with_all_that_could_be_there(msabench, reviews, tmp_path):
    assert msabench("add", "reviews", reviews, "--data-dir", tmp_path) == 0
    with pytest.raises(DataError, match=r"folders with \.csd(?s:.*)MOSI or CMU-MOSI(?s:.*)is there as: reviews"):
        load("mosi", tmp_path)


def test_emotions_that_mmsa_has_no_place_for_are_told(msabench, tmp_path, capsys):
    write = next(layout.write for layout in LAYOUTS if layout.name == "BBFN, MOSEI")
    write(tmp_path / "MOSEI", clips())
    assert msabench("convert", tmp_path / "MOSEI", tmp_path / "mosei.pkl") == 0
    assert "no place for them: labels anger, disgust, fear, happy, sad, surprise" in capsys.readouterr().out
