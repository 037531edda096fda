"""Arithmetic codes of yes/no decisions, and integers made of such."""

from __future__ import annotations

#: What some codes of a model begin with: P(zero), P(magnitude ≥ 2^(k+1), given ≥ 2^k), k = 0 … 7, in 1/65536.
SCALE_WIDTHS = (36000, 21000, 12000, 8000, 16000, 16000, 16000, 16000)
TAP_WIDTHS = (61000, 57000, 51000, 43000, 29000, 12000, 4000, 2000)
STARTS = {
    "bias": (55700, TAP_WIDTHS),
    "up": (63500, TAP_WIDTHS),
    "near": (10600, TAP_WIDTHS),  # past taps 0 … 3
    "far": (10200, TAP_WIDTHS),  # past taps from 4 on
    "row": (12000, SCALE_WIDTHS),
    "column": (16000, SCALE_WIDTHS),
    "tap": (8000, TAP_WIDTHS),
}


class AdaptiveBit:
    """Probability that a decision is yes, in 1/65536, learnt at two speeds."""

    def __init__(self, start: int | None = None) -> None:
        self.fast = self.slow = 32768 if start is None else start
        self.count = 0 if start is None else 6

    def p(self) -> int:
        return (self.fast + self.slow + 1) >> 1

    def learn(self, yes: bool) -> None:
        target = 65535 if yes else 0
        self.fast += (target - self.fast) // 16 if yes else -(self.fast // 16)  # rounded towards zero
        self.slow += (target - self.slow) * (16384 // (self.count + 2)) >> 14  # rounded down
        self.count = min(self.count + 1, 126)
        if self.count < 16:
            self.fast = self.slow


class Decisions:
    """An arithmetic code. Behind its last byte are zeros."""

    def __init__(self, data: bytes) -> None:
        self.data, self.next = data, 0
        self.low, self.high, self.value = 0, 2**32 - 1, 0
        for _ in range(4):
            self.shift()

    def shift(self) -> None:
        byte = self.data[self.next] if self.next < len(self.data) else 0
        self.value = (self.value << 8 | byte) & (2**32 - 1)
        self.next += 1

    def decide(self, p: int) -> bool:
        """A decision that is yes with probability p/65536."""
        middle = self.low + ((self.high - self.low) * min(max(p, 16), 65520) >> 16)
        yes = self.value <= middle
        if yes:
            self.high = middle
        else:
            self.low = middle + 1
        while (self.low ^ self.high) >> 24 == 0:
            self.low = self.low << 8 & (2**32 - 1)
            self.high = (self.high << 8 | 255) & (2**32 - 1)
            self.shift()
        return yes

    def learnt(self, bit: AdaptiveBit) -> bool:
        yes = self.decide(bit.p())
        bit.learn(yes)
        return yes


class AdaptiveInteger:
    """Is it zero, is it negative, how many bits has its magnitude below the leading one, and these."""

    def __init__(self, start: tuple[int, tuple[int, ...]] | None = None) -> None:
        zero, widths = start or (None, ())
        self.zero, self.sign = AdaptiveBit(zero), AdaptiveBit()
        self.width = [AdaptiveBit(widths[k] if k < len(widths) else None) for k in range(32)]
        self.top = [AdaptiveBit() for _ in range(32)]

    def read(self, code: Decisions) -> int:
        if code.learnt(self.zero):
            return 0
        negative = code.learnt(self.sign)
        width, magnitude = 0, 1
        while width < 31 and code.learnt(self.width[width]):
            width += 1
        for i in range(width):  # high bits first; the first is learnt, the others are even odds
            bit = code.learnt(self.top[width]) if i == 0 else code.decide(32768)
            magnitude = 2 * magnitude + bit
        return -magnitude if negative else magnitude
