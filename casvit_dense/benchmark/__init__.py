"""Speed: cases, interleaved timing, memory, operation counts, rows and pages.

Imports with torch and mmengine alone; mmdet, mmseg and the runtimes are imported where needed.
"""
