"""Systems that the loop is measured on."""

from __future__ import annotations

import numpy as np

import mdinsight as mdi

MULLER_BROWN = (
    (-200, -1, 0, -10, 1, 0),
    (-100, -1, 0, -10, 0, 0.5),
    (-170, -6.5, 11, -6.5, -0.5, 1.5),
    (15, 0.7, 0.6, 0.7, -1, 1),
)
SCALE = 0.15


def muller_brown_energy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """kJ/mol, which is kT at :data:`MB_TEMPERATURE`."""
    return SCALE * sum(
        A * np.exp(a * (x - x0) ** 2 + b * (x - x0) * (y - y0) + c * (y - y0) ** 2)
        for A, a, b, c, x0, y0 in MULLER_BROWN
    )


MB_TEMPERATURE = 1.0 / mdi.units.GAS_CONSTANT  # K: kT = 1 kJ/mol


def muller_brown(start: tuple[float, float] = (0.62, 0.03)) -> tuple[mdi.engine.System, mdi.features.Features]:
    """One particle in the plane, in nm, and three that stand still, which say where the axes are; x and y as features."""
    import openmm
    from openmm import app

    system, topology = openmm.System(), app.Topology()
    chain = topology.addChain()
    residue = topology.addResidue("MUL", chain)
    for number in range(4):
        system.addParticle(1.008 if number == 3 else 0.0)
        topology.addAtom(f"A{number}", app.Element.getBySymbol("H"), residue)
    terms = "+".join(
        f"({SCALE * A})*exp(({a})*(x-({x0}))^2+({b})*(x-({x0}))*(y-({y0}))+({c})*(y-({y0}))^2)"
        for A, a, b, c, x0, y0 in MULLER_BROWN
    )
    force = openmm.CustomExternalForce(f"{terms}+50*z^2")
    force.addParticle(3)
    system.addForce(force)
    positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [*start, 0]], float)
    made = mdi.engine.System.from_openmm(
        system, topology, positions, temperature=MB_TEMPERATURE, timestep=0.005, friction=10.0, platform="Reference"
    )
    import mdtraj

    frame = mdtraj.Trajectory(positions[None], made.topology)
    features = mdi.features.Positions(frame, "index 3", align="index 0 1 2").select("x *", "y *")
    return made, features


def muller_brown_reference() -> float:
    """F(x > 0) - F(x < 0) in kT, exact, on a grid."""
    x, y = np.meshgrid(np.linspace(-1.8, 1.4, 1601), np.linspace(-0.7, 2.3, 1501), indexing="ij")
    weight = np.exp(-muller_brown_energy(x, y))
    return float(np.log(weight[x < 0].sum() / weight[x > 0].sum()))
