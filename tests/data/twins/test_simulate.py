"""The simulated twins look like the real sets, hold what they promise, and are the same bytes everywhere."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from msabench.data.schema import SPLITS, Dataset
from msabench.data.twins.draws import Draws
from msabench.data.twins.grammar import FRAMES, MODIFIERS, OBJECTS, REMARKS, SUBJECTS, sentence
from msabench.data.twins.lexicon import ADJECTIVES, FEELINGS, NOUNS, VERBS, spread_over, valences
from msabench.data.twins.planted import best_scores, plant, read_of, standardised
from msabench.data.twins.signals import layout, signals
from msabench.data.twins.simulate import LEVELS, NAMES, causes, made_by, simulate, statistics, version
from msabench.errors import DataError

# Made on x86-64 (AVX2), numpy 2.4; generator 1's were the same with numpy 1.26. A change needs another generator.
FINGERPRINTS = {
    "mosi-sim": "3b221852d3c799d1a76c1d99745c847742e649419b3e93e1f78762b11767dddd",
    "mosei-sim": "817826a0a3a65144860b83891dc6b69de6b425f8986380c6a4609ee79d459aa7",
    "mosi-sim:chatty": "88e52e2cb40402ba4986098ca470fdd8297d30f74c5dba614fe328d41a5c4d15",
    "mosei-sim:chatty": "da4cd211c109b6bd73fccf0507b4507ce839c6668179ac76c4ee9b27a3f9a5d7",
    "mosi-sim:quiet": "0c33e8b881c750e1274d6c485a9ebe342653df92042a5647ea9f1e07c32684a4",
    "mosei-sim:quiet": "2a1e0cdb1fe9ebdf5abef5e641f6fd04def3bb2cba1244c78929d423cd53ec0b",
    "mosi-sim:hard": "39158e9b84e26d707a0754827f5767193ba7bbcd187deaeda4083cab54b4e380",
    "mosei-sim:hard": "f86fcaa614b6f7a615ec9a2a396ff02aa0f098b12a0d406151fc902ce8d8b5f0",
}
MIXTURE = LEVELS["hard"].mixture
STYLES = {level or "plain": made.style for level, made in LEVELS.items()}


@pytest.fixture(scope="module", params=["mosi-sim", "mosi-sim:chatty", "mosi-sim:quiet", "mosi-sim:hard"])
def mosi(request: pytest.FixtureRequest) -> Dataset:
    return simulate(request.param)


def test_mosi_sim_has_the_same_bytes_everywhere(mosi: Dataset) -> None:
    made = {"mosi-sim": 7, "mosi-sim:chatty": 3, "mosi-sim:quiet": 2, "mosi-sim:hard": 1}
    assert version(mosi.name) == made[mosi.name]
    assert f"generator {version(mosi.name)}," in mosi.source
    assert mosi.fingerprint == FINGERPRINTS[mosi.name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mosei-sim", "mosei-sim:chatty", "mosei-sim:quiet", "mosei-sim:hard"])
def test_mosei_sim_has_the_same_bytes_and_sizes_everywhere(name: str) -> None:
    mosei = simulate(name)
    assert [len(mosei.splits[split]) for split in SPLITS] == [16326, 1871, 4659]
    assert (mosei.splits["test"].audio.width, mosei.splits["test"].visual.width) == (74, 35)
    assert mosei.fingerprint == FINGERPRINTS[name]


def test_splits_and_widths_are_those_of_mosi(mosi: Dataset) -> None:
    assert [len(mosi.splits[split]) for split in SPLITS] == [1284, 229, 686]
    for split in mosi.splits.values():
        assert (split.audio.width, split.visual.width) == (5, 20)
        assert split.audio.values.dtype == split.visual.values.dtype == split.labels.dtype == np.float32
        assert len(split.ids) == len(split.text) == len(split.audio) == len(split.visual) == len(split)
        assert np.isfinite(split.audio.values).all()
        assert np.isfinite(split.visual.values).all()


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_counted_like_the_real_ones(mosi: Dataset, split: str) -> None:
    found = Counter(f"{round(float(label), 3):g}" for label in mosi.splits[split].labels)
    assert found == statistics()["mosi"][split]["labels"]


def test_no_video_is_in_two_splits_and_no_id_twice(mosi: Dataset) -> None:
    videos = [{sample.split("$_$")[0] for sample in mosi.splits[split].ids} for split in SPLITS]
    assert [len(each) for each in videos] == [52, 10, 31]
    assert len(set.union(*videos)) == 93
    assert len({sample for split in SPLITS for sample in mosi.splits[split].ids}) == 2199


@pytest.mark.parametrize("split", SPLITS)
def test_utterances_are_as_long_as_real_ones(mosi: Dataset, split: str) -> None:
    n_words = [len(text.split()) for text in mosi.splits[split].text]
    for percent in (10, 25, 50, 75, 90):
        assert np.percentile(n_words, percent) == pytest.approx(
            statistics()["mosi"][split]["words"][str(percent)], abs=1
        )
    median = statistics()["mosi"][split]["milliseconds"]["50"] / 1000
    audio, visual = mosi.splits[split].audio.lengths, mosi.splits[split].visual.lengths
    assert np.median(audio) == pytest.approx(12.5 * median, abs=1)
    assert np.median(visual) == pytest.approx(15 * median, abs=1)
    assert audio.min() >= 1
    assert visual.min() >= 1
    assert audio.max() <= 375
    assert visual.max() <= 500
    assert np.corrcoef(n_words, audio)[0, 1] > 0.7


def test_features_differ_in_scale_by_orders_of_magnitude(mosi: Dataset) -> None:
    spread = mosi.splits["train"].visual.values.std(0)
    assert spread.max() / spread.min() > 100


def test_shares_are_as_documented(mosi: Dataset) -> None:
    shares = LEVELS[mosi.name.partition(":")[2]].mixture.shares
    assert sum(shares.values()) == pytest.approx(1, abs=0.005)
    for part, share in shares.items():
        assert mosi.truth[f"share_{part}"] == pytest.approx(share, abs=0.02)


def test_each_modality_that_is_dropped_costs_its_share(mosi: Dataset) -> None:
    """Explained variance of the label, corr^2, falls by what the modality and the irony carry."""
    shares = LEVELS[mosi.name.partition(":")[2]].mixture.shares
    explained = {key.removeprefix("corr_"): value**2 for key, value in mosi.truth.items() if key.startswith("corr_")}
    assert explained["all"] - explained["text_audio"] == pytest.approx(shares["face"], abs=0.03)
    assert explained["all"] - explained["no_irony"] == pytest.approx(shares["irony"], abs=0.05)
    lost = shares["voice"] + shares["irony"]
    assert explained["all"] - explained["text_visual"] == pytest.approx(lost, abs=0.07)
    assert explained["all"] - explained["audio_visual"] > shares["words"]


def test_the_best_scores_leave_room_between_what_is_seen(mosi: Dataset) -> None:
    mae = {key.removeprefix("mae_"): value for key, value in mosi.truth.items() if key.startswith("mae_")}
    assert mae["all"] < mae["text_audio"] - 0.1 < mae["text_visual"] - 0.2 < mae["text"] - 0.3
    assert mae["text"] < min(mae["audio"], mae["visual"]) - (0.05 if version(mosi.name) >= 3 else 0.2)
    assert max(mae["audio"], mae["visual"]) < mae["train_mean"]


def test_no_regression_on_the_true_parts_beats_the_planted_best() -> None:
    parts = plant(Draws(3, "test"), standardised(Draws(4, "test").normal(4000).astype(np.float64)), MIXTURE)
    labels = np.argsort(np.argsort(parts.latent())) * (6 / 3999) - 3
    scores = best_scores(parts, labels, train_mean=0.0)
    columns = {"text": [parts.words], "all": [*(parts.terms()[key] for key in ("words", "irony", "voice", "face"))]}
    for seen, terms in columns.items():
        design = np.stack([*terms, *(term**3 for term in terms), np.ones(4000)], 1)
        fitted = design @ np.linalg.lstsq(design, labels, rcond=None)[0]
        assert scores[f"mae_{seen}"] < np.abs(fitted - labels).mean()
        assert scores[f"corr_{seen}"] > np.corrcoef(fitted, labels)[0, 1] - 0.002  # that fit has seen the answers


def test_parts_have_nothing_to_do_with_one_another() -> None:
    parts = plant(Draws(0, "test"), standardised(Draws(1, "test").normal(229).astype(np.float64)), MIXTURE)
    correlation = np.corrcoef([parts.words, parts.voice, parts.face, parts.chance, parts.words * parts.irony])
    assert np.abs(correlation[1:4] - np.eye(5)[1:4]).max() < 1e-9


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("n_words", [1, 2, 3, 4, 7, 12, 19, 40, 120])
@pytest.mark.parametrize("wanted", [None, -2.5, 0.0, 1.5])
def test_a_sentence_has_the_wanted_number_of_words_and_opinions_early(
    n_words: int, wanted: float | None, style: str
) -> None:
    draws = Draws(0, "test", n_words, wanted)
    for _ in range(20):
        made = sentence(draws, n_words, wanted, STYLES[style])
        words = made.text.split()
        assert len(words) == made.n_words == n_words
        assert max(made.spots) < 40
        lexical = [i for i, word in enumerate(words) if word in valences()]
        assert lexical == ([] if wanted is None else list(made.spots))


@pytest.mark.parametrize("style", STYLES)
def test_a_sentence_says_what_is_wanted(style: str) -> None:
    draws = Draws(0, "test")
    wanted = STYLES[style].reach * draws.normal(2000) / 256
    scores = [sentence(draws, 12, value, STYLES[style]).score for value in wanted]
    assert np.corrcoef(scores, wanted)[0, 1] > 0.85


def test_only_the_chosen_words_carry_valence() -> None:
    """Frames, modifiers and remarks hold no word of the lexicon, so that nothing else moves a reader."""
    frames = [frame for _, _, frame in FRAMES]
    modifiers = [modifier for each in MODIFIERS.values() for modifier, _ in each]
    around = {word for text in [*frames, *modifiers, *REMARKS, *SUBJECTS, *OBJECTS] for word in text.split()}
    assert around & valences().keys() == set()
    assert {*ADJECTIVES, *NOUNS, *VERBS, *FEELINGS} <= valences().keys()


def test_the_plain_words_are_spread_over_valence() -> None:
    chosen = [valences()[word] for word in spread_over(ADJECTIVES, 12)]
    assert len(set(spread_over(ADJECTIVES, 12))) == 12
    assert chosen == sorted(chosen)
    assert np.abs(np.array(chosen) - np.linspace(-3.2, 3.2, 12)).max() < 0.4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["audio", "visual"])
def test_a_reader_that_looks_at_accents_beats_one_that_averages(name: str, key: str) -> None:
    twin, _, level = name.partition(":")
    channel, n = LEVELS[level].channels[twin][key], 300
    features = layout(Draws(0, "test"), channel)
    part = Draws(1, "test").normal(n) / 256
    made = signals(
        Draws(2, "test"), channel, features,
        lengths=np.full(n, 60), speakers=np.zeros(n, np.int64), spots=[[0.3, 0.7]] * n, part=part, irony=np.zeros(n),
    )  # fmt: skip
    z = (made.values / features.scale - features.centre) / 512
    value = (z[:, features.value] * features.signs).mean(1).reshape(n, 60)
    accented = z[:, features.accent].reshape(n, 60) > 2.5
    reading = (value * accented).sum(1) / accented.sum(1)
    read, averaged = (np.corrcoef(by, part)[0, 1] for by in (reading, value.mean(1)))
    assert read > 0.9
    assert 1 - averaged**2 > 2 * (1 - read**2)
    last = value[:, -10:].mean(1)
    assert (np.corrcoef(last, part)[0, 1] > 0.9) == (level != "hard")  # what is said last is said clearest


@pytest.mark.parametrize("level", LEVELS)
def test_a_clip_has_a_level_of_its_own_as_far_from_others_as_sway_says(level: str) -> None:
    """Without bursts a clip's mean is its level alone: from generator 3 on; before it, all are equal."""
    channel, n = LEVELS[level].channels["mosi-sim"]["audio"], 400
    features, nothing = layout(Draws(0, "test"), channel), np.zeros(n)
    made = signals(
        Draws(2, "test"), replace(channel, lure=0.0), features,
        lengths=np.full(n, 200), speakers=np.zeros(n, np.int64), spots=[[0.5]] * n, part=nothing, irony=nothing,
    )  # fmt: skip
    z = (made.values / features.scale - features.centre) / 512
    levels = (z[:, features.value] * features.signs).mean(1).reshape(n, 200).mean(1)
    assert levels.std() == pytest.approx(channel.sway, abs=0.15)


