"""Charts as SVG, the same bytes for the same numbers."""

from io import BytesIO

from casvit_dense.errors import UserError
from casvit_dense.measure.tables import Chart

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
