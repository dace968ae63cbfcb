"""The command: what it prints, writes and refuses."""

import argparse
import csv
import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mmcv.image import io as mmcv_io

from casvit_dense.benchmark import evaluation, loading, machine, run
from casvit_dense.benchmark.cases import SUITES, suite
from casvit_dense.benchmark.machine import provenance
from casvit_dense.casvit import ARCHS
from casvit_dense.cli import main
from casvit_dense.cli.benchmark import add_arguments
from casvit_dense.results.ledger import read_ledger
from casvit_dense.results.measurements import EvaluatorSpeed, LoadingSpeed, Speed

QUICK = ["--sizes", "64", "--rounds", "2", "--no-memory", "--threads", "1"]
SHAPES = str(Path(__file__).parents[2] / "configs/demo/fpn_casvit-mini_shapes.py")
PAIR = ["form=reference", "form=fused"]


@pytest.fixture(autouse=True)
def _small_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # where the ledger is by default
    monkeypatch.setitem(ARCHS, "tiny", {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 16)})
    monkeypatch.setattr(machine, "MATMUL_SIDES", (64,))
    monkeypatch.setattr(machine, "COPY_BYTES", 1 << 16)
    # Rows of changed code are measured again, and this code may be just that.
    monkeypatch.setattr(machine, "code_commit", lambda: "1234567")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rows_of(path: Path) -> list[Any]:
    rows, rejected = read_ledger(path)
    assert rejected == []
    return rows