@pytest.mark.parametrize("level", LEVELS)
def test_irony_is_heard_and_not_seen(level: str) -> None:
    irony = np.arange(40) % 2.0
    for key, heard in (("audio", True), ("visual", False)):
        channel = LEVELS[level].channels["mosi-sim"][key]
        features = layout(Draws(0, "test"), channel)
        made = signals(
            Draws(2, "test"), channel, features,
            lengths=np.full(40, 50), speakers=np.zeros(40, np.int64), spots=[[0.5]] * 40, part=irony * 0, irony=irony,
        )  # fmt: skip
        z = (made.values[:, features.drawl] / features.scale[features.drawl]).reshape(40, 50).max(1)
        assert (z[irony > 0].min() > np.median(z[irony == 0])) == heard


def test_means_over_time_close_at_most_a_third_of_the_gap_even_beside_the_planted_words() -> None:
    data = simulate("mosi-sim")
    splits = {name: causes_of(data, name) for name in ("train", "test")}
    center, deviation = splits["train"].mean(0), splits["train"].std(0)
    train, test = ((x - center) / deviation for x in splits.values())
    fit = RidgeCV(np.logspace(-2, 4, 20)).fit(train, data.splits["train"].labels)
    mae = np.abs(fit.predict(test) - data.splits["test"].labels).mean()
    alone, best = data.truth["mae_text"], data.truth["mae_all"]
    assert 0.1 < (alone - mae) / (alone - best) < 1 / 3


