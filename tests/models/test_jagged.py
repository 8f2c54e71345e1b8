import torch

from recscale.models import jagged

OFFSETS = torch.tensor([0, 2, 2, 5])


def test_padding_fills_rows_from_the_left_and_comes_back():
    where = jagged.layout(OFFSETS)
    padded = jagged.pad(torch.tensor([1, 2, 3, 4, 5]), where)
    assert padded.tolist() == [[1, 2, 0], [0, 0, 0], [3, 4, 5]]
    assert jagged.unpad(padded, where).tolist() == [1, 2, 3, 4, 5]


def test_rows_of_equal_length_are_not_copied():
    values = torch.arange(6.0)
    padded = jagged.pad(values, jagged.layout(torch.tensor([0, 3, 6])))
    assert padded.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert padded.data_ptr() == values.data_ptr()


def test_no_events_make_a_rectangle_of_one_column():
    where = jagged.layout(torch.tensor([0, 0, 0]))
    padded = jagged.pad(torch.zeros(0, 4), where)
    assert padded.shape == (2, 1, 4)
    assert jagged.unpad(padded, where).shape == (0, 4)
    assert jagged.pad(torch.zeros(0), jagged.layout(torch.tensor([0]))).shape == (0, 1)


def test_newest_is_the_last_visible_event_or_the_start():
    values, row = torch.tensor([10, 20, 30, 40, 50]), torch.tensor([0, 0, 1, 2, 2])
    prefix = torch.tensor([2, 0, 0, 1, 3])
    seen = jagged.newest(values, torch.tensor(-1), OFFSETS, row, prefix)
    assert seen.tolist() == [20, -1, -1, 30, 50]


def test_running_mean_starts_anew_in_every_row():
    values = torch.tensor([[1.0], [3.0], [10.0], [20.0], [60.0]])
    assert jagged.running_mean(values, OFFSETS)[:, 0].tolist() == [1.0, 2.0, 10.0, 15.0, 30.0]


def test_tiles_cut_long_rows_and_skip_empty_ones():
    row, offsets = jagged.tiles(torch.tensor([0, 2, 2, 7]), 2)
    assert row.tolist() == [0, 2, 2, 2]
    assert offsets.tolist() == [0, 2, 4, 6, 7]


def test_owner_names_the_row_of_each_value():
    assert jagged.owner(OFFSETS).tolist() == [0, 0, 2, 2, 2]


def test_groups_hold_rows_of_like_length_longest_first_and_come_back():
    values = torch.tensor([10, 20, 30, 40, 50])
    found = jagged.group(OFFSETS, lambda longest: 1 if longest == 3 else 8)
    ordered = values[found.order]
    assert ordered.tolist() == [30, 40, 50, 10, 20]
    assert ordered[found.back].tolist() == values.tolist()
    padded = [jagged.pad(ordered[part.events], part.where).tolist() for part in found.groups]
    assert padded == [[[30, 40, 50]], [[10, 20], [0, 0]]]
    assert jagged.group(torch.tensor([0, 0, 0]), lambda _: 4).groups == ()
