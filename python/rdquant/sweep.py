"""placeholder"""


def sweep(*a, **k): ...
