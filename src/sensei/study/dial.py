"""The one number in which the conditions of a study differ, such as how many labels were asked."""

from __future__ import annotations

import dataclasses

from sensei.study.summary import Comparison

FEWEST = 3
"""Values that make a curve."""
WIDE = 20.0
"""From this ratio of the largest to the smallest value on, the axis is logarithmic."""


@dataclasses.dataclass(frozen=True)
class Dial:
    """A number that was turned while everything else stayed as it was."""

    name: str
    """Dotted name of the field."""
    values: dict[str, float]
    """Group → its value, ascending."""

    @property
    def logarithmic(self) -> bool:
        """Whether its values differ by factors rather than by steps."""
        smallest, *_, largest = self.values.values()
        return smallest > 0 and largest >= WIDE * smallest


def dial_of(comparison: Comparison) -> Dial | None:
    """Find the only field in which the groups that explored differ, if it is a number."""
    settings = {group: comparison.of(group)[0].settings for group in comparison.explored}
    if len(settings) < FEWEST:
        return None
    names = {name for each in settings.values() for name in each}
    turned = [n for n in names if len({repr(each.get(n)) for each in settings.values()}) > 1]
    if len(turned) != 1:
        return None
    values = {group: each.get(turned[0]) for group, each in settings.items()}
    numbers = {
        group: float(value)
        for group, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if len(numbers) < len(values):
        return None
    return Dial(turned[0], dict(sorted(numbers.items(), key=lambda item: item[1])))
