"""One HTML file of results: verdicts, costs, curves, analysis, pictures, commands."""

from casvit_dense.report.build import Report, ReportOptions, build_report
from casvit_dense.report.tables import write_tables

__all__ = ["Report", "ReportOptions", "build_report", "write_tables"]
