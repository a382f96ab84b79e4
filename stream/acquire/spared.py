"""Places that have had their light: no other name brings them more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stream.acquire.dose import DoseLedger
from stream.acquire.whereabouts import Whereabouts
from stream.command import Command
from stream.frame import parse_field
from stream.layout import Position

_XY = tuple[float, float]


class Spared:
    """Knows where the fields lie whose budget is spent, or that were left.

    A field's own commands are the ledger's to judge; here it is the others', which would pay with their own budget.
    """

    def __init__(self, where: Whereabouts, dose: DoseLedger) -> None:
        self._where = where
        self._dose = dose

    def refuses(self, command: Command, lit_um: Sequence[Position]) -> str | None:
        """Say which of the places that a command lights shows what has had its light. Raises Refused.

        Where the plan has its other positions they may be lit, however near they lie: so it was planned.
        """
        fields = [name for name in self._over() if self._position(name) != self._where.number(command)]
        if not fields or not lit_um:
            return None
        planned, (width_um, height_um) = self._planned(), self._where.fov_um()
        for x, y in (place[:2] for place in lit_um if _rounded(place) not in planned):
            for name in fields:
                for there in self._places(name):
                    if abs(x - there[0]) < width_um and abs(y - there[1]) < height_um:
                        return f"({x:g}, {y:g}) µm shows cells of {name}, which has had its light budget"
        return None

    def _over(self) -> list[str]:
        """Return the fields that are to get no more light."""
        spent = set(self._dose.spent_fields())
        return [name for name in self._dose.told()["fields"] if name in spent or self._dose.is_left(name)]

    def _planned(self) -> set[_XY]:
        """Return where the positions lie that may still be lit: as they are now, and as the plan has them."""
        over, visits = {self._position(name) for name in self._over()}, self._where.visits
        now = self._where.places().items()
        places = [*now, *((p, visit.place_um) for p, visit in enumerate(visits.planned))]
        return {_rounded(lead) for p, place in places if p not in over for lead in visits.of(p).leads_um(place)}

    def _places(self, field: str) -> Iterator[Position]:
        """Yield where a field lay last."""
        named = parse_field(field)
        place = self._where.places().get(named.position) if named is not None else None
        if named is not None and place is not None:
            yield from self._where.visits.of(named.position).leads_um(place, named.tile)

    @staticmethod
    def _position(field: str) -> int | None:
        named = parse_field(field)
        return None if named is None else named.position


def _rounded(place: Position) -> _XY:
    return round(place[0], 2), round(place[1], 2)
