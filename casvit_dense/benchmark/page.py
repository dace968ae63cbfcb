"""A page whose tables and charts are made from the file of rowss beside it.

In the page, ``<!-- table: NAME -->`` and ``<!-- end -->`` enclose what is generated. The files lie
in the folder named as the page, without its suffix.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from casvit_dense.benchmark import model_tables, speed_tables, tables
from casvit_dense.benchmark.tables import Chart, ChartedTable
from casvit_dense.errors import UserError
from casvit_dense.files import write_whole
from casvit_dense.results.ledger import read_ledger
from casvit_dense.results.pages import fill
from casvit_dense.results.row import BenchmarkRow, EvaluatorSpeed, LoadingSpeed, Row, Speed


@dataclass(frozen=True)
class Source:
    """A table's file, what makes the table of its rows, their kind, the command that fills it."""

    file: str
    make: Callable[[Sequence[Any]], ChartedTable]
    command: str
    kind: type[BenchmarkRow] = Speed


def _suite(name: str) -> str:
    return f"casvit-dense benchmark --suite {name} --ledger docs/speed/{name}.jsonl"


MODELS_COMMAND = (
    "casvit-dense benchmark CONFIG … --part model --sizes … --backend eager compile onnxruntime "
    "openvino --ledger docs/speed/models.jsonl"
)
TABLES = {
    "backbones": Source("cpu.jsonl", speed_tables.inference, _suite("cpu")),
    "shares": Source("cpu.jsonl", speed_tables.shares, _suite("cpu")),
    "memory": Source("cpu.jsonl", speed_tables.memory, _suite("cpu")),
    "training": Source("cpu.jsonl", speed_tables.training, _suite("cpu")),
    "scaling": Source("cpu.jsonl", speed_tables.scaling, _suite("cpu")),
    "peers": Source("cpu.jsonl", model_tables.peers, _suite("cpu")),
    "counts": Source("cpu.jsonl", model_tables.counts, _suite("cpu")),
    "models": Source("models.jsonl", model_tables.models, MODELS_COMMAND),
    "gpu-inference": Source("gpu.jsonl", speed_tables.gpu_inference, _suite("gpu")),
    "gpu-training": Source("gpu.jsonl", speed_tables.gpu_training, _suite("gpu")),
    "paper": Source("paper.jsonl", model_tables.paper, _suite("paper")),
    "loading": Source(
        "loading.jsonl",
        tables.loading,
        "casvit-dense benchmark CONFIG --mode data --data-root DIR "
        "--ledger docs/speed/loading.jsonl",
        LoadingSpeed,
    ),
    "evaluation": Source(
        "evaluation.jsonl",
        tables.evaluation,
        "casvit-dense benchmark --mode eval --ledger docs/speed/evaluation.jsonl",
        EvaluatorSpeed,
    ),
}


def render_page(page: Path) -> tuple[str, dict[str, ChartedTable]]:
    """The page's text with every table made anew, and the tables by name.

    Raises:
        UserError: there is no page, its markers are wrong, no file holds a row, or one of them
            holds a line that is none.
    """
    folder = page.with_suffix("")
    files = sorted({source.file for source in TABLES.values()})
    rows = {file: _rows_of(folder / file) for file in files}
    made: dict[str, ChartedTable] = {}

    def part(name: str) -> str:
        source = TABLES[name]
        kind = [row for row in rows[source.file] if isinstance(row, source.kind)]
        table = made[name] = source.make(kind)
        below = f"![{table.chart.unit}]({folder.name}/{name}.svg)"
        if table.chart.empty:
            below = f"Not measured yet; `{source.command}` fills it."
        return f"{table.markdown()}\n\n{below}"

    text = fill(page, {name: partial(part, name) for name in TABLES})
    if not any(rows.values()):  # all tables would come out empty
        raise UserError(f"{page} stays as it is: {folder} holds no rows ({', '.join(rows)})")
    return text, made


def _rows_of(path: Path) -> list[Row]:
    """All rows of a file, ``[]`` where there is none.

    Raises:
        UserError: a line is no row; a table without it would mislead.
    """
    if not path.exists():
        return []
    rows, rejected = read_ledger(path)
    if rejected:
        bad = rejected[0]
        raise UserError(f"{path}, line {bad.number} is no row: {bad.reason}")
    return rows


def write_page(page: Path) -> dict[str, ChartedTable]:
    """Rewrites the page's tables and draws its charts.

    Returns:
        The tables by name.

    Raises:
        UserError: see `render_page`; or matplotlib is not installed.
    """
    text, made = render_page(page)
    contents = {page: text.encode()}
    for name, table in made.items():
        if not table.chart.empty:
            contents[page.with_suffix("") / f"{name}.svg"] = svg_of(table.chart)
    for path, content in contents.items():
        write_whole(path, content)
    return made


WIDTH, HEIGHT = 8.0, 4.5  # inches
BAR_SPAN = 0.8  # of the room of a label


def svg_of(chart: Chart) -> bytes:
    """Draws a chart.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            f'charts need matplotlib ({error}); install it: pip install "casvit-dense[report]"'
        ) from error
    # Text stays text; ids come from a fixed salt: no other machine's fonts or clock in the file.
    with matplotlib.rc_context({"svg.hashsalt": "casvit-dense", "svg.fonttype": "none"}):
        figure = Figure((WIDTH, HEIGHT), layout="constrained")
        axes = figure.add_subplot()
        positions = list(range(len(chart.labels)))
        for i, (name, values) in enumerate(chart.series.items()):
            heights = [float("nan") if value is None else value for value in values]
            if chart.lines:
                axes.plot(positions, heights, marker="o", label=name)
            else:
                width = BAR_SPAN / len(chart.series)
                shift = (i + 0.5) * width - BAR_SPAN / 2
                axes.bar([at + shift for at in positions], heights, width, label=name)
        turned = len(chart.labels) > 8
        axes.set_xticks(
            positions, chart.labels, rotation=45 * turned, ha="right" if turned else "center"
        )
        axes.set_ylabel(chart.unit)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper center", ncols=3, fontsize="small")
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
