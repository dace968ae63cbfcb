"""A page whose tables and charts are made from the CSV files beside it.

In the page, ``<!-- table: NAME -->`` and ``<!-- end -->`` enclose what is generated. The files lie
in the folder named as the page, without its suffix.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from casvit_dense.errors import UserError
from casvit_dense.files import write_whole
from casvit_dense.measure import cpu_tables, data_tables, gpu_tables, peer_tables
from casvit_dense.measure.charts import svg_of
from casvit_dense.measure.rows import Row, read_rows
from casvit_dense.measure.tables import ChartedTable
from casvit_dense.results.marked import fill


@dataclass(frozen=True)
class Source:
    """A table's CSV file, what makes the table of its rows, and the command that fills it."""

    file: str
    make: Callable[[Sequence[Row]], ChartedTable]
    command: str


def _suite(name: str) -> str:
    return f"casvit-dense benchmark --suite {name} --out docs/speed/{name}.csv"


MODELS_COMMAND = (
    "casvit-dense benchmark CONFIG … --part model --sizes … --backend eager compile onnxruntime "
    "openvino --out docs/speed/models.csv"
)
TABLES = {
    "backbones": Source("cpu.csv", cpu_tables.inference, _suite("cpu")),
    "shares": Source("cpu.csv", cpu_tables.shares, _suite("cpu")),
    "memory": Source("cpu.csv", cpu_tables.memory, _suite("cpu")),
    "training": Source("cpu.csv", cpu_tables.training, _suite("cpu")),
    "scaling": Source("cpu.csv", cpu_tables.scaling, _suite("cpu")),
    "peers": Source("cpu.csv", peer_tables.peers, _suite("cpu")),
    "counts": Source("cpu.csv", peer_tables.counts, _suite("cpu")),
    "models": Source("models.csv", peer_tables.models, MODELS_COMMAND),
    "gpu-inference": Source("gpu.csv", gpu_tables.inference, _suite("gpu")),
    "gpu-training": Source("gpu.csv", gpu_tables.training, _suite("gpu")),
    "paper": Source("paper.csv", peer_tables.paper, _suite("paper")),
    "loading": Source(
        "loading.csv",
        data_tables.loading,
        "casvit-dense benchmark CONFIG --mode data --data-root DIR --out docs/speed/loading.csv",
    ),
    "evaluation": Source(
        "evaluation.csv",
        data_tables.evaluation,
        "casvit-dense benchmark --mode eval --out docs/speed/evaluation.csv",
    ),
}


def render_page(page: Path) -> tuple[str, dict[str, ChartedTable]]:
    """The page's text with every table made anew, and the tables by name.

    Raises:
        UserError: there is no page, its markers are wrong, no CSV file holds a row, or one of
            them cannot be read.
    """
    folder = page.with_suffix("")
    rows = {file: read_rows(folder / file) for file in sorted({s.file for s in TABLES.values()})}
    tables: dict[str, ChartedTable] = {}

    def part(name: str) -> str:
        source = TABLES[name]
        table = tables[name] = _made(source, folder, rows[source.file])
        below = f"![{table.chart.unit}]({folder.name}/{name}.svg)"
        if table.chart.empty:
            below = f"Not measured yet; `{source.command}` fills it."
        return f"{table.markdown()}\n\n{below}"

    text = fill(page, {name: partial(part, name) for name in TABLES})
    if not any(rows.values()):  # all tables would come out empty
        raise UserError(f"{page} stays as it is: {folder} holds no rows ({', '.join(rows)})")
    return text, tables


def _made(source: Source, folder: Path, rows: Sequence[Row]) -> ChartedTable:
    try:
        return source.make(rows)
    except KeyError as error:
        raise UserError(f"{folder / source.file}: no column {error.args[0]}") from error


def write_page(page: Path) -> dict[str, ChartedTable]:
    """Rewrites the page's tables and draws its charts.

    Returns:
        The tables by name.

    Raises:
        UserError: see `render_page`; or matplotlib is not installed.
    """
    text, tables = render_page(page)
    contents = {page: text.encode()}
    for name, table in tables.items():
        if not table.chart.empty:
            contents[page.with_suffix("") / f"{name}.svg"] = svg_of(table.chart)
    for path, content in contents.items():
        write_whole(path, content)
    return tables
