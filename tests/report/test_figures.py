"""A report's pictures: which there are, what they show, and that they are fit for print."""

from __future__ import annotations

import doctest
import io
import re
import sys
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from msabench.data.protocols import PROTOCOLS, Protocol
from msabench.errors import MsabenchError, UsageError
from msabench.report.build import Plan, build
from msabench.report.figures import draw, rates, rows, samples, style
from msabench.report.make import View, make
from msabench.report.rows import Asked
from msabench.store import labels, predictions, robustness

KINDS = ["confusion", "cost", "differences", "labels", "learning-curves", "robustness", "seeds"]


def npz(labels: list[float], **generated: list[float]) -> bytes:
    file = io.BytesIO()
    arrays = {f"labels_{name}": np.array(values, np.float32) for name, values in generated.items()}
    np.savez(file, id=np.array(["a", "b", "c"]), label=np.array(labels, np.float32), **arrays)
    return file.getvalue()


@pytest.fixture
def store(run, stored):
    """Three models on three seeds; MCER stores an s-label and a c-label of three samples after each of two epochs."""
    models = {"mcer": 0.7, "self_mm": 0.8, "tfn": 1.0}
    seeds = range(3)
    found = stored([run(m, seed=s, mae=mae + 0.01 * s, changed={}) for m, mae in models.items() for s in seeds])
    for record in (record for record in found.records if record.model == "mcer"):
        found.files[record.id, "epoch-001.npz"] = npz([1, -1, 2], t=[1, -1, 2], m_t=[1, -1, 2])
        found.files[record.id, "epoch-002.npz"] = npz([1, -1, 2], t=[2, -1, np.nan], m_t=[1, -1, 2])
    for record in (record for record in found.records if record.model != "tfn"):
        found.files[record.id, robustness.NAME] = lacking(predictions.read(found, record.id, "test"), PROTOCOLS["tfr"])
    return found


def lacking(complete: list[tuple[str, float, float]], protocol: Protocol, masks: int = 2) -> bytes:
    """Predictions that shrink to 0 as the rate grows, in another order than the complete ones; a mask adds its part."""
    ids, made, _ = zip(*reversed(complete), strict=True)
    file, of = io.BytesIO(), {}
    for point in protocol.points:
        kept = np.array([[1 - point.rate + 0.1 * mask] for mask in range(masks if point.masking.random else 1)])
        of[point.masking.key] = kept * np.array(made)
    np.savez(file, id=np.array(ids), **of)
    return file.getvalue()


@pytest.fixture
def report(store):
    return make(store, View(columns=("mae", "acc_7")))


@pytest.fixture
def table(report):
    return report.tables[0]


@pytest.fixture
def stored_samples(store):
    return samples.Samples(
        lambda run: predictions.read(store, run, "test"),
        lambda run: labels.read(store, run),
        lambda run: robustness.read(store, run),
    )


def texts(figure):
    return [found for found in figure.findobj(Text) if found.get_text().strip() and found.get_visible()]


# ---- the files


def test_each_picture_is_written_as_svg_and_pdf_and_is_called_by_what_it_shows(report, store, tmp_path):
    written, missing = draw.draw(report, store, tmp_path / "figures")
    assert sorted(path.name for path in written) == [f"mosi.{kind}.{end}" for kind in KINDS for end in ("pdf", "svg")]
    assert not any(re.search(rb"CreationDate|<dc:date>", path.read_bytes()) for path in written)
    assert missing == ["mosi.robustness: tfr-1 without tfn: not tested under tfr-1: run 7, 8, 9"]


