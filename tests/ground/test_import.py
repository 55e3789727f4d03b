"""Importing mdinsight costs next to nothing: the heavy libraries load when they are used."""

import subprocess
import sys


def test_no_heavy_library_is_loaded():
    heavy = "mdtraj deeptime sklearn scipy numba torch openmm matplotlib MDAnalysis pydantic h5py pymbar"
    code = f"import mdinsight, sys; print(sorted(set({heavy!r}.split()) & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_every_public_name_is_there():
    code = "import mdinsight; [getattr(mdinsight, name) for name in mdinsight.__all__]; mdinsight.open, mdinsight.load"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_looking_how_far_a_run_is_loads_no_heavy_library():
    code = (
        "import sys; from mdinsight import adaptive; import mdinsight.cli; adaptive.Status.of\n"
        "print(sorted(set('mdtraj deeptime sklearn scipy numba torch openmm'.split()) & set(sys.modules)))\n"
        "[getattr(adaptive, name) for name in adaptive.__all__]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
