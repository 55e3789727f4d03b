"""The libraries' own threads are held to one, whichever thread asks, and let go by the last."""

import os
import subprocess
import sys

SCRIPT = """
import threading
import numpy, scipy.linalg
from threadpoolctl import threadpool_info
from mdinsight.parallel import one_thread

def blas():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

with one_thread():
    pass
entered, leave, seen = threading.Event(), threading.Event(), [blas()]

def other():
    with one_thread():
        seen.append(blas())
        entered.set()
        leave.wait()

thread = threading.Thread(target=other)
with one_thread():
    seen.append(blas())
thread.start()
entered.wait()
with one_thread():
    seen.append(blas())
leave.set()
thread.join()
seen.append(blas())
thread = threading.Thread(target=other)
leave.clear(), entered.clear()
with one_thread():
    thread.start()
    entered.wait()
leave.set()
thread.join()
seen.append(blas())
free = seen[0]
print(seen == [free, {1}, {1}, {1}, free, {1}, free], seen)
"""


def test_any_thread_holds_the_libraries_to_one_thread_and_the_last_lets_go():
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith("True"), found.stdout
