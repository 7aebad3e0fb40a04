"""Grade folders one after the other in one process; print the seconds of each as JSON."""

import json
import sys
import time
from pathlib import Path

from tutorlib.grading.cohort.boxed import boxes
from tutorlib.grading.cohort.cohort import Settings, grade_cohort


def main() -> None:
    """Arguments: the unit, a folder for results, folders of submissions."""
    unit, out, *folders = sys.argv[1:]
    open_runner, tier = boxes()
    costs = []
    for folder in folders:
        start, computed = time.monotonic(), time.process_time()
        grade_cohort(folder, Path(out, Path(folder).name),
                     Settings(open_runner, tier, units=(unit,), workers=0))
        costs.append({"wall": time.monotonic() - start, "own": time.process_time() - computed})
    print(json.dumps(costs))


if __name__ == "__main__":
    main()
