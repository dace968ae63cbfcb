"""The report: what is read, what the page says, and that no text of data becomes markup."""

import csv
import json
import math
import re
import shutil
from pathlib import Path

import ledger_rows
import pytest
import report_files
from report_page import Page, models_of

from casvit_dense.cli import main
from casvit_dense.errors import UserError
from casvit_dense.report import build_report
from casvit_dense.report.build import embedded
from casvit_dense.report.grid import NOTHING, three_digits
from casvit_dense.report.page_tables import cell_grid, verdict_grid
from casvit_dense.report.scatter import scatter
from casvit_dense.report.sources import Evaluated, read_sources, with_predictions
from casvit_dense.results.boards import Board, boards, percents
from casvit_dense.results.ledger import append_rows
from casvit_dense.results.targets import read_targets
from casvit_dense.results.verify import Verdict, percent, verify

DOCS = Path(__file__).parents[2] / "docs"
CPU = DOCS / "speed/cpu.jsonl"


def test_the_page_fetches_nothing(page: Page) -> None:
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    assert "default-src 'none'" in policy and "img-src data:" in policy
    addresses = [a[k] for _, a in page.tags for k in ("src", "href", "srcset", "data") if a.get(k)]
    assert all(address.startswith(("#", "data:")) for address in addresses)
    code = page.scripts[""]
    assert not re.search(r"\bfetch\(|XMLHttpRequest|import\(|^import |eval\(|innerHTML", code, re.M)


def test_verdicts_are_those_of_verify(page: Page, ledger: Path) -> None:
    findings = verify(read_sources([ledger]).rows, read_targets())
    rows = page.tables["verdicts"][1:]
    assert len(rows) == len(findings)
    shown = {v: sum(row[6][2:].startswith(v.value) for row in rows) for v in Verdict}
    assert shown == {v: sum(f.verdict is v for f in findings) for v in Verdict}
    assert min(shown.values()) > 0
    first = {row[0]: row for row in rows if row[6][2:].startswith("below")}
    below = first["CAS-ViT-XSmask-rcnn_casvit-xs_fpn_8xb4-1x_coco"]
    assert below[1:6] == ["Mask R-CNN", "mask AP", "34.9± 0.3", "30.00", "-4.90"]


def test_what_needs_attention_comes_first(ledger: Path) -> None:
    grid = verdict_grid(verify(read_sources([ledger]).rows, read_targets()))
    marks = [row[6].mark for row in grid.rows]
    assert marks[:4] == ["below", "above", "within", "not-comparable"]
    assert grid.shown >= sum(mark != "not-run" for mark in marks)
    reason = grid.rows[3][6].note
    assert "CocoDataset" in reason or "images" in reason


def test_spread_over_seeds() -> None:
    rows = [
        ledger_rows.evaluation(
            ledger_rows.RETINANET,
            0,
            weights,
            metrics={"coco/bbox_mAP": value},
            training=ledger_rows.trained(ledger_rows.RETINANET, seed),
        )
        for seed, (weights, value) in enumerate((("a", 0.364), ("b", 0.366), ("c", 0.371)))
    ]
    grid = verdict_grid(verify(rows, read_targets()))
    cell = grid.rows[0][4]
    # Mean 36.7; deviations -.3, -.1, .4: sum of squares .26, over two .13.
    assert cell.text == f"36.70 ± {math.sqrt(0.13):.2f}"
    assert cell.note == "3 seeds"


