"""A page whose tables and charts are made from the file of rows beside it.

In the page, ``<!-- table: NAME -->`` and ``<!-- end -->`` enclose what is generated. The files lie
in the folder named as the page, without its suffix.
"""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from casvit_dense.benchmark import speed_tables, tables
from casvit_dense.benchmark.tables import Chart, ChartedTable
from casvit_dense.errors import UserError
from casvit_dense.files import write_whole
from casvit_dense.results.ledger import read_ledger
from casvit_dense.results.lines import Row
from casvit_dense.results.measurements import EvaluatorSpeed, LoadingSpeed, Speed
from casvit_dense.results.pages import fill

#: What fills each file of rows.
COMMANDS = {
    "cpu": "--suite cpu",
    "gpu": "--suite gpu",
    "paper": "--suite paper",
    "models": "CONFIG … --part model --sizes … --backend eager compile onnxruntime openvino",
    "loading": "CONFIG --mode data --data-root DIR",
    "evaluation": "--mode eval",
}
#: Each table's file of rows, and what makes the table of them.
TABLES: dict[str, tuple[str, Callable[[list[Any]], ChartedTable]]] = {
    "backbones": ("cpu", speed_tables.inference),
    "shares": ("cpu", speed_tables.shares),
    "memory": ("cpu", speed_tables.memory),
    "training": ("cpu", speed_tables.training),
    "scaling": ("cpu", speed_tables.scaling),
    "peers": ("cpu", speed_tables.peers),
    "counts": ("cpu", speed_tables.counts),
    "models": ("models", speed_tables.models),
    "gpu-inference": ("gpu", speed_tables.gpu_inference),
    "gpu-training": ("gpu", speed_tables.gpu_training),
    "paper": ("paper", speed_tables.paper),
    "loading": ("loading", tables.loading),
    "evaluation": ("evaluation", tables.evaluation),
}


def render_page(page: Path) -> tuple[str, dict[str, ChartedTable]]:
    """The page's text with every table made from its rows, and the tables by name.

    Raises:
        UserError: there is no page, its markers are wrong, no file holds a row, or one of them
            holds a line that is not a row.
    """
    folder = page.with_suffix("")
    rows = {name: _rows_of(folder / f"{name}.jsonl") for name in COMMANDS}
    made: dict[str, ChartedTable] = {}

    def part(name: str) -> str:
        file, make = TABLES[name]
        kind = {"loading": LoadingSpeed, "evaluation": EvaluatorSpeed}.get(file, Speed)
        table = made[name] = make([row for row in rows[file] if isinstance(row, kind)])
        below = f"![{table.chart.unit}]({folder.name}/{name}.svg)"
        if table.chart.empty:
            command = f"casvit-dense benchmark {COMMANDS[file]} --ledger docs/speed/{file}.jsonl"
            below = f"Not measured yet; `{command}` fills it."
        return f"{table.markdown()}\n\n{below}"

    text = fill(page, {name: partial(part, name) for name in TABLES})
    if not any(rows.values()):  # all tables would come out empty
        files = ", ".join(f"{name}.jsonl" for name in sorted(rows))
        raise UserError(f"{page} stays as it is: {folder} holds no rows ({files})")
    return text, made


def _rows_of(path: Path) -> list[Row]:
    """All rows of a file, ``[]`` where there is none; a table without one of them would mislead."""
    if not path.exists():
        return []
    rows, rejected = read_ledger(path)
    if rejected:
        bad = rejected[0]
        raise UserError(f"{path}, line {bad.number} is not a row: {bad.reason}")
    return rows


def write_page(page: Path) -> dict[str, ChartedTable]:
    """Rewrites the page's tables and draws its charts by matplotlib; returns the tables by name."""
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
    """Draws a chart; needs matplotlib."""
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
