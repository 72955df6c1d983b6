"""How long what is left will take, judged by what was done, the latest most."""

#: From so many seconds on, minutes are told; from so many minutes on, hours.
_SECONDS, _MINUTES = 90, 90


class Pace:
    """The mean time that pieces of work took, in which what was done lately weighs most.

    Args:
        half_life: after so many further pieces, one counts half as much.
    """

    def __init__(self, half_life: float) -> None:
        self.half_life = half_life
        self._pieces = self._seconds = 0.0

    def add(self, pieces: int, seconds: float) -> None:
        """Count pieces that are done, and what they took together."""
        decay = 0.5 ** (pieces / self.half_life)
        self._pieces = self._pieces * decay + pieces
        self._seconds = self._seconds * decay + seconds

    def seconds_for(self, pieces: int) -> float | None:
        """What so many more pieces will take; None before the first was done."""
        return pieces * self._seconds / self._pieces if self._pieces else None


def duration(seconds: float) -> str:
    """A span of time as exactly as an estimate deserves: ``40 s``, ``12 min``, ``3 h``, ``3 h 20 min``."""
    if seconds < _SECONDS:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < _MINUTES:
        return f"{minutes} min"
    hours, rest = divmod(round(minutes, -1), 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
