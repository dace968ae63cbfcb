"""CSV: what is exported, and what becomes of the files of version 0.1."""

import csv
import io
from datetime import datetime, timezone
from pathlib import Path

import pytest

from casvit_dense.benchmark.csv_files import csv_text, read_csv_0_1
from casvit_dense.errors import UserError
from casvit_dense.results.measurements import EvaluatorSpeed, LoadingSpeed, Speed
from casvit_dense.results.row import Software

#: As version 0.1 wrote it, but for most of the columns.
SPEED = {
    "model": "casvit-xs",
    "part": "backbone",
    "mode": "infer",
    "form": "fused",
    "backend": "onnxruntime",
    "dtype": "fp32",
    "memory_format": "default",
    "size": "512x512",
    "batch": "1",
    "device": "cpu",
    "machine": "CPU",
    "threads": "2",
    "tf32": "",
    "project": "0.1.0",
    "commit": "1234567-dirty",
    "torch": "2.13.0",
    "runtime": "onnxruntime 1.20.0",
    "date": "2026-11-01T00:00:00+00:00",
    "rounds": "3",
    "median_ms": "2",
    "images_per_s": "500",
    "ratio": "1.5",
    "rounds_ms": "1 2 3",
    "error": "",
}


def table(*rows: dict[str, str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def test_a_speed_of_version_0_1(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(SPEED))
    (row,) = read_csv_0_1(path)
    assert row == Speed(
        date=datetime(2026, 11, 1, tzinfo=timezone.utc),
        device="CPU",
        threads=2,
        precision="fp32",
        form="fused",
        backend="onnxruntime",
        software=Software(
            versions={"casvit-dense": "0.1.0", "torch": "2.13.0", "onnxruntime": "1.20.0"},
            commit="1234567",
            dirty=True,
        ),
        model="casvit-xs",
        part="backbone",
        mode="infer",
        size="512x512",
        batch=1,
        device_type="cpu",
        median_ms=2,
        ratio=1.5,
        rounds_ms=(1, 2, 3),
    )
    assert row.images_per_s == 500  # follows from the others


def test_loading_and_evaluation_of_version_0_1(tmp_path: Path) -> None:
    shared = {n: SPEED[n] for n in ("device", "machine", "threads", "project", "torch", "date")}
    path = tmp_path / "a.csv"
    path.write_text(table({**shared, "mode": "data", "config": "c", "decoder": "cv2", "ms": "3"}))
    (loading,) = read_csv_0_1(path)
    assert isinstance(loading, LoadingSpeed)
    assert (loading.config, loading.decoder, loading.ms, loading.step) == ("c", "cv2", 3, None)
    path.write_text(table({**shared, "mode": "eval", "kind": "bbox", "seconds": "4", "mAP": "0.5"}))
    (evaluator,) = read_csv_0_1(path)
    assert isinstance(evaluator, EvaluatorSpeed)
    assert (evaluator.task, evaluator.seconds, evaluator.metrics) == ("bbox", 4, {"mAP": 0.5})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"model,size\nx,1\n", "row 2: no column 'project'"),
        (b"model,batch\nx\n", "row 2: it does not have the header's columns"),
        (b"model,batch\nx,1,2\n", "row 2: it does not have the header's columns"),
        (b'model,batch\n"x,1', "cannot be read as CSV"),
        (b"\xff\xfe\x00", "cannot be read as CSV"),
        (table(SPEED, {**SPEED, "ratio": "abc"}).encode(), "row 3: speed, ratio: "),
        (table({**SPEED, "batch": "1.5"}).encode(), "row 2: speed, batch: "),
        (table({**SPEED, "peak_mb": "inf"}).encode(), "row 2: speed, peak_mb: "),
        (table({**SPEED, "size": ""}).encode(), "row 2: speed, size: is missing"),
        (table({**SPEED, "weather": "rain"}).encode(), "row 2: speed, weather: "),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "other.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"other.csv.*{reason}"):
        read_csv_0_1(path)


def test_a_failed_row_of_version_0_1_may_differ_by_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table({**SPEED, "difference": "nan", "error": "outputs differ"}))
    (row,) = read_csv_0_1(path)
    assert (row.difference, row.error) == (None, "outputs differ")


def test_exported_cells_are_the_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(SPEED, {**SPEED, "form": "reference", "error": 'says "no", twice'}))
    (cells, failed) = csv.DictReader(io.StringIO(csv_text(read_csv_0_1(path))))
    assert (cells["kind"], cells["model"], cells["form"]) == ("speed", "casvit-xs", "fused")
    assert (cells["median_ms"], cells["rounds_ms"]) == ("2.0", "1.0 2.0 3.0")
    assert (cells["torch"], cells["onnxruntime"], cells["commit"]) == (
        "2.13.0",
        "1.20.0",
        "1234567",
    )
    assert cells["error"] == "" and failed["error"] == 'says "no", twice'
    assert "saved_mb" not in cells  # no row has one
