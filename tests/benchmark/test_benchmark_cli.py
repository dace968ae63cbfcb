"""The command: what it prints, writes and refuses."""

import argparse
import re
import shlex
from functools import partial
from pathlib import Path

import pytest
from mmcv.image import io as mmcv_io

from casvit_dense.benchmark import evaluation, loading, machine, run
from casvit_dense.benchmark.cases import SUITES, suite
from casvit_dense.benchmark.rows import read_rows
from casvit_dense.cli import main
from casvit_dense.cli.benchmark import add_arguments
from casvit_dense.results.ledger import read_ledger
from casvit_dense.results.row import Speed

QUICK = ["--sizes", "64", "--rounds", "2", "--no-memory", "--threads", "1"]
SHAPES = str(Path(__file__).parents[2] / "configs/demo/fpn_casvit-mini_shapes.py")
PAIR = ["form=reference", "form=fused"]


@pytest.fixture(autouse=True)
def _small_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # where the ledger is by default
    monkeypatch.setattr(machine, "MATMUL_SIDES", (64,))
    monkeypatch.setattr(machine, "COPY_BYTES", 1 << 16)
    # Rows of changed code are measured again, and this code may be just that.
    monkeypatch.setattr(machine, "code_commit", lambda: "1234567")


def test_rows_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "speed.csv"
    assert main(["benchmark", "casvit-xs", "--form", "reference", *QUICK, "--out", str(path)]) == 0
    (row,) = read_rows(path)
    printed = capsys.readouterr().out
    assert "casvit-xs backbone, infer, 1x3x64x64" in printed
    found = re.search(r"reference eager fp32 +(\S+) ms \(", printed)
    assert found and float(found[1]) == pytest.approx(float(row["median_ms"]), abs=0.01)
    assert float(row["matmul_gflops"]) > 0 and float(row["copy_gbs"]) > 0
    assert main(["benchmark", "casvit-xs", "--form", "reference", *QUICK, "--out", str(path)]) == 0
    assert "already there" in capsys.readouterr().out


def test_rows_go_to_the_ledger_once(tmp_path: Path) -> None:
    """The base of the ratios, which is timed beside the fused form, was not asked for."""
    command = ["benchmark", "casvit-xs", "--form", "fused", *QUICK, "--out", "my speed.csv"]
    assert main(command) == 0
    assert main(command) == 0  # already there
    (csv_row,) = read_rows(tmp_path / "my speed.csv")
    (row,), rejected = read_ledger(tmp_path / "work_dirs/results.jsonl")
    assert rejected == [] and isinstance(row, Speed)
    assert row.median_ms == float(csv_row["median_ms"])
    assert (row.model, row.part, row.mode, row.form) == ("casvit-xs", "backbone", "infer", "fused")
    assert (row.size, row.batch, row.threads, row.precision) == ("64x64", 1, 1, "fp32")
    assert row.params_m == float(csv_row["params_m"])
    assert row.more["matmul_share"] == csv_row["matmul_share"]
    assert (row.software.commit, row.software.dirty) == ("1234567", False)
    assert row.command == shlex.join(["casvit-dense", *command])


def test_counts_and_failures_go_to_the_named_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--mode", "count", "--ledger", "l.jsonl"]
    assert main(["benchmark", "casvit-xs", *flags]) == 0
    monkeypatch.setattr(run, "costs_of", lambda case: 1 / 0)
    assert main(["benchmark", "casvit-t", *flags]) == 1
    counted, failed = read_ledger(tmp_path / "l.jsonl")[0]
    assert isinstance(counted, Speed) and isinstance(failed, Speed)
    assert counted.params_m == pytest.approx(2.76, abs=0.01)
    assert (counted.mode, counted.median_ms, counted.error) == ("count", None, None)
    assert failed.error is not None and "ZeroDivisionError" in failed.error
    assert not (tmp_path / "work_dirs").exists()


def test_compare_says_a_ratio(capsys: pytest.CaptureFixture) -> None:
    specs = ["form=reference", "form=reference,memory_format=channels_last"]
    assert main(["benchmark", "casvit-xs", *QUICK, "--compare", *specs]) == 0
    printed = capsys.readouterr().out
    assert "times as fast as A (reference eager fp32)" in printed
    assert "95 % interval of the median" in printed
    assert not Path("work_dirs").exists()  # a comparison is no row


