"""Tables of results, and the pages that are made of rows and published figures."""

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
from findings import finding, target
from ledger_rows import COCO, evaluation, speed, trained

from casvit_dense.cli import main
from casvit_dense.errors import UserError
from casvit_dense.results.boards import boards
from casvit_dense.results.costs import ModelSize, model_sizes
from casvit_dense.results.ledger import append_rows, read_ledger
from casvit_dense.results.measurements import Speed
from casvit_dense.results.pages import COUNTS, PAGE_LEDGER, PAGES, generate
from casvit_dense.results.row import Dataset, Evaluation, NetworkCosts
from casvit_dense.results.table import Table
from casvit_dense.results.tables import board_table, overview_table, speed_table, verdict_table
from casvit_dense.results.targets import Targets
from casvit_dense.results.verify import Verdict, verify
from casvit_dense.zoo import FAMILIES

ROOT = Path(__file__).parents[2]
FILES = 4 + len(FAMILIES)  # two pages, the index, a metafile for each family and the peers
XS, T = "retinanet_casvit-xs_fpn_8xb4-1x_coco", "retinanet_casvit-t_fpn_8xb4-1x_coco"
SIZES = {
    XS: ModelSize(12.19, 161.91, 2.759, "800x1280"),
    T: ModelSize(30.971, 223.98, 20.738, "800x1280"),
}


def test_markdown_by_hand() -> None:
    table = Table(
        ["a|b", "n"],
        [["x_y _z_ `c` <br> a*b \\ [l](u)\nnext", "-"], ["x", "1"]],
        "What it shows.",
        ["A note."],
    )
    assert table.markdown() == (
        "What it shows.\n\n"
        "| a\\|b | n |\n"
        "| --- | ---: |\n"
        "| x_y \\_z\\_ \\`c\\` \\<br> a\\*b \\\\ \\[l](u) next | - |\n"
        "| x | 1 |\n\n"
        "A note."
    )
    assert Table(["a", "b"], [["x", "1"]]).markdown() == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_csv_by_hand() -> None:
    table = Table(["a", "b, c"], [['say "x"', "-"], ["1|2", "-0.3"]], "Not in it.", ["Nor this."])
    assert table.csv() == 'a,"b, c"\n"say ""x""",\n1|2,-0.3\n'


def test_latex_by_hand() -> None:
    rows = [["50 % & #1_a $x$ {b}", "36.41 ± 0.12"], ["[1] ~^\\", "-0.3"], ["36.5†", "-"]]
    table = Table(["a_b", "n"], rows, "R&D", ["5 % of it."], align="lr")
    assert table.latex() == (
        "\\begin{table}\n"
        "  \\centering\n"
        "  \\caption{R\\&D}\n"
        "  \\begin{tabular}{lr}\n"
        "    \\toprule\n"
        "    a\\_b & n \\\\\n"
        "    \\midrule\n"
        "    50 \\% \\& \\#1\\_a \\$x\\$ \\{b\\} & 36.41 $\\pm$ 0.12 \\\\\n"
        "    {}[1] \\textasciitilde{}\\textasciicircum{}\\textbackslash{} & $-$0.3 \\\\\n"
        "    36.5$^{\\dagger}$ & -- \\\\\n"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
        "  \\par\\smallskip{\\footnotesize 5 \\% of it.\\par}\n"
        "\\end{table}\n"
    )


@pytest.mark.parametrize(("rows", "align"), [([["1"]], ""), ([["1", "2"]], "lrr")])
def test_a_table_of_unequal_rows_is_refused(rows: list[list[str]], align: str) -> None:
    with pytest.raises(ValueError, match="cells"):
        Table(["a", "b"], rows, align=align)


def test_verdicts_by_hand() -> None:
    xs, t = target(config=XS), target("CAS-ViT-T", config=T)
    segmenter = target(head="sem_fpn_40k", metrics={"mIoU": 37.05}, tolerance=0.9)
    findings = [
        finding(xs, Verdict.WITHIN, ours=36.412, spread=0.118, difference=-0.088, notes=("mind",)),
        finding(t, Verdict.NOT_COMPARABLE, published=41.0, reasons=("16 images", "int8")),
        finding(segmenter, metric="mIoU", published=37.05),
    ]
    table = verdict_table(findings, SIZES)
    assert table.columns == [
        *("Model", "M parameters", "GMACs", "Metric", "Published†", "Ours", "Difference"),
        *("Band", "Verdict"),
    ]
    assert table.rows == [
        [
            *("RetinaNet, CAS-ViT-XS", "12.19", "161.9", "box AP", "36.5", "36.41 ± 0.12"),
            *("-0.09", "36.2 to 36.8", "within; mind"),
        ],
        [
            *("RetinaNet, CAS-ViT-T", "30.97", "224.0", "box AP", "41.0", "-"),
            *("-", "40.7 to 41.3", "not comparable; 16 images; int8"),
        ],
        [
            *("Semantic FPN, CAS-ViT-XS", "-", "-", "mIoU", "37.05", "-", "-"),
            *("36.15 to 37.95", "not run"),
        ],
    ]
    assert any("800x1280" in note for note in table.notes)


