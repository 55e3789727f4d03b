"""One compiled entry to every kernel: what runs features on one frame inside molecular dynamics."""
# The compiled functions bear no annotations: numba infers them.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from mdinsight.errors import GradientError
from mdinsight.features._alignment import positions_kernel, rmsd_kernel
from mdinsight.features._angles import kernel as angles_kernel
from mdinsight.features._contacts import kernel as contacts_kernel
from mdinsight.features._distances import kernel as distances_kernel
from mdinsight.features._jit import jit
from mdinsight.features._parts import Part
from mdinsight.features._shape import kernel as shape_kernel
from mdinsight.features._torsions import kernel as torsions_kernel

_KERNELS = (
    torsions_kernel,
    distances_kernel,
    angles_kernel,
    contacts_kernel,
    shape_kernel,
    rmsd_kernel,
    positions_kernel,
)
"""In the order of the numbers in :func:`run_kernel`."""


def kernel_code(part: Part) -> int:
    """The number by which :func:`run_kernel` knows a part's kernel.

    Raises
    ------
    GradientError
        If it does not know it.
    """
    for code, kernel in enumerate(_KERNELS):
        if part.kernel is kernel:
            return code
    raise GradientError(
        f"{part.feature.title}: its kernel is not among those that run inside MD; add it to features/_run.py"
    )


@jit
def run_kernel(code, xyz, box, has_box, index, params, out, cot, grad):
    """The kernel of this number; a chain of calls, since a compiled function held as a value costs microseconds to pass."""
    if code == 0:
        torsions_kernel(xyz, box, has_box, index, params, out, cot, grad)
    elif code == 1:
        distances_kernel(xyz, box, has_box, index, params, out, cot, grad)
    elif code == 2:
        angles_kernel(xyz, box, has_box, index, params, out, cot, grad)
    elif code == 3:
        contacts_kernel(xyz, box, has_box, index, params, out, cot, grad)
    elif code == 4:
        shape_kernel(xyz, box, has_box, index, params, out, cot, grad)
    elif code == 5:
        rmsd_kernel(xyz, box, has_box, index, params, out, cot, grad)
    else:
        positions_kernel(xyz, box, has_box, index, params, out, cot, grad)
