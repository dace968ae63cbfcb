"""Tables and charts of pages: made of rows, the same as those that are committed."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from casvit_dense.benchmark import speed_tables, tables
from casvit_dense.benchmark.page import TABLES, render_page, svg_of, write_page
from casvit_dense.benchmark.tables import Chart, geometric_mean, newest_machine
from casvit_dense.errors import UserError
from casvit_dense.results.ledger import append_rows
from casvit_dense.results.lines import line_of
from casvit_dense.results.measurements import EvaluatorSpeed, LoadingSpeed, Speed
from casvit_dense.results.row import Software
from casvit_dense.results.tables import time_cell

DATE = datetime(2026, 11, 22, 10, tzinfo=timezone.utc)
SOFTWARE = Software(versions={"casvit-dense": "0.1.0", "torch": "2.9"})

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"


def row(**fields: Any) -> Speed:
    """A row of one machine, 512x512, reference, eager, fp32, unless said otherwise."""
    usual = {
        "model": "casvit-xs",
        "part": "backbone",
        "mode": "infer",
        "form": "reference",
        "backend": "eager",
        "precision": "fp32",
        "size": "512x512",
        "batch": 1,
        "device": "CPU",
        "threads": 2,
        "software": SOFTWARE,
        "date": DATE,
        "p10_ms": 1,
        "p90_ms": 3,
    }
    return Speed(**{**usual, **fields})


def test_the_committed_page_is_made_of_the_committed_rows() -> None:
    text, made = render_page(PAGE)
    assert text == PAGE.read_text(encoding="utf-8"), "run: make speed-page"
    assert set(made) == set(TABLES)
    drawn = {f"{name}.svg" for name, table in made.items() if not table.chart.empty}
    assert {path.name for path in PAGE.with_suffix("").glob("*.svg")} == drawn


def test_the_committed_charts_are_those_of_the_tables() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    others = []
    for name, table in render_page(PAGE)[1].items():
        if table.chart.empty:
            continue
        committed = (PAGE.with_suffix("") / f"{name}.svg").read_bytes()
        if f"Matplotlib v{matplotlib.__version__}".encode() in committed:
            assert svg_of(table.chart) == committed, f"{name}.svg: run make speed-page"
        else:
            others.append(f"{name}.svg")
    if others:
        pytest.skip(f"not drawn by Matplotlib {matplotlib.__version__}: {', '.join(others)}")


def test_times_and_means_by_hand() -> None:
    rows = [
        row(model=f"casvit-{name}", backend=backend, form=form, median_ms=ms, ratio=ratio)
        for name, slow in (("xs", 100), ("s", 200), ("m", 400), ("t", 800))
        for backend, form, ms, ratio in (
            ("eager", "reference", slow, 1),
            ("eager", "fused", slow / 2, 2),
            ("openvino", "fused", slow / (8 if name == "xs" else 4), 8 if name == "xs" else 4),
        )
    ]
    table = speed_tables.inference(rows)
    cells = {line[0]: line[1:] for line in table.rows}
    assert cells["reference, eager"][:4] == [
        *("100 (1 to 3)", "200 (1 to 3)", "400 (1 to 3)", "800 (1 to 3)")
    ]
    assert cells["fused, eager"][4] == "2.00"
    assert cells["fused, openvino"][4] == "4.76"  # fourth root of 8 * 4 * 4 * 4
    assert cells["fused, onnxruntime"] == ["-"] * 6
    assert table.chart.series["fused, openvino"] == [8, 4, 4, 4]
    best = speed_tables.shares(rows)
    assert [line[1] for line in best.rows[:4]] == ["fused, openvino"] * 4
    assert best.rows[4][3] == "4.76"


def test_training_shares_by_hand() -> None:
    common = dict(model="casvit-xs", mode="train", batch=2)
    table = speed_tables.training(
        [
            row(**common, median_ms=10, ratio=1, saved_mb=80, peak_mb=200),
            row(**common, form="fused-time", median_ms=8, ratio=1.25, saved_mb=60, peak_mb=190),
        ]
    )
    cells = {line[0]: line[1:] for line in table.rows}
    assert cells["xs, fused-time"] == ["8.00 (1.00 to 3.00)", "0.80", "60", "0.75", "190"]
    assert cells["xs, fused-memory"] == ["-"] * 5
    assert cells["geometric mean, fused-time"][1] == "-"  # three variants are missing


def test_time_of_a_pixel_by_hand() -> None:
    times = {512: 100.0, 1024: 440.0}
    rows = [
        row(model="casvit-xs", size=f"{side}x{side}", median_ms=ms) for side, ms in times.items()
    ]
    series = speed_tables.scaling(rows).chart.series["reference, eager"]
    values = dict(zip(speed_tables.SCALING_SIDES, series, strict=True))
    assert values[512] == 1 and values[1024] == pytest.approx(1.1) and values[224] is None


def test_peers_are_sorted_by_cost_and_take_the_faster_form() -> None:
    big, small = "fpn_big-net_8xb4-40k", "fpn_small_8xb4-40k"
    rows = [
        row(model=big, gmacs=20, params_m=30, median_ms=100),
        row(model=small, gmacs=2, params_m=3, median_ms=40),
        row(model=small, gmacs=2, backend="openvino", median_ms=20),
        row(model=small, gmacs=2, backend="openvino", form="fused", median_ms=10),
        row(model=small, gmacs=2, backend="onnxruntime", form="fused", error="ValueError: no"),
    ]
    table = speed_tables.peers(rows)
    assert [line[0] for line in table.rows] == ["small", "big-net"]
    first = dict(zip(table.columns, table.rows[0], strict=True))
    assert first["openvino, ms"] == "10.0 (1.0 to 3.0)"
    assert first["onnxruntime, ms"] == "failed"
    assert first["GMACs a second at best"] == "200"


def test_only_ratios_to_the_reference_enter_tables() -> None:
    right = row(model="casvit-xs", form="fused", base="reference eager fp32", median_ms=5, ratio=2)
    later = dict(date=DATE + timedelta(days=1), median_ms=4, ratio=1)
    other = row(model="casvit-xs", form="fused", base="fused eager fp32", **later)
    assert tables.timed([right, other]) == [right]
    failed = row(model="casvit-xs", error="ValueError: no")
    assert tables.timed([right, failed]) == [right, failed]


def test_the_newest_count_of_a_model_at_the_tables_size() -> None:
    common = dict(model="fpn_small_8xb4-40k", part="model", mode="count", params_m=9)
    rows = [
        row(model="casvit-xs", mode="count", gmacs=1),  # a plain backbone has no head
        row(**common, gmacs=22, date=DATE + timedelta(days=1)),
        row(**common, gmacs=21),
        row(**common, gmacs=80, size="1024x1024", date=DATE + timedelta(days=2)),
        row(**{**common, "model": "retinanet_small_fpn"}, gmacs=99, size="800x1280"),
    ]
    table = speed_tables.counts(rows)
    assert [line[0] for line in table.rows] == ["small"]
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert cells["Semantic FPN, M"] == "9.0" and table.rows[0][-1] == "22.0"
    assert table.chart.series == {"RetinaNet": [99], "Mask R-CNN": [None], "Semantic FPN": [22]}


def test_failed_configs_and_tasks_are_no_columns() -> None:
    about = dict(device="CPU", threads=2, date=DATE, software=SOFTWARE)
    failed = LoadingSpeed(**about, config="a", error="UserError: no data")
    good = LoadingSpeed(**about, config="a", decoder="cv2", step="decode", ms=3)
    table = tables.loading([failed, good])
    assert list(table.columns) == ["Step", "cv2"] and table.rows == [["decode, ms", "3.00"]]
    assert tables.evaluation([EvaluatorSpeed(**about, task="segm", error="no")]).rows == []


def test_only_the_machine_measured_last() -> None:
    old = row(device="old", date=DATE - timedelta(days=300))
    new = row(device="new")
    assert newest_machine([new, old]) == [new]


def test_a_mean_needs_all_values() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4)
    assert geometric_mean([2.0, None]) is None and geometric_mean([]) is None


def test_cells() -> None:
    assert time_cell(None) == "-"
    assert time_cell(row(error="RuntimeError: no")) == "failed"
    assert time_cell(row(median_ms=2.345)) == "2.35 (1.00 to 3.00)"
    assert time_cell(row(median_ms=12.345)) == "12.3 (1.0 to 3.0)"
    assert time_cell(row(median_ms=123.45, p10_ms=100, p90_ms=300)) == "123 (100 to 300)"
    assert time_cell(row(median_ms=2.345, p90_ms=None)) == "2.35"


def test_a_page_is_rewritten_between_its_marks(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page = tmp_path / "own.md"
    page.write_text("# Own\n\n<!-- table: memory -->\nold\n<!-- end -->\n\nText stays.\n")
    file = tmp_path / "own" / "cpu.jsonl"
    append_rows(file, [row(mode="count", gmacs=1)])
    assert list(write_page(page)) == ["memory"]
    assert "Not measured yet; `casvit-dense benchmark --suite cpu" in page.read_text()
    append_rows(file, [row(median_ms=9, peak_mb=123.4)])
    assert list(write_page(page)) == ["memory"]
    files = [page, tmp_path / "own" / "memory.svg"]
    text = page.read_text()
    assert "| reference, eager | 123 | - | - | - |" in text and "old" not in text
    assert "![peak memory, MB](own/memory.svg)" in text and text.endswith("\n\nText stays.\n")
    before = [file.read_bytes() for file in files]
    write_page(page)
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_tables_without_any_row_are_not_wiped(tmp_path: Path, content: str | None) -> None:
    page = tmp_path / "own.md"
    page.write_text("<!-- table: memory -->\nkept\n<!-- end -->\n")
    with pytest.raises(UserError, match="own holds no rows"):
        write_page(page)
    (tmp_path / "own").mkdir()
    if content is not None:
        (tmp_path / "own" / "cpu.jsonl").write_text(content)
    with pytest.raises(UserError, match="own holds no rows"):
        write_page(page)
    assert "kept" in page.read_text()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a,b\n1,2\n", "cpu.jsonl, line 1 is not a row: "),
        (
            line_of(row(peak_mb=7.5)).replace("7.5", '"abc"'),
            "line 1 is not a row: speed, peak_mb: must be ",
        ),
        (
            line_of(row(peak_mb=7.5)).replace("7.5", "NaN"),
            "line 1 is not a row: speed, peak_mb: must be ",
        ),
    ],
)
def test_wrong_figures_reach_no_page(tmp_path: Path, content: str, reason: str) -> None:
    page = tmp_path / "own.md"
    page.write_text("<!-- table: memory -->\nkept\n<!-- end -->\n")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "cpu.jsonl").write_text(content)
    with pytest.raises(UserError, match=reason):
        write_page(page)
    assert "kept" in page.read_text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# Own\n", "no <!-- table: NAME --> in it"),
        ("# Own\n<!-- table: memory -->\nkept\n", "line 2: <!-- table: memory --> stands alone"),
        (
            "<!-- table: memory -->\n<!-- table: shares -->\n<!-- end -->\n",
            "line 1: <!-- table: memory --> stands alone",
        ),
        ("<!-- table: memory --> kept\n<!-- end -->\n", "needs a line of its own"),
        ("\xff", "cannot be read as text"),
    ],
)
def test_wrong_markers_are_named(tmp_path: Path, text: str, reason: str) -> None:
    page = tmp_path / "own.md"
    page.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=reason):
        render_page(page)


def test_an_unknown_table_is_named(tmp_path: Path) -> None:
    page = tmp_path / "own.md"
    page.write_text("<!-- table: sped -->\n<!-- end -->\n")
    with pytest.raises(UserError, match="no table 'sped'"):
        render_page(page)


def test_charts_hold_their_numbers() -> None:
    pytest.importorskip("matplotlib")
    bars = svg_of(Chart("ms", ["xs", "s"], {"one": [1.0, None], "two": [3.0, 4.0]}))
    assert bars == svg_of(Chart("ms", ["xs", "s"], {"one": [1.0, None], "two": [3.0, 4.0]}))
    assert bars != svg_of(Chart("ms", ["xs", "s"], {"one": [1.0, None], "two": [3.0, 5.0]}))
    for text in (b">xs<", b">one<", b">ms<"):
        assert text in bars
    lines = svg_of(Chart("a pixel", ["224", "512"], {"one": [1.2, 1.0]}, lines=True))
    assert lines != bars