def test_quoted_figures_are_marked_and_ours_are_not() -> None:
    xs = target(config=XS)
    mask = target(head="mask_rcnn_1x", metrics={"bbox_mAP": 37.4, "segm_mAP": 34.9})
    within = finding(xs, Verdict.ABOVE, ours=37.0, difference=0.5)
    subset = finding(mask, Verdict.NOT_COMPARABLE, ours=None)
    table = overview_table([xs, mask], [within, subset], SIZES)
    columns = ["Backbone", "M parameters", "RetinaNet, box AP"]
    assert table.columns == [*columns, "Mask R-CNN, box AP", "Mask R-CNN, mask AP"]
    assert table.rows == [["CAS-ViT-XS", "2.76", "36.5†; 37.00 here, above", "37.4†", "34.9†"]]


def demo(config: str = "retinanet_casvit-mini_fpn_shapes", **changes: object) -> Evaluation:
    """A row of a model that nothing was published of."""
    data = Dataset(
        name="CocoDataset", annotations_sha256="3" * 64, images=24, classes=3, title="shapes"
    )
    costs = NetworkCosts(params_m=0.5154, backbone_params_m=0.21, gmacs=0.3125, size="160x160")
    usual = {"dataset": data, "metrics": {"coco/bbox_mAP": 0.6592, "coco/bbox_mAP_s": None}}
    changed = {**usual, "costs": costs, "training": None, **changes}
    return evaluation().model_copy(update={**changed, "config": config})


def test_every_model_of_a_data_set_stands_in_one_table() -> None:
    mini = demo()
    costs = NetworkCosts(params_m=12.5, backbone_params_m=3, gmacs=0.06, size="160x160")
    changes = {"metrics": {"coco/bbox_mAP": 0.5}, "costs": costs}
    mine = demo("retinanet_mine_fpn_shapes", backbone="MyBackbone", **changes)
    by_name = demo(XS, backbone="timm:repvit_m1_1", **changes)
    onnx = {"file": "x.onnx", "sha256": "e" * 64, "source_sha256": "a" * 64}
    exported = mini.model_copy(
        update={
            "backend": "onnxruntime",
            "costs": None,
            "weights": mini.weights.model_copy(update=onnx),
        }
    )
    timed = count(mode="infer", model=mini.config, size="160x160", median_ms=7.5)
    other = demo(dataset=COCO.model_copy(update={"images": 500}))
    rows = [mini, mine, by_name, exported, other]
    published = Targets(dense=(), classifiers=(), paper_throughput=())
    found = boards(rows, [], [timed], published)
    assert [board.title for board in found] == ["shapes", "COCO val2017, 500 of 5,000 images"]
    table = board_table(found[0])
    assert table.caption == "shapes: 24 images, 3 classes."
    assert table.columns == [
        *("Model", "backbone, M", "model, M", "GMACs", "ms", "box AP", "Source")
    ]
    here, there = "here, reference, eager, fp32, 2026-11-01", "here, reference, onnxruntime, fp32"
    assert table.rows == [
        ["casvit-mini, eager", "0.21", "0.52", "0.31", "7.50", "65.92", here],
        [
            "casvit-mini, onnxruntime",
            "0.21",
            "0.52",
            "0.31",
            "7.50",
            "65.92",
            f"{there}, 2026-11-01",
        ],
        ["mine", "3.00", "12.50", "0.0600", "-", "50.00", here],
        ["timm:repvit_m1_1", "3.00", "12.50", "0.0600", "-", "50.00", here],
    ]
    assert any("at 160x160" in note for note in table.notes)


