"""What the benchmarks ran on."""

import platform


def processor() -> str:
    """The processor's name, where Linux says it."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()