def test_every_data_set_has_its_table_with_the_readers_own_first(page: Page, ledger: Path) -> None:
    titles = [re.sub("<.*?>", "", text) for text in re.findall(r"<h3>.*?</h3>", page.text)]
    assert titles[:3] == ["COCO val2017", "Shapes", "Shapes"]
    header, *rows = page.tables["board-1"]
    first = [dict(zip(header, row, strict=True)) for row in rows[:3]]
    assert {row["Model"] for row in first if row["From"].startswith("measured here")} == {
        f"CAS-ViT-XS{stem}"
        for stem in (ledger_rows.RETINANET, ledger_rows.MASK_RCNN, ledger_rows.SEM_FPN)
    }
    assert all(row[-1].startswith("published") for row in rows[3:]) and len(rows) > 40
    header, row = page.tables["board-2"]
    assert dict(zip(header, row, strict=True))["box AP"] == "50.00"
    header, row = page.tables["board-3"]
    assert dict(zip(header, row, strict=True))["mIoU"] == "80.00"


def test_without_published_models_nothing_stands_before_the_readers_own(
    tmp_path: Path, ledger: Path
) -> None:
    own = tmp_path / "results.jsonl"
    own.write_text("\n".join(ledger.read_text().splitlines()[:2]))
    page = Page(build_report([own], images=0).html)
    folded = page.text.index('<details class="published"')
    assert page.text.index('id="board-1"') < page.text.index('id="board-2"') < folded
    assert folded < page.text.index('id="verdicts"')
    assert "open" not in page.text[folded : page.text.index(">", folded)]
    assert 'class="counts"' not in page.text


def test_percent_of_metrics() -> None:
    row = report_files.result_row(
        "x", {"coco/bbox_mAP": 0.5, "coco/bbox_mAP_l": -1.0, "mIoU": 40.0, "aAcc": None}, "a"
    )
    assert percents(row) == {"bbox_mAP": 50.0, "mIoU": 40.0}


@pytest.mark.parametrize(
    ("metrics", "metric", "value"),
    [
        ({"coco/bbox_mAP": 0.5}, "bbox_mAP", 50.0),
        ({"coco/bbox_mAP_l": -1.0}, "bbox_mAP_l", None),
        ({"coco/bbox_mAP": 0.0}, "bbox_mAP", 0.0),
        ({"mIoU": 40.0, "mAcc": 60.0, "aAcc": 80.0}, "mAcc", 60.0),
        ({"mIoU": 40.0, "mAcc": 60.0, "aAcc": 80.0}, "aAcc", 80.0),
        ({"aAcc": None}, "aAcc", None),
        ({"mIoU": 40.0}, "bbox_mAP", None),
    ],
)
def test_percent_of_a_metric(metrics: dict, metric: str, value: float | None) -> None:
    assert percent(report_files.result_row("x", metrics, "a"), metric) == value


# --- what is read ---------------------------------------------------------------------------------


def test_a_missing_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "r.html")]) == 2
    assert "none.jsonl" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "\n", '{"schema_version": 1}\n', "no JSON\n"])
def test_a_ledger_without_rows(tmp_path: Path, content: str) -> None:
    ledger = tmp_path / "results.jsonl"
    ledger.write_text(content)
    with pytest.raises(UserError, match="there is no row in .*results.jsonl"):
        build_report([ledger])


