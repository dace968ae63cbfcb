"""What saved predictions say: kinds of errors, curves, confusion, calibration, differences.

Works on the files that an evaluation leaves behind and on the truth; needs no model and no GPU.
"""

from casvit_dense.analysis.analyse import analyse, analyse_source
from casvit_dense.analysis.compare import compare, compare_sources
from casvit_dense.analysis.differences import Comparison
from casvit_dense.analysis.records import Analysis, DetectionAnalysis, MapAnalysis
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
