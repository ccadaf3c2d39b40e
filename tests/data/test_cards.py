"""Data of one's own: under which names it goes, and what its card may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from msabench.data import cards, find
from msabench.errors import DataError, UsageError


@pytest.mark.parametrize(
    "name", ["mosi", "mosei", "sims", "mosi-sim", "reviews-sim", "", "Reviews", "a/b", "../x", "-x", "x" * 41]
)
def test_a_name_of_the_fields_and_no_name_are_refused(name, tmp_path):
    with pytest.raises(UsageError, match=r"Give your data a name of its own|cannot be a dataset's name"):
        cards.add(name, tmp_path, tmp_path)
    assert not list(tmp_path.rglob("card.yaml"))


def test_what_is_registered_is_found_by_its_name_with_what_its_card_says(tmp_path):
    (tmp_path / "about.yaml").write_text(
        "title: Our reviews\nprotocol: sims\nlanguage: de\nsizes: [3, 1, 1]\nlicence: CC0\n"
    )
    cards.add("reviews", tmp_path / "features", tmp_path / "data", tmp_path / "about.yaml")
    card = find.card("reviews", tmp_path / "data")
    assert (card.title, card.protocol, card.label_range, card.language) == ("Our reviews", "sims", 1.0, "de")
    assert (card.sizes, card.licence, card.own, card.simulated) == ((3, 1, 1), "CC0", True, False)
    assert card.path.resolve() == (tmp_path / "features").resolve()
    assert find.names(tmp_path / "data")[-1] == "reviews"


def test_data_in_the_data_folder_moves_with_it(tmp_path):
    (tmp_path / "data" / "reviews").mkdir(parents=True)
    cards.add("reviews", tmp_path / "data" / "reviews", tmp_path / "data")
    (tmp_path / "data").rename(tmp_path / "moved")
    assert find.card("reviews", tmp_path / "moved").path.resolve() == (tmp_path / "moved" / "reviews").resolve()


def test_an_unknown_name_is_told_with_the_closest_of_all(tmp_path):
    cards.add("reviews", tmp_path, tmp_path)
    with pytest.raises(UsageError, match=r"Did you mean 'reviews'\?.*data add NAME PATH"):
        find.card("review", tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("langauge: de", r"'langauge'.*Did you mean 'language'\?\n  A card has: path, title"),
        ("label_range: -1", "'label_range': "),
        ("protocol: iemocap", "'protocol': "),
        ("language: German", "'language': "),
        ("- a list", "A card has"),
        ("title: 2020-13-45", "is no YAML"),
        ("label_range: " + "9" * 5000, "is no YAML"),
        ("sizes: [60]", "'sizes': "),
        ("sizes: [-1, 2, 3]", "'sizes.0': "),
        ("a: [", "is no YAML"),
        ("!!python/object/apply:os.system [ls]", "is no YAML"),
        ("title: " + "x" * 70000, "larger than a card can be"),
    ],
)
def test_a_card_that_is_none_is_refused_with_its_place(content, said, tmp_path):
    about = tmp_path / "about.yaml"
    about.write_text(content)
    with pytest.raises(DataError, match=said) as error:
        cards.add("reviews", tmp_path, tmp_path / "data", about)
    assert str(about) in str(error.value)
    assert not (tmp_path / "data").exists()


def test_a_registered_card_that_is_damaged_is_told_when_it_is_asked_for(tmp_path):
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "card.yaml").write_text("title: no path")
    assert "reviews" in find.names(tmp_path)
    with pytest.raises(DataError, match="has no 'path'"):
        find.card("reviews", tmp_path)


def test_a_folder_of_no_possible_name_is_no_dataset(tmp_path):
    for name in ("MOSI", "mosi", "x y"):
        cards_folder: Path = tmp_path / name
        cards_folder.mkdir(exist_ok=True)
        (cards_folder / "card.yaml").write_text("path: .")
    assert cards.own(tmp_path) == []
