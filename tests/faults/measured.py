"""What a bar gave: a figure in words, and what is wrong with it (nothing, when the bar is held)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measured:
    """`figure` goes into the table of docs/reliability.md; `problems` are sentences, each with how much is missing."""

    figure: str
    problems: list[str] = field(default_factory=list)

    def held_to(self, *limits: tuple[str, float, float]) -> Measured:
        """The same with a problem for every (what, value, most) that is over its limit."""
        over = [f"{what} {value:.3g} is over {most:.3g} by {value - most:.3g}" for what, value, most in limits if value > most]
        return Measured(self.figure, [*self.problems, *over])
