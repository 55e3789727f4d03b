"""Bias: a potential on a frozen coordinate inside OpenMM, and the free energies that follow from it."""