def test_backbones_by_name_have_the_times_of_their_own_rows() -> None:
    label, stem = "timm:repvit_m1_1", "retinanet_timm-repvit-m1-1_fpn_8xb4-1x_coco"
    timed = dict(mode="infer", size="160x160")
    speeds = [
        count(model=label, part="backbone", median_ms=3.25, **timed),
        count(model=stem, median_ms=7.5, **timed),
        count(model=XS, median_ms=9.5, **timed),  # of another network
    ]
    published = Targets(dense=(), classifiers=(), paper_throughput=())
    for config, expected in ((XS, {3.25}), (stem, {3.25, 7.5})):
        (board,) = boards([demo(config, backbone=label)], [], speeds, published)
        costs = board.entries[0].cost
        assert {value for axis, (value, _) in costs.items() if axis.unit == "ms"} == expected


def test_published_models_stand_beside_those_of_the_whole_data_set() -> None:
    xs, t = target(config=XS), target("CAS-ViT-T", config=T, source="Another; its code")
    small = target("Small", params_m=9.0, metrics={"bbox_mAP": 30.0, "bbox_mAP_50": 48.25})
    other = target("Backbone only", backbone_params_m=4.1, also={"released code": 31.0})
    published = Targets(dense=(other, t, xs, small), classifiers=(), paper_throughput=())
    seeds = [
        evaluation(XS, file=f"{seed}", training=trained(XS, seed), metrics={"coco/bbox_mAP": ap})
        for seed, ap in ((1, 0.364), (2, 0.366), (3, 0.365))
    ]
    strange = evaluation(T, precision="autocast", metrics={"coco/bbox_mAP": 0.4})
    rows = [*seeds, strange]
    counts = [count(), count(model=T, params_m=30.971, gmacs=223.98, backbone_params_m=20.738)]
    (board,) = boards(rows, verify(rows, published), counts, published)
    table = board_table(board)
    assert table.columns == [
        *("Model", "backbone, M", "model, M", "GMACs", "box AP", "box AP50", "Source")
    ]
    how = "here, reference, eager"
    assert table.rows == [
        ["Small", "-", "9.0†", "-", "30.0†", "48.25†", "(1)"],
        ["CAS-ViT-XS", "2.76", "12.19", "161.9", "36.50 ± 0.10", "-", f"{how}, fp32, 2026-11-01"],
        ["CAS-ViT-XS", "2.76", "12.19", "161.9", "36.5†", "-", "(1)"],
        ["CAS-ViT-T", "20.74", "30.97", "224.0", "40.00", "-", f"{how}, autocast, 2026-11-01"],
        ["CAS-ViT-T", "20.74", "30.97", "224.0", "36.5†", "-", "(2)"],
        ["Backbone only", "4.1†", "-", "-", "36.5†", "-", "(1)"],
    ]
    assert "Other published figures: Backbone only 31.0† (released code)." in table.notes
    assert table.notes[-1] == "Sources: (1) A paper; (2) Another; its code."


def test_speeds_by_hand() -> None:
    row = speed().model_copy(update={"median_ms": None, "backend": "openvino", "batch": 4})
    good = dict(median_ms=50, p10_ms=49.5, p90_ms=60, params_m=2.759, gmacs=2.854, peak_mb=100.4)
    changes: list[dict[str, object]] = [good, {"error": "no memory"}, {"mode": "count", "gmacs": 9}]
    table = speed_table([row.model_copy(update=update) for update in changes])
    left = [
        "casvit-xs",
        "backbone",
        "infer",
        "4 x 512x512",
        "fused, openvino, fp32",
        "CPU, 2 threads",
    ]
    assert table.rows == [
        [*left, "2.76", "2.9", "50.0 (49.5 to 60.0)", "80.0", "100"],
        [*left, "-", "-", "failed", "-", "-"],
        ["casvit-xs", "backbone", "count", *left[3:], "-", "9.0", "-", "-", "-"],
    ]


def count(day: int = 22, **fields: object) -> Speed:
    usual = {
        "date": datetime(2026, 11, day, tzinfo=timezone.utc),
        "model": XS,
        "part": "model",
        "mode": "count",
        "size": "800x1280",
        "median_ms": None,
        "params_m": 12.19,
        "gmacs": 161.91,
        "backbone_params_m": 2.759,
    }
    return speed().model_copy(update={**usual, **fields})