def test_count_prints_no_time(capsys: pytest.CaptureFixture) -> None:
    assert main(["benchmark", "casvit-xs", "casvit-t", "--mode", "count"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert re.search(r"casvit-xs .* 2\.76 M parameters 2\.[89]\d GMACs$", printed[0])
    assert re.search(r"casvit-t .* 20\.74 M parameters 18\.[56]\d GMACs$", printed[1])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "name a model"),
        (["casvit-huge"], "no model 'casvit-huge'"),
        (["nowhere.py"], "no config file nowhere.py"),
        (["casvit-xs", "--sizes", "big"], "size 'big'"),
        (["casvit-xs", "--rounds", "0"], "--rounds 0"),
        (["casvit-xs", "--batch", "0"], "--batch 0"),
        (["casvit-xs", "--threads", "0"], "--threads 0"),
        (["casvit-xs", "--part", "model"], "give a config"),
        (["casvit-xs", "--mode", "train", "--backend", "openvino"], "does not train"),
        (["casvit-xs", "--compare", "form=fused", "form=fused"], "both are the same"),
        (["casvit-xs", "--compare", "form=fused", "shape=round"], "'shape' is none of"),
        (["casvit-xs", "--suite", "cpu"], "--suite makes no use of MODEL; leave"),
        (["--suite", "cpu", "--fuse", "--batch", "2"], "no use of --batch, --form;"),
        (["casvit-xs", "--compare", *PAIR, "--out", "a.csv"], "--compare makes no use of --out"),
        (["casvit-xs", "--compare", *PAIR, "--mode", "count"], "infer or train"),
        (["casvit-xs", "--compare", *PAIR, "--ledger", "l"], "--compare makes no use of --ledger"),
        (["casvit-xs", "--compare", *PAIR, "--dtype", "fp32", "bf16"], "one --dtype"),
        (["casvit-xs", "--data-root", "data"], "--mode infer makes no use of --data-root"),
        (["a.py", "--mode", "eval"], "--mode eval makes no use of MODEL"),
        (["--page", "docs/speed.md", "--rounds", "3"], "--page makes no use of --rounds"),
        (["--mode", "data"], "name a config"),
        (["nowhere.py", "--mode", "data"], "no config file nowhere.py"),
        (["--page", "nowhere.md"], "no page nowhere.md"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], reason: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["benchmark", *words]) == 2
    printed = capsys.readouterr()
    assert reason in printed.err and printed.err.count("\n") == 1
    assert "Traceback" not in printed.out


