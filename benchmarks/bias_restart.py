"""Killed and resumed: the same bits? Biased runs of alanine dipeptide (Reference), SIGKILLed at random moments until done.

    python benchmarks/bias_restart.py             twenty runs for each potential and form, some minutes
    python benchmarks/bias_restart.py --quick

Each run is a process that calls ``Sampler.run``; it is started again after each kill. Compared with a run that was never
killed: positions, velocities, the state of the bias and every recorded row, bit for bit.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _bias_systems import parser, say, vacuum

from mdinsight import bias
from mdinsight.features import Torsions

POTENTIALS = {
    "OPES": bias.OPES(barrier=50.0, pace=100),
    "OPES-explore": bias.OPES(barrier=50.0, pace=100, explore=True),
    "metadynamics": bias.Metadynamics(height=1.2, sigma=0.35, biasfactor=10.0, pace=100),
}


def child(name: str, form: str, steps: int, file: str) -> None:
    it = vacuum()
    system = it.system()
    coordinate = Torsions("phi psi", raw=True)
    sampler = bias.Sampler(system, it.topology, coordinate, POTENTIALS[name], 300.0, seed=3, form=form)
    simulation = it.simulation(system, sampler.walker_seed())
    print("ready", flush=True)
    sampler.run(simulation, steps, file, save_every=2000)


def run(name: str, form: str, steps: int, file: Path, rng: random.Random | None) -> int:
    """Run to the end; with ``rng``, kill on the way. How often it was killed."""
    kills = 0
    while True:
        command = [sys.executable, __file__, "--child", name, form, str(steps), str(file)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()  # type: ignore[union-attr]  the kill comes while it simulates, not while Python starts
        if rng is not None and kills < 5:
            time.sleep(rng.uniform(0.05, 0.6))
            process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            return kills
        kills += 1


def same(a: bias.SavedRun, b: bias.SavedRun) -> bool:
    """The content hash covers every bit of the bias, the trace and the MD states, OpenMM's checkpoint included."""
    return a.model.hash == b.model.hash and a.trace.hash == b.trace.hash and a.md[0].hash == b.md[0].hash


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--child", nargs=4, metavar=("POTENTIAL", "FORM", "STEPS", "FILE"))
    chosen = options.parse_args()
    if chosen.child:
        name, form, steps, file = chosen.child
        return child(name, form, int(steps), file)
    number, steps = (2, 40_000) if chosen.quick else (20, 100_000)
    print("# Killed and resumed\n")
    print("| potential | form | runs | kills | the same bits |\n|---|---|---:|---:|---:|")
    for name in POTENTIALS:
        for form in ("compiled", "native"):
            with tempfile.TemporaryDirectory() as folder:
                whole = Path(folder) / "whole.run"
                run(name, form, steps, whole, None)
                kills = equal = 0
                for k in range(number):
                    file = Path(folder) / f"{k}.run"
                    kills += run(name, form, steps, file, random.Random(k))
                    equal += same(bias.SavedRun.load(whole), bias.SavedRun.load(file))
                print(f"| {name} | {form} | {number} | {kills} | {equal} of {number} |", flush=True)
                say(f"  {name}, {form}: done")
    return None


if __name__ == "__main__":
    main()
