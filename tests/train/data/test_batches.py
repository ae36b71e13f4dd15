from hypothesis import given
from hypothesis import strategies as st

from tl_train.data.batches import batches


@given(count=st.integers(1, 50), batch_size=st.integers(2, 9))
def test_batches_hold_everything_once_and_never_a_single_picture(count, batch_size):
    parts = list(batches(range(count), batch_size))
    assert [index for part in parts for index in part] == list(range(count))
    if count > 1:
        assert all(2 <= len(part) <= batch_size + 1 for part in parts)