@pytest.mark.parametrize(
    ("text", "reason"), [("a = (", "broken.py: SyntaxError"), ("a = 1", "no config of a model")]
)
@pytest.mark.parametrize("mode", ["infer", "count", "data"])
def test_a_wrong_config_is_no_failed_measurement(
    text: str, reason: str, mode: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    Path("broken.py").write_text(text)
    good = [] if mode == "data" else ["casvit-xs"]
    assert main(["benchmark", *good, "broken.py", "--mode", mode, "--out", "a.csv"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and reason in printed.err and not printed.out
    assert [path.name for path in tmp_path.iterdir()] == ["broken.py"]


def test_wrong_data_are_no_failed_measurement(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["benchmark", SHAPES, "--mode", "data", "--data-root", "nowhere", "--out", "a.csv"]
    assert main(command) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and "nowhere" in printed.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--out", "--ledger"])
def test_a_place_that_cannot_be_written_is_found_before_the_work(
    flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(run, "costs_of", lambda case: pytest.fail("was counted"))
    Path("file").touch()
    assert main(["benchmark", "casvit-xs", "--mode", "count", flag, "file/rows"]) == 2
    assert "file/rows cannot be written: " in capsys.readouterr().err


def test_a_missing_decoder_is_a_note(
    shapes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(mmcv_io, "jpeg", None)
    monkeypatch.setattr(mmcv_io, "TurboJPEG", None)
    quick = partial(loading.measure_loading, images=2, repeats=1, workers=0)
    monkeypatch.setattr(loading, "measure_loading", quick)
    root = str(shapes / "ade")
    command = ["benchmark", SHAPES, "--mode", "data", "--data-root", root, "--out", "a.csv"]
    assert main(command) == 0
    assert "not measured: turbojpeg: " in capsys.readouterr().out
    rows = read_rows(Path("a.csv"))
    assert {row["decoder"] for row in rows} == {"cv2"} and "error" not in rows[0]


def test_a_rewritten_page_is_said(capsys: pytest.CaptureFixture) -> None:
    page = Path("speed.md")
    page.write_text("<!-- table: counts -->\n<!-- end -->\n")
    assert main(["benchmark", "--page", "speed.md"]) == 2
    assert "speed holds no rows" in capsys.readouterr().err
    assert main(["benchmark", "casvit-xs", "--mode", "count", "--out", "speed/cpu.csv"]) == 0
    assert main(["benchmark", "--page", "speed.md"]) == 0
    assert capsys.readouterr().out.endswith("1 table rewritten in speed.md\n")


def test_fuse_is_short_for_the_fused_form() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args(["--fuse"]) == parser.parse_args(["--form", "fused"])
    assert parser.parse_args([]).form == ["reference", "fused"]


def test_a_failed_count_is_said_by_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(run, "costs_of", lambda case: 1 / 0)
    assert main(["benchmark", "casvit-xs", "--mode", "count"]) == 1
    assert "1 failed" in capsys.readouterr().out


def test_one_config_that_fails_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(config: str, options: object) -> list[dict]:
        if config.endswith("a.py"):
            raise RuntimeError("no images")
        return [{"config": "b", "decoder": "cv2", "step": "decode", "ms": 2.0}]

    monkeypatch.setattr(loading, "measure_loading", measure)
    monkeypatch.setattr(loading, "check_loading", lambda config, options: None)
    configs = [tmp_path / "a.py", tmp_path / "b.py"]
    for config in configs:
        config.touch()
    out = tmp_path / "loading.csv"
    assert main(["benchmark", *map(str, configs), "--mode", "data", "--out", str(out)]) == 1
    rows = read_rows(out)
    assert [(r["config"], r["error"]) for r in rows] == [
        ("a", "RuntimeError: no images"),
        ("b", ""),
    ]


def test_evaluation_is_measured_of_boxes_and_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def measure(kinds: tuple[str, ...]) -> list[dict]:
        measured.extend(kinds)
        return [{"kind": kind, "phase": "total", "seconds": 1.0} for kind in kinds]

    monkeypatch.setattr(evaluation, "measure_evaluation", measure)
    out = tmp_path / "evaluation.csv"
    out.write_text("something,else\n1,2\n")
    command = ["benchmark", "--mode", "eval", "--out", str(out)]
    assert main(command) == 2 and measured == []  # a wrong file is found before the work
    out.unlink()
    assert main(command) == 0 and measured == ["bbox", "segm"]
    assert [row["kind"] for row in read_rows(out)] == ["bbox", "segm"]


def test_a_gpu_that_is_not_there(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for words in (["--suite", "gpu"], ["casvit-xs", "--device", "cuda"]):
        assert main(["benchmark", *words]) == 2
        assert "no GPU" in capsys.readouterr().err


@pytest.mark.parametrize("name", SUITES)
def test_suites_name_possible_subjects_once(name: str) -> None:
    cases = suite(name)
    assert cases and len(cases) == len(set(cases))
    assert [s.unsupported_reason() for s in cases if s.unsupported_reason()] == []
    configs = {s.model for s in cases if s.model.endswith(".py")}
    assert all(Path(config).is_file() for config in configs)


def test_the_cpu_suite_holds_what_the_page_shows() -> None:
    cases = suite("cpu")
    ours = {s.name for s in cases if s.mode == "infer" and s.name.startswith("casvit-")}
    assert ours == {"casvit-xs", "casvit-s", "casvit-m", "casvit-t"}
    assert {s.form for s in cases if s.mode == "train"} == {
        *("reference", "fused-memory", "fused-time")
    }
    assert {s.size[0] for s in cases if s.name == "casvit-xs"} >= {224, 2048}
    counted = [s for s in cases if s.mode == "count"]
    assert sum("casvit" in s.name for s in counted) == 12 and len(counted) > 12
