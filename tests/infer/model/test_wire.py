import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks import model_files
from support import onnx_bytes
from tl_infer.model.wire import read_contents

MODEL = onnx_bytes.color_model()


def has_external_data(model: bytes) -> bool:
    return read_contents(model).has_external_data


def nested(*fields: int, body: bytes) -> bytes:
    for field in reversed(fields):
        head = [field << 3 | 2, len(body)] if field < 16 else [field << 3 & 127 | 130, 1, len(body)]
        body = bytes(head) + body
    return body


def test_weights_outside_are_found_wherever_they_hide():
    assert not has_external_data(MODEL)
    assert has_external_data(onnx_bytes.color_model(external=True))

    location_elsewhere = b"\x70\x01"  # field 14, varint 1
    assert has_external_data(nested(7, 1, 5, 5, body=location_elsewhere)), "a Constant's tensor"
    assert has_external_data(nested(7, 1, 5, 6, 5, body=location_elsewhere)), "a branch of an If"
    assert has_external_data(nested(7, 1, 5, 11, 1, 5, 10, body=location_elsewhere)), "a graph in a list of graphs"
    assert has_external_data(nested(7, 15, 1, body=location_elsewhere)), "a sparse tensor"
    assert has_external_data(nested(25, 7, 5, 5, body=location_elsewhere)), "a function"
    assert not has_external_data(nested(7, 5, body=b"\x70\x00")), "it says that the values are inside"


def test_operators_are_found_wherever_they_are():
    relu = b"\x22\x04Relu"  # field 4, a text
    for place in ((7, 1), (7, 1, 5, 6, 1), (7, 1, 5, 11, 1), (25, 7), (20, 1, 1)):
        assert read_contents(nested(*place, body=relu)).operators == {b"Relu"}
    assert read_contents(nested(7, 5, body=relu)).operators == set(), "a tensor has none"


def test_deep_nesting_does_not_break_the_reader():
    body = b""
    for _ in range(3000):
        for field in (6, 5, 1):  # a graph in an attribute in a node
            length, prefix = len(body), bytearray()
            while length > 127:
                prefix.append(length & 127 | 128)
                length >>= 7
            body = bytes([field << 3 | 2]) + bytes(prefix) + bytes([length]) + body
    assert not has_external_data(b"\x3a\x00" + body)


@settings(max_examples=200)
@given(st.binary(max_size=100))
def test_any_bytes_end_in_an_answer_or_a_value_error(data):
    try:
        assert has_external_data(data) in (True, False)
    except ValueError as error:
        assert str(error).startswith("byte ")  # noqa: PT017 - either outcome is right


def test_a_cut_file_is_damaged():
    with pytest.raises(ValueError, match="a field that ends after the file"):
        has_external_data(MODEL[:-5])


def test_an_empty_location_at_the_end_is_none():
    assert not has_external_data(model_files.EMPTY_LOCATION)
