"""How many devices there are for segments to run on."""

from __future__ import annotations

from mdinsight.parallel import cores

_ON_DEVICES = ("CUDA", "HIP", "OpenCL")
_MOST = 64


def device_count(platform: str) -> int:
    """The number of devices of a platform that answer; 0 for one that runs on the processor."""
    if platform not in _ON_DEVICES:
        return 0
    count = 0
    while count < _MOST and _answers(platform, count):
        count += 1
    return count


def cores_or_devices(platform: str) -> int:
    """How many segments run at once here: one a device, or one a core."""
    return device_count(platform) or cores()


def _answers(platform: str, index: int) -> bool:
    """Whether a context can be made on a device."""
    from openmm import Context, OpenMMException, Platform, System, VerletIntegrator

    system = System()
    system.addParticle(1.0)
    try:
        Context(system, VerletIntegrator(0.001), Platform.getPlatformByName(platform), {"DeviceIndex": str(index)})
    except OpenMMException:
        return False
    return True