def test_the_same_store_gives_the_same_bytes_whatever_the_users_own_settings(report, store, tmp_path):
    draw.draw(report, store, tmp_path / "a")
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": None, "text.usetex": True, "pdf.fonttype": 3}):
        draw.draw(report, store, tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_text_stays_text_in_both(table):
    svg, pdf = io.BytesIO(), io.BytesIO()
    with style.styled():
        figure = rows.seeds(table)
        figure.savefig(svg, format="svg")
        figure.savefig(pdf, format="pdf")
    words = ET.fromstring(svg.getvalue()).iter("{http://www.w3.org/2000/svg}text")
    assert {"MCER", "SELF-MM", "MAE ↓", "Acc-7 ↑"} <= {word.text for word in words}
    assert b"/CIDFontType2" in pdf.getvalue()
    assert b"/Type3" not in pdf.getvalue()


def test_what_cannot_be_drawn_is_said(run, memory_store, tmp_path):
    store = memory_store([run(changed={})])
    store.curves = lambda name: {}
    written, missing = draw.draw(make(store), store, tmp_path)
    assert {re.split(r"[.:]", sentence)[1] for sentence in missing} == {*KINDS} - {"seeds"}
    assert [path.name for path in written] == ["mosi.seeds.svg", "mosi.seeds.pdf"]
    assert "mosi.confusion: without mcer: run 1 has no predictions.csv" in missing
    assert "mosi.learning-curves: no run of it logged its validation MAE by epoch" in missing


def test_without_matplotlib_it_says_how_to_get_it(report, store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r'pip install "msabench\[figures\]"'):
        draw.draw(report, store, tmp_path)


def test_a_folder_that_cannot_be_written_is_one_clear_error(report, store, tmp_path):
    (tmp_path / "a file").touch()
    with pytest.raises(MsabenchError, match="--figures DIR"):
        draw.draw(report, store, tmp_path / "a file")


@pytest.mark.parametrize("name", ["../../etc/x", "a/b\\c:*?", "n" * 10_000, "", "a\0\x1b\udcff", "$x_1$ </svg> 中"])
def test_no_name_leads_out_of_the_folder_or_into_the_file(run, memory_store, name, tmp_path):
    report = build([run(name, dataset=name, preset=name), run("tfn", dataset=name)], Plan(columns=("mae",)))
    written, _ = draw.draw(report, memory_store([]), tmp_path / "figures" / "here")
    assert all(path.parent == tmp_path / "figures" / "here" and path.is_file() for path in written)
    for path in written:
        assert path.suffix == ".pdf" or ET.parse(path).getroot().tag.endswith("svg")


def test_files_of_tables_of_one_dataset_are_called_by_what_tells_them_apart(run):
    runs = [
        run(),
        run(setting={"text_mode": "frozen"}),
        run(dataset="MOSI"),
        run(data={"fingerprint": "a", "source": "b"}),
    ]
    found = draw.names(build(runs).tables)
    assert len({name.lower() for name in found}) == 4
    assert "mosi.text-mode-frozen" in found


# ---- what they show


def test_a_curve_is_the_mean_of_the_seeds_that_still_train():
    curves = {0: [(1, 1.0), (2, 0.5)], 1: [(1, 2.0), (2, float("nan"))], 2: [(1, 3.0)]}
    assert rows.over_seeds(curves) == [(1, 2.0, 1.0, 3.0, 3), (2, 0.5, 0.5, 0.5, 1)]


def test_the_forest_shows_each_pair_with_its_interval_in_the_units_of_the_table(table):
    axes = {ax.get_title(): ax for ax in rows.differences(table).axes}
    for title, key, scale in (("MAE ↓", "mae", 1), ("Acc-7 ↑", "acc_7", 100)):
        spans = {tuple(line.get_xdata()) for line in axes[title].lines if len(line.get_xdata()) == 2}
        pairs = [pair for pair in table.pairs if pair.key == key]
        assert len(pairs) == 2
        assert {tuple(scale * end for end in pair.interval) for pair in pairs} <= spans


def test_the_forest_tells_ties_as_the_table_does(run, stored):
    close = stored([run(m, seed=s, mae=0.9 + 0.001 * s, changed={}) for m in ("mcer", "tfn") for s in range(3)])
    table = make(close).tables[0]
    tied = {row.label for row in table.rows if row.cells.get("mae") and row.cells["mae"].tied}
    assert tied == {"mcer", "tfn"}
    drawn = {to_hex(line.get_color()).upper() for line in rows.differences(table).axes[0].lines}
    assert style.BLUE in drawn
    assert style.ORANGE not in drawn


def test_every_seed_is_a_dot(table):
    axes = rows.seeds(table).axes[0]
    dots = [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
    assert dots == [list(row.cells["mae"].values.values()) for row in table.section("measured")]


def test_of_two_rows_at_one_price_the_better_is_on_the_front():
    spots = [(1.0, 0.5, "a"), (1.0, 0.6, "b"), (2.0, 0.6, "c"), (3.0, 0.9, "d")]
    assert [name for *_, name in rows.pareto(spots, lower=False)] == ["b", "d"]
    assert [name for *_, name in rows.pareto(spots, lower=True)] == ["a"]


def test_a_confusion_matrix_counts_what_acc_7_does(run):
    scored = [("a", 1.0, 2.6), ("b", 9.0, 3.0), ("c", -2.5, -3.0), ("d", 0.0, 0.4)]  # id, prediction, label
    figure, without = samples.confusion(build([run()]).tables[0], samples.Samples(lambda run: scored, lambda run: {}))
    shares = np.asarray(figure.axes[0].images[0].get_array())
    assert (shares[6, 4], shares[6, 6], shares[0, 1], shares[3, 3]) == (50, 50, 100, 100)
    assert shares.sum() == 300
    assert figure.axes[0].get_yticklabels()[6].get_text() == "3 (2)"
    assert without == []


def test_labels_drift_from_the_annotated_ones_and_those_never_seen_do_not_count():
    first = labels.Epoch(("a", "b"), np.array([1.0, -1.0]), {"t": np.array([1.5, np.nan])})
    second = labels.Epoch(("a", "b"), np.array([1.0, -1.0]), {"t": np.array([0.0, -1.0])})
    moved = samples.shifts([{1: first}, {1: second, 2: second}])
    assert {epoch: values.tolist() for epoch, values in moved["t"].items()} == {1: [0.5, -1.0, 0.0], 2: [-1.0, 0.0]}


def test_the_picture_of_labels_has_a_panel_per_kind_and_modality(table, stored_samples):
    figure, without = samples.labels(table, stored_samples)
    assert [ax.get_title() for ax in figure.axes] == ["MCER: s-label, text", "MCER: c-label, text"]
    assert without == []


def test_a_damaged_file_of_labels_is_named(store, table, stored_samples):
    store.files[1, "epoch-001.npz"] = b"PK\x03\x04 cut off"
    figure, without = samples.labels(table, stored_samples)
    assert figure is None
    assert without == ["without mcer: run 1: epoch-001.npz holds no labels: expected numpy arrays label, labels_…."]


# ---- fit for print


@pytest.fixture
def many(run):
    """Fifty rows, some of long names."""
    names = [f"model_{i}" if i % 5 else f"a_model_of_quite_a_long_name_{i}" for i in range(50)]
    curve = [(1, 1.0), (2, 0.9)]
    records = [
        run(name, mae=0.7 + 0.01 * i, preset="paper" if i % 7 else "a long preset") for i, name in enumerate(names)
    ]
    return build(records, Plan(Asked(curve=lambda record: curve), columns=("mae",))).tables[0]


@pytest.mark.parametrize("kind", [rows.learning_curves, rows.seeds, rows.cost], ids=lambda kind: kind.__name__)
def test_fifty_rows_are_legible(many, kind):
    with style.styled():
        figure = kind(many)
        figure.draw_without_rendering()
        box, size = figure.get_tightbbox(), figure.get_size_inches()
        assert min(box.x0, box.y0) >= 0
        assert (box.max <= size).all()
        names = [word for word in texts(figure) if "model_" in word.get_text()]
        assert len(names) == 50
        boxes = [word.get_window_extent().padded(-1) for word in names]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("kind", [rows.learning_curves, rows.differences, rows.seeds, rows.cost])
def test_a_picture_is_as_wide_as_a_page_and_no_letter_smaller_than_8_points(table, kind):
    with style.styled():
        figure = kind(table)
        figure.draw_without_rendering()
    assert figure.get_size_inches()[0] == style.PAGE <= 7
    assert {word.get_fontsize() for word in texts(figure)} == {8}


def test_fifty_points_differ_in_colour_or_marker(many):
    legend = rows.cost(many).legends[0]
    looks = [(line.get_color(), line.get_marker()) for line in legend.get_lines()]
    assert len(set(looks)) == len(looks) == 51


@pytest.mark.parametrize("module", [rows, draw])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0


def test_a_row_s_curve_is_its_mean_over_masks_and_seeds_within_its_interval(store, table, stored_samples):
    figure, without = rates.curves(table, stored_samples)
    panels = {ax.get_title(): ax for ax in figure.axes}
    assert list(panels) == ["tfr-1: MAE ↓"]
    assert without == ["tfr-1 without tfn: not tested under tfr-1: run 7, 8, 9"]
    first = panels["tfr-1: MAE ↓"].lines[0]
    assert first.get_xdata().tolist() == [i / 10 for i in range(11)]
    complete = [predictions.read(store, run, "test") for run in (1, 2, 3)]
    at_half = [np.mean([abs(kept * p - y) for _, p, y in run]) for run in complete for kept in (0.5, 0.6)]
    assert first.get_ydata()[5] == pytest.approx(np.mean(at_half))
    band = panels["tfr-1: MAE ↓"].collections[0].get_paths()[0].vertices
    assert band[:, 1].min() < first.get_ydata().min()
    assert len(panels["tfr-1: MAE ↓"].lines) == 2