def test_foreign_lines_are_said(ledger: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(f"{ledger.read_text().splitlines()[2]}\n{{broken\n")
    report = build_report([other])
    assert "line 2" in report.notes[0]
    assert b"1 line of the ledger skipped" in report.html


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--out", "{}"], "{} is a folder; give a file"),
        (["--tables", "{}/file"], "{}/file is a file; give a folder"),
        (["--images", "-3"], "'-3': give a whole number, 0 or more"),
        (["--images", "few"], "'few': give a whole number, 0 or more"),
    ],
)
def test_what_is_refused_before_anything_is_read(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as end:
        main(["report", "no such ledger", *(flag.format(tmp_path) for flag in flags)])
    assert end.value.code == 2 and said.format(tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(
    "flag", [["--speed", "{}/no.jsonl"], ["--speed", "{}/old.csv"], ["--runs", "{}/none"]]
)
def test_missing_inputs(
    flag: list[str], ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [part.format(tmp_path) for part in flag]
    assert main(["report", str(ledger), "--out", str(tmp_path / "r.html"), *arguments]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_speeds_alone_make_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", "--speed", str(CPU)]) == 0
    page = Page(Path("report.html").read_bytes())
    assert len(page.tables["speeds"]) - 1 == len(CPU.read_text().splitlines())
    assert "board-1" in page.tables and "curves-data" not in page.scripts


def test_rows_of_two_ledgers_count_once(ledger: Path, tmp_path: Path) -> None:
    copy = tmp_path / "results.jsonl"
    shutil.copy(ledger, copy)
    assert len(read_sources([ledger, copy]).rows) == len(read_sources([ledger]).rows)


def test_predictions_belong_to_the_row_that_their_folder_names(tmp_path: Path) -> None:
    rows = [
        report_files.result_row("x", {"mIoU": 10.0 + hour}, "a", date=ledger_rows.START)
        for hour in range(3)
    ]
    folder = tmp_path / "test"
    evaluations = [Evaluated(row, folder) for row in rows]
    report_files.write_metrics(folder, rows[1], {}, {})
    assert [one.row for one in with_predictions(evaluations)] == [rows[1]]
    # Overwritten by an evaluation that another ledger holds: nobody's.
    (folder / "metrics.json").write_text('{"row": "0123456789ab"}')
    (kept,) = with_predictions(evaluations)
    assert (kept.row, kept.folder) == (rows[2], None)
    # Written before folders named their row: the newest one's.
    (folder / "metrics.json").write_text("{}")
    assert with_predictions(evaluations) == [Evaluated(rows[2], folder)]


def test_evaluations_of_one_config_have_headings_that_tell_them_apart(tmp_path: Path) -> None:
    changes = [
        {"folder": "x/test"},
        {"folder": "fused/test", "form": "fused"},
        {"folder": "onnx/test", "form": "fused", "backend": "onnxruntime"},
        {"folder": "elsewhere/test"},
    ]
    rows = [report_files.result_row("x", {"mIoU": 40.0}, "a", **change) for change in changes]
    alone = report_files.result_row("y", {"mIoU": 40.0}, "a", form="fused", folder="y/test")
    ledger = tmp_path / "results.jsonl"
    append_rows(ledger, [*rows, alone])
    names: list[str] = []
    page = build_report([ledger], log=lambda line: names.append(line.partition(": ")[2])).html
    assert sorted(names) == [
        "x, fused, eager",
        "x, fused, onnxruntime",
        "x, reference, eager, elsewhere/test",
        "x, reference, eager, x/test",
        "y",
    ]
    assert all(f"<h3>{name}</h3>".encode() in page for name in names)


# --- accuracy and cost ----------------------------------------------------------------------------


def boards_of(ledger: Path) -> list[Board]:
    sources, targets = read_sources([ledger], [CPU]), read_targets()
    rows = [evaluated.row for evaluated in sources.evaluations]
    return boards(rows, verify(sources.rows, targets), sources.speeds, targets)


def test_costs_of_models_come_from_their_rows(ledger: Path) -> None:
    data = scatter(boards_of(ledger)[0])
    table = [json.loads(line) for line in CPU.read_text().splitlines()]
    stem = ledger_rows.RETINANET
    count = next(r for r in table if r["model"] == stem and r["mode"] == "count")
    points = [p for p in data["points"] if p["config"] == stem]
    assert sorted(p["measured"] for p in points) == [False, True]
    for point in points:
        assert point["cost"]["params/model"] == (count["params_m"], "measured here")
        key = f"gmacs/model/{count['size']}"
        assert point["cost"][key] == (count["gmacs"], "measured here")
    measured = next(p for p in points if p["measured"])
    assert measured["quality"] == {"bbox_mAP": 36.5, "segm_mAP": 34.9}
    # The backbone's time is a cost of every model that has it.
    timed = next(r for r in table if r["model"] == "casvit-xs" and r["backend"] == "openvino")
    assert timed["median_ms"] in [value for value, _ in measured["cost"].values()]


def test_each_data_set_has_a_chart_of_its_own(ledger: Path) -> None:
    for data in map(scatter, boards_of(ledger)):
        known = {axis["key"] for axis in (*data["cost"], *data["quality"])}
        assert {key for p in data["points"] for key in (*p["cost"], *p["quality"])} <= known
        # An axis that no point has would open an empty chart.
        assert known <= {key for p in data["points"] for key in (*p["cost"], *p["quality"])}


# --- text of data ---------------------------------------------------------------------------------


def test_no_text_of_data_becomes_markup(shapes: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    file = """a"b'c<img src=x onerror=alert(2)>&amp;.png"""
    report_files.rename(data / "coco", report_files.HOSTILE, 0, file)
    row = report_files.result_row("</script><b>", {"coco/bbox_mAP": 0.5}, "a", device="<i>GPU</i>")
    report_files.write_detections(tmp_path / row.folder, row, data / "coco")
    append_rows(tmp_path / "results.jsonl", [row])
    page = Page(build_report([tmp_path / "results.jsonl"], title="<u>x</u>").html)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"b", "i", "u", "img"}
    (model,) = models_of(page).values()
    assert report_files.HOSTILE in model["gallery"]["classes"]
    assert file in [image["name"] for image in model["gallery"]["images"]]
    assert any(cell.startswith("</script><b>") for row in page.tables["board-1"] for cell in row)


def test_embedded_json_ends_no_script() -> None:
    value = {"</script>": "<!--", "a": "\u2028&", "n": 0.1}
    text = embedded(value)
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == value


# --- tables ---------------------------------------------------------------------------------------


def test_tables_for_papers(ledger: Path, tmp_path: Path) -> None:
    arguments = ["report", str(ledger), "--speed", str(CPU), "--images", "0"]
    out = ["--out", str(tmp_path / "r.html"), "--tables", str(tmp_path / "tables")]
    assert main([*arguments, *out]) == 0
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    stems = {"verdicts", "coco-val2017", "shapes", "speed", "ade20k-val"}
    assert {f"{stem}.{suffix}" for stem in stems for suffix in ("md", "csv", "tex")} <= names
    rows = list(csv.DictReader((tmp_path / "tables/verdicts.csv").open()))
    below = [row for row in rows if row["Verdict"].startswith("below")]
    assert [row["Ours"] for row in below] == ["30.00"]
    counts = map(json.loads, CPU.read_text().splitlines())
    counted = next(row for row in counts if row["model"] == ledger_rows.RETINANET)
    mine = next(row for row in rows if row["Model"] == "RetinaNet, CAS-ViT-XS")
    assert float(mine["M parameters"]) == pytest.approx(counted["params_m"], abs=0.005)


def test_rows_of_another_kind() -> None:
    rows = [
        {"a": "1", "same": "x", "c": "z"},
        {"a": "10", "same": "x", "b": "2", "c": "y"},
    ]
    grid = cell_grid("loading", rows)
    assert [(c.title, c.number) for c in grid.columns] == [("a", True), ("c", False), ("b", True)]
    assert grid.about == "In all rows: same x."
    assert [cell.key for cell in grid.rows[1]] == ["10", "y", "2"]
    assert grid.rows[0][2].text == NOTHING and grid.rows[0][2].key == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1234")]
)
def test_three_digits(value: float, text: str) -> None:
    assert three_digits(value) == text


def test_commands_and_environments(page: Page, ledger: Path) -> None:
    commands = {row[2] for row in page.tables["commands"][1:]}
    rows = read_sources([ledger]).rows
    assert {row.command for row in rows if row.command} <= commands
    names = {row[0] for row in page.tables["environments"][1:]}
    assert {row[1] for row in page.tables["commands"][1:]} == names
