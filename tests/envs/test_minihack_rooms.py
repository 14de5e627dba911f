"""MultiRoomChest's layouts: rooms in a chain that share walls and doors, nothing else."""

import itertools

import pytest

from sensei.envs.minihack_rooms import LAYOUTS, Room, layout, multiroom


@pytest.mark.parametrize(("rooms", "largest"), [(2, 4), (4, 5)])
def test_every_layout_is_a_chain(rooms, largest):
    for seed in range(LAYOUTS):
        found = layout(rooms, largest, seed)
        assert (len(found.rooms), len(found.doors)) == (rooms, rooms - 1)
        for first, second in itertools.combinations(found.rooms, 2):
            assert not first.overlaps(second)
        for door, (first, second) in zip(found.doors, itertools.pairwise(found.rooms), strict=True):
            beside = {(door[0] + dx, door[1] + dy) for dx, dy in ((0, 1), (1, 0), (0, -1), (-1, 0))}
            assert len(beside & first.inside()) == len(beside & second.inside()) == 1
            assert door in first.cells() & second.cells()
        cells = set.union(*(room.cells() for room in found.rooms))
        assert min(x for x, _ in cells) == min(y for _, y in cells) == 0
        assert max(y for _, y in cells) < 21
        assert all(
            4 <= side <= largest for room in found.rooms for side in (room.width, room.height)
        )


def test_layouts_differ_and_repeat():
    assert len({layout(4, 5, seed) for seed in range(LAYOUTS)}) == LAYOUTS
    assert multiroom(4, 5) == multiroom(4, 5)


def test_rooms_may_share_a_wall():
    assert not Room(0, 0, 4, 4).overlaps(Room(3, 0, 4, 4))
    assert Room(0, 0, 4, 4).overlaps(Room(2, 0, 4, 4))