def causes_of(data: Dataset, name: str) -> np.ndarray:
    """(N, 1 + 5 + 20): the planted words, and each feature's mean over time."""
    words = causes(data.name, name)[2].words
    split = data.splits[name]
    means = [np.stack([steps.mean(0) for steps in sequences]) for sequences in (split.audio, split.visual)]
    return np.column_stack([words, *means])


def test_what_predictions_read_of_the_parts_is_found() -> None:
    content, ids, parts = causes("mosi-sim")
    data = simulate("mosi-sim")
    assert (content, list(ids)) == (data.fingerprint, data.splits["test"].ids)
    labels = data.splits["test"].labels.astype(float)
    assert read_of(parts, labels, labels) == pytest.approx(dict.fromkeys(("words", "voice", "face", "irony"), 1.0))
    half = read_of(parts, 0.5 * labels + 0.2, labels)
    assert half == pytest.approx(dict.fromkeys(half, 0.5))
    terms = parts.terms()
    summed = read_of(parts, terms["words"] + terms["voice"] + terms["face"], labels)
    assert abs(summed["irony"]) < 0.02 < 0.5 < min(summed["words"], summed["voice"], summed["face"])


def test_the_easier_twins_best_scores_know_the_labels_of_the_train_split_alone() -> None:
    _, _, parts = causes("mosi-sim")
    test = simulate("mosi-sim").splits["test"].labels
    own = best_scores(parts, test, 0.0)
    taught = best_scores(parts, test, 0.0, (parts, test))
    assert own == taught
    shifted = best_scores(parts, test, 0.0, (parts, np.clip(test + 1, -3, 3)))
    assert shifted["mae_all"] > own["mae_all"] + 0.3


