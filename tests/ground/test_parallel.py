import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from mdinsight import seeds
from mdinsight.errors import ParameterError
from mdinsight.parallel import held_to, is_held, ordered_map


def slow_square(x):
    time.sleep(0.002 * (x % 3))
    return x * x


@pytest.mark.parametrize("workers", [1, 2, 7, None])
def test_results_come_in_order_for_any_number_of_workers(workers):
    assert list(ordered_map(slow_square, range(40), workers)) == [x * x for x in range(40)]


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_will_do(pool):
    with pool(2) as executor:
        assert list(ordered_map(slow_square, range(10), executor)) == [x * x for x in range(10)]


def test_items_are_taken_as_they_are_needed():
    taken = []
    results = ordered_map(slow_square, (taken.append(i) or i for i in range(1000)), 2)
    next(results)
    assert len(taken) <= 5
    results.close()
    assert len(taken) <= 5


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_is_raised_and_nothing_hangs(workers):
    def fail_at_five(x):
        if x == 5:
            raise RuntimeError("five")
        return x

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="five"):
        list(ordered_map(fail_at_five, range(100), workers))
    assert threading.active_count() == before


def test_one_worker_is_told_to_the_function_and_to_nobody_else():
    seen = []
    for held in ordered_map(lambda _: is_held(), range(3), 1):
        seen += [held, is_held()]
    assert seen == [True, False] * 3
    assert not any(ordered_map(lambda _: is_held(), range(3), 2))
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda x: 1 / x, [0], 1))
    assert not is_held()
    with held_to(1), held_to(None), ThreadPoolExecutor(1) as pool:
        assert is_held() and not pool.submit(is_held).result()


@pytest.mark.parametrize("workers", [0, -1, True, 2.5, "all"])
def test_a_number_of_workers_is_positive(workers):
    with pytest.raises(ParameterError, match=f"workers={workers!r}"):
        list(ordered_map(slow_square, range(3), workers))


def test_a_closed_executor_is_told():
    with ThreadPoolExecutor(1) as pool:
        pass
    with pytest.raises(ParameterError, match="is closed"):
        list(ordered_map(slow_square, range(3), pool))


def test_a_branch_of_a_seed_does_not_depend_on_the_others():
    first = seeds.generator(7, "kmeans", 1).random(5)
    seeds.generator(7, "other").random(100)
    assert np.array_equal(first, seeds.generator(7, "kmeans", 1).random(5))
    others = [
        seeds.generator(*key).random()
        for key in ((8, "kmeans", 1), (7, "kmeans", 2), (7, "kmeans", "1"), (7, 1, "kmeans"))
    ]
    assert len({first[0], *others}) == 5
    assert 0 <= seeds.integer(7, "torch") < 2**31
    with pytest.raises(ParameterError, match="seed"):
        seeds.generator(-1)


FORKS = """
import os, signal, threading
from mdinsight.parallel import one_thread
def many():
    while not done:
        with one_thread():
            pass
with one_thread():  # imports what it needs: a fork amid an import is Python's own
    done = False
thread = threading.Thread(target=many)
thread.start()
for _ in range(20):
    child = os.fork()
    if not child:
        signal.alarm(5)
        with one_thread():
            os._exit(0)
    if os.waitpid(child, 0)[1]:
        break
else:
    print("whole")
done = True
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_finds_the_locks_free():
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], capture_output=True, text=True, check=True)
    assert found.stdout == "whole\n"
