"""Analysis of saved predictions: kinds of errors, curves, confusion, calibration, comparison.

Works on the files of an evaluation and the truth; needs neither the model nor a GPU.
"""

from casvit_dense.analysis.analyse import analyse, analyse_source
from casvit_dense.analysis.compare import compare, compare_sources
from casvit_dense.analysis.records import Analysis, Comparison, DetectionAnalysis, MapAnalysis
from casvit_dense.analysis.sources import CocoSource, MapSource, Source, find_sources

__all__ = [
    "Analysis",
    "CocoSource",
    "Comparison",
    "DetectionAnalysis",
    "MapAnalysis",
    "MapSource",
    "Source",
    "analyse",
    "analyse_source",
    "compare",
    "compare_sources",
    "find_sources",
]