def test_rows_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Asked for is the fused form alone; the base of its ratio is timed beside it without a row."""
    command = ["benchmark", "casvit-tiny", "--form", "fused", *QUICK, "--csv", "my speed.csv"]
    assert main(command) == 0
    (row,) = rows_of(tmp_path / "work_dirs/results.jsonl")
    printed = capsys.readouterr().out
    assert "measuring the machine's best rates" in printed
    assert "casvit-tiny backbone, infer, 1x3x64x64" in printed
    found = re.search(r"fused eager fp32 +(\S+) ms \(", printed)
    assert found and float(found[1]) == pytest.approx(row.median_ms, abs=0.01)
    assert row.matmul_gflops > 0 and row.copy_gbs > 0
    assert (row.model, row.part, row.mode, row.form) == (
        "casvit-tiny",
        "backbone",
        "infer",
        "fused",
    )
    assert (row.size, row.batch, row.threads, row.precision) == ("64x64", 1, 1, "fp32")
    assert (row.software.commit, row.software.dirty) == ("1234567", False)
    assert row.command == shlex.join(["casvit-dense", *command])
    (cells,) = table(tmp_path / "my speed.csv")
    assert (float(cells["median_ms"]), cells["form"]) == (row.median_ms, "fused")
    assert main(command) == 0
    assert "already there: casvit-tiny backbone, infer, 1x3x64x64, fused" in capsys.readouterr().out
    assert rows_of(tmp_path / "work_dirs/results.jsonl") == [row]


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
    assert main(["benchmark", "casvit-tiny", *QUICK, "--compare", *specs]) == 0
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
        (["casvit-xs", "--suite", "cpu"], "--suite makes no use of MODEL; leave it out"),
        (["--suite", "cpu", "--fuse", "--batch", "2"], "no use of --batch, --form;"),
        (["casvit-xs", "--compare", *PAIR, "--csv", "a.csv"], "--compare makes no use of --csv"),
        (["casvit-xs", "--import-csv", "a.csv"], "--import-csv makes no use of MODEL"),
        (["--import-csv", "nowhere.csv"], "nowhere.csv cannot be read as CSV"),
        (["--csv", "a.csv", "--ledger", "nowhere"], "no ledger can be read at nowhere"),
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
    ("text", "reason"), [("a = (", "broken.py: SyntaxError"), ("a = 1", "not a config of a model")]
)
@pytest.mark.parametrize("mode", ["infer", "count", "data"])
def test_a_wrong_config_is_no_failed_measurement(
    text: str, reason: str, mode: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    Path("broken.py").write_text(text)
    good = [] if mode == "data" else ["casvit-xs"]
    assert main(["benchmark", *good, "broken.py", "--mode", mode, "--ledger", "a.jsonl"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and reason in printed.err and not printed.out
    assert [path.name for path in tmp_path.iterdir()] == ["broken.py"]


def test_wrong_data_are_no_failed_measurement(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["benchmark", SHAPES, "--mode", "data", "--data-root", "nowhere"]
    assert main(command) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and "nowhere" in printed.err
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_found_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(run, "costs_of", lambda case: pytest.fail("was counted"))
    Path("file").touch()
    assert main(["benchmark", "casvit-xs", "--mode", "count", "--ledger", "file/rows"]) == 2
    assert "file/rows cannot be written: " in capsys.readouterr().err


def test_a_missing_decoder_is_a_note(
    shapes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(mmcv_io, "jpeg", None)
    monkeypatch.setattr(mmcv_io, "TurboJPEG", None)
    quick = partial(loading.measure_loading, images=2, repeats=1, workers=0)
    monkeypatch.setattr(loading, "measure_loading", quick)
    root = str(shapes / "ade")
    command = ["benchmark", SHAPES, "--mode", "data", "--data-root", root, "--ledger", "a.jsonl"]
    assert main(command) == 0
    assert "not measured: turbojpeg: " in capsys.readouterr().out
    rows = rows_of(Path("a.jsonl"))
    assert {row.decoder for row in rows} == {"cv2"} and {row.error for row in rows} == {None}
    assert {row.command for row in rows} == {shlex.join(["casvit-dense", *command])}


def test_a_rewritten_page_is_said(capsys: pytest.CaptureFixture) -> None:
    page = Path("speed.md")
    page.write_text("<!-- table: counts -->\n<!-- end -->\n")
    assert main(["benchmark", "--page", "speed.md"]) == 2
    assert "speed holds no rows" in capsys.readouterr().err
    assert main(["benchmark", "casvit-xs", "--mode", "count", "--ledger", "speed/cpu.jsonl"]) == 0
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
    def measure(config: str, options: object) -> list[LoadingSpeed]:
        if config.endswith("a.py"):
            raise RuntimeError("no images")
        return [LoadingSpeed(**provenance("cpu"), config="b", decoder="cv2", step="decode", ms=2)]

    monkeypatch.setattr(loading, "measure_loading", measure)
    monkeypatch.setattr(loading, "check_loading", lambda config, options: None)
    configs = [tmp_path / "a.py", tmp_path / "b.py"]
    for config in configs:
        config.touch()
    assert main(["benchmark", *map(str, configs), "--mode", "data", "--ledger", "l.jsonl"]) == 1
    failed, good = rows_of(tmp_path / "l.jsonl")
    assert (failed.config, failed.error) == ("a", "RuntimeError: no images")
    assert (good.config, good.error, good.ms) == ("b", None, 2)


def test_evaluation_is_measured_of_boxes_and_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def measure(task: str) -> list[EvaluatorSpeed]:
        return [EvaluatorSpeed(**provenance("cpu"), task=task, phase="total", seconds=1)]

    monkeypatch.setattr(evaluation, "measure_evaluation", measure)
    command = ["benchmark", "--mode", "eval", "--ledger", "l.jsonl", "--csv", "l.csv"]
    assert main(command) == 0
    assert "task segm  phase total  seconds 1.0\n" in capsys.readouterr().out
    assert [row.task for row in rows_of(tmp_path / "l.jsonl")] == ["bbox", "segm"]
    assert main(command) == 0  # again, in place of those
    assert [row.task for row in rows_of(tmp_path / "l.jsonl")] == ["bbox", "segm"]
    assert [row["task"] for row in table(tmp_path / "l.csv")] == ["bbox", "segm"]


def test_a_ledger_is_exported_without_measuring(capsys: pytest.CaptureFixture) -> None:
    assert main(["benchmark", "casvit-tiny", "--mode", "count"]) == 0
    assert main(["benchmark", "--csv", "all.csv"]) == 0
    assert capsys.readouterr().out.endswith("1 rows written to all.csv\n")
    (cells,) = table(Path("all.csv"))
    assert (cells["model"], cells["mode"]) == ("casvit-tiny", "count")


def test_old_files_are_imported(capsys: pytest.CaptureFixture) -> None:
    old = {"model": "m", "part": "model", "mode": "count", "form": "reference", "backend": "eager"}
    old |= {"dtype": "fp32", "size": "64x64", "batch": "1", "device": "cpu", "machine": "CPU"}
    old |= {"threads": "2", "project": "0.1.0", "torch": "2", "date": "2026-11-22T16:00:23+00:00"}
    Path("old.csv").write_text(f"{','.join(old)}\n{','.join(old.values())}\n")
    for _ in range(2):
        assert main(["benchmark", "--import-csv", "old.csv", "--ledger", "l.jsonl"]) == 0
        assert capsys.readouterr().out == "1 rows added to l.jsonl\n"
    (row,) = rows_of(Path("l.jsonl"))
    assert (row.model, row.device, row.software.versions["torch"]) == ("m", "CPU", "2")


def test_an_unsupported_precision_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(machine, "_cpu_flags", lambda: {"avx2"})
    monkeypatch.setattr(run, "measure_rates", lambda *kind: pytest.fail("was measured"))
    assert main(["benchmark", "casvit-xs", "--dtype", "bf16"]) == 2
    assert "nothing to measure: this CPU does not compute in bf16" in capsys.readouterr().err


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


def test_the_cpu_suite_holds_what_the_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ARCHS, "tiny")
    cases = suite("cpu")
    ours = {s.name for s in cases if s.mode == "infer" and s.name.startswith("casvit-")}
    assert ours == {"casvit-xs", "casvit-s", "casvit-m", "casvit-t"}
    assert {s.form for s in cases if s.mode == "train"} == {
        *("reference", "fused-memory", "fused-time")
    }
    assert {s.size[0] for s in cases if s.name == "casvit-xs"} >= {224, 2048}
    counted = [s for s in cases if s.mode == "count"]
    assert sum("casvit" in s.name for s in counted) == 12 and len(counted) > 12
