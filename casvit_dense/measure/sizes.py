"""Sizes of complete models, from the rows that counted them."""

from collections.abc import Sequence

from casvit_dense.measure.rows import Row
from casvit_dense.measure.suites import HEADS, counted_size
from casvit_dense.measure.tables import number
from casvit_dense.results.tables import ModelSize


def model_sizes(rows: Sequence[Row]) -> dict[str, ModelSize]:
    """The newest count of every model at the input that papers count its head at, by config stem.

    Args:
        rows: of the CPU suite's file.
    """
    inputs = {prefix: "{}x{}".format(*counted_size(folder)) for folder, prefix in HEADS.items()}
    counts = [
        row
        for row in rows
        if row["mode"] == "count" and row["part"] == "model" and not row["error"]
        if row["size"] == inputs.get(row["model"].split("_")[0])
    ]
    found = {}
    for row in sorted(counts, key=lambda row: row["date"]):
        names = ("params_m", "gmacs", "backbone_params_m")
        params, gmacs, backbone = (number(row, name) for name in names)
        if params is not None and gmacs is not None and backbone is not None:
            work = f" with {row['rois']}" if row["rois"] else ""
            found[row["model"]] = ModelSize(params, gmacs, backbone, row["size"] + work)
    return found
