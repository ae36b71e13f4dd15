import os
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tl_infer.cli.output.sorting import folder_names

LABELS = st.text(st.characters(), min_size=1, max_size=300) | st.text("aAbB./\\ _-%~~\u00e9e\u0301", min_size=1)


@given(st.lists(LABELS, min_size=1, max_size=8, unique=True))
def test_no_label_leaves_its_folder_or_meets_another(labels):
    names = folder_names(labels)
    for name in names.values():
        assert len(os.fsencode(name)) <= 200
        assert not set(name) & set('/\\\0:*?"<>|')
        assert name[0] not in ".-_ "
        assert name[-1] not in " ."
    folded = {unicodedata.normalize("NFC", name).casefold() for name in names.values()}
    assert len(folded) == len(labels)


def test_folders_are_the_labels_where_they_can_be():
    labels = ["golden retriever", "a/b", "..", "CON", "nul.txt", "Cat", "cat", "_unsure", "50%"]
    assert list(folder_names(labels).values()) == [
        "golden retriever", "a%2Fb", "%2E%2E", "%43ON", "%6Eul.txt", "%43at", "cat", "%5Funsure", "50%25",
    ]  # fmt: skip