@pytest.mark.parametrize(
    ("generator", "name", "today"),
    [
        (1, "mosi-sim", "mosi-sim:hard"),
        (1, "mosei-sim:hard", "mosei-sim:hard"),
        (2, "mosi-sim", "mosi-sim:quiet"),
        (3, "mosi-sim", "mosi-sim:chatty"),
        (7, "mosi-sim", "mosi-sim"),
        (0, "mosi-sim", "mosi-sim"),
    ],
)
def test_what_a_generator_made_is_found_under_its_name_of_today(generator: int, name: str, today: str) -> None:
    assert made_by(f"simulated, generator {generator}, seed 0", name) == today
    assert generator == 0 or simulate(today.replace("mosei", "mosi")).source.startswith(
        f"simulated, generator {generator},"
    )


def test_defects_are_there_on_demand_only(mosi: Dataset) -> None:
    spoilt = simulate(mosi.name, defects=True)
    train = spoilt.splits["train"]
    assert np.isneginf(train.audio.values).any()
    assert np.isnan(train.audio.values).any()
    assert (train.audio.lengths == 0).any()
    assert (train.visual.lengths == 0).any()
    assert sum(len(steps) > 0 and not steps[-1].any() for steps in train.visual) > 50
    assert len(set(train.ids)) == 1283
    assert (np.abs(train.labels) > 3).sum() == 1
    assert spoilt.fingerprint != mosi.fingerprint
    assert "with defects" in spoilt.source
    assert len(set(mosi.splits["train"].ids)) == 1284
    assert mosi.splits["train"].audio.lengths.min() > 0


def test_a_seed_gives_another_dataset_of_the_same_kind(mosi: Dataset) -> None:
    other = simulate(mosi.name, seed=1)
    assert other.fingerprint != mosi.fingerprint
    assert other.splits["test"].text != mosi.splits["test"].text
    assert sorted(other.splits["test"].labels) == sorted(mosi.splits["test"].labels)
    assert other.truth["mae_all"] < other.truth["mae_text_audio"] < other.truth["mae_text"]


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"Did you mean 'mosi-sim'\?.*mosei-sim"):
        simulate("mosi-simm")
    with pytest.raises(DataError, match=r"Did you mean 'mosi-sim:hard'\?"):
        simulate("mosi-sim:hart")