def test_sizes_are_the_newest_counts_at_the_papers_input() -> None:
    mask = "mask-rcnn_casvit-xs_fpn_8xb4-1x_coco"
    rows = [
        count(),
        count(1, gmacs=150),
        count(23, gmacs=40, size="512x512"),
        count(23, mode="infer", gmacs=9),
        count(23, error="ValueError: no", gmacs=None),
        count(23, part="backbone", gmacs=9),
        count(model=mask, rois="1000 boxes"),
        count(model="casvit-xs"),
    ]
    assert model_sizes(rows) == {
        XS: ModelSize(12.19, 161.91, 2.759, "800x1280"),
        mask: ModelSize(12.19, 161.91, 2.759, "800x1280 with 1000 boxes"),
    }


def test_committed_files_are_made_of_committed_rows() -> None:
    generated = generate(ROOT, read_ledger(ROOT / COUNTS)[0])
    assert not generated.rejected
    assert len(generated.files) == FILES
    for path, text in generated.files.items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, "run: casvit-dense results"


def test_tables_of_the_page_name_their_own_models() -> None:
    """By the file of published figures itself, not by our reading of it."""
    content = json.loads((ROOT / "casvit_dense" / "results" / "targets.json").read_text())
    page = (ROOT / "docs" / "results.md").read_text()
    for row in content["dense"]:
        value = next(iter(row["metrics"].values()))
        lines = [line for line in page.splitlines() if line.startswith(f"| {row['backbone']} |")]
        assert any(f"| {value}† |" in line for line in lines), row


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small one: two pages, an empty ledger, one config."""
    for page in PAGES:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text("# Own\n\n<!-- table: others -->\nold\n<!-- end -->\nStays.\n")
    (tmp_path / PAGE_LEDGER).parent.mkdir()
    (tmp_path / PAGE_LEDGER).touch()
    (tmp_path / "configs" / "retinanet").mkdir(parents=True)
    (tmp_path / "configs" / "retinanet" / f"{XS}.py").touch()
    return tmp_path


def test_the_command_writes_what_differs(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["results", str(repository)]) == 0
    *written, total = capsys.readouterr().out.splitlines()
    assert len(written) == FILES
    assert total == f"results: {FILES} of {FILES} files written, the others are up to date"
    page = (repository / "README.md").read_text()
    assert page == "# Own\n\n<!-- table: others -->\nNone yet.\n<!-- end -->\nStays.\n"
    append_rows(repository / PAGE_LEDGER, [demo()])
    with (repository / PAGE_LEDGER).open("a") as ledger:
        ledger.write("foreign\n")
    assert main(["results", str(repository)]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[:-1] == [f"written: {repository / page}" for page in PAGES]
    assert "line 2 is skipped" in said.err
    assert "| 65.92 | here, reference, eager, fp32, 2026" in (repository / "README.md").read_text()
    assert main(["results", str(repository)]) == 0
    assert capsys.readouterr().out.startswith(f"results: 0 of {FILES} files written")


def test_a_row_that_may_be_compared_reaches_every_file(repository: Path) -> None:
    marks = "".join(f"<!-- table: {name} -->\n<!-- end -->\n" for name in ("overview", "families"))
    (repository / "README.md").write_text(marks)
    runs = [
        evaluation(XS, file=f"{seed}", training=trained(XS, seed), metrics={"coco/bbox_mAP": ap})
        for seed, ap in ((1, 0.364), (2, 0.366), (3, 0.365))
    ]
    subset = evaluation(T, dataset=COCO.model_copy(update={"images": 200}))
    append_rows(repository / PAGE_LEDGER, [*runs, subset])
    files = {str(path): text for path, text in generate(repository, [count()]).files.items()}
    page = files["README.md"]
    assert "| CAS-ViT-XS | 2.76 | 36.5†; 36.50 ± 0.10 here, within |" in page
    assert "| 36.5 | 36.50 ± 0.10 | +0.00 | 36.2 to 36.8 | within |" in page
    assert "| 41.9 | - | - | 41.6 to 42.2 | not comparable;" in page and "200" in page
    assert "box AP: 36.5\n" in files["configs/retinanet/metafile.yml"]


def test_mistakes_are_one_message(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = repository / "README.md"
    page.write_text("<!-- table: overveiw -->\n<!-- end -->\n")
    with pytest.raises(UserError, match="no table 'overveiw'; there are overview, families, "):
        generate(repository, [])
    page.unlink()
    assert main(["results", str(repository)]) == 2
    assert capsys.readouterr().err == f"error: no page {page}\n"
    (repository / PAGE_LEDGER).unlink()
    assert main(["results", str(repository)]) == 2
    assert "no ledger" in capsys.readouterr().err
