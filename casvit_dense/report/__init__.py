"""One HTML file of results: verdicts, costs, curves, analysis, pictures, commands."""

from casvit_dense.report.build import IMAGES, TITLE, Report, build_report
from casvit_dense.report.paper_tables import write_tables

__all__ = ["IMAGES", "TITLE", "Report", "build_report", "write_tables"]
