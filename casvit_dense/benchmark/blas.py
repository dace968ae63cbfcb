"""Best rate of numpy's matrix product; a program of its own, since BLAS settles its threads early.

    python blas.py "[1024, 2048]" TRIALS

prints floating-point operations a second. Imports numpy alone.
"""

import json
import sys
import time

import numpy as np


def best_rate(sides: list[int], trials: int) -> float:
    """Floating-point operations a second of the fastest of all trials, fp32."""
    best = 0.0
    for side in sides:
        a, b, out = (np.ones((side, side), np.float32) for _ in range(3))
        for _ in range(trials):
            start = time.perf_counter()
            np.matmul(a, b, out=out)
            best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


if __name__ == "__main__":
    print(best_rate(json.loads(sys.argv[1]), int(sys.argv[2])))
