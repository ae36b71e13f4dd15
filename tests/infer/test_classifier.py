import io
import threading
import tracemalloc

import numpy as np
import pytest
from PIL import Image

import tl_infer
from support import onnx_bytes
from tl_infer import Classification, Classifier, ImageError, Limits, ModelFileError, Score
from tl_infer.model.opening import check_providers


def plain(color: str, size: tuple[int, int] = (6, 4)) -> np.ndarray:
    return np.asarray(Image.new("RGB", size, color))


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(onnx_bytes.color_model())


def test_a_provider_named_twice_counts_once():
    assert check_providers(["cpu", "CPUExecutionProvider", "CPU"]) == ("cpu",)


def test_one_picture_of_each_colour(classifier):
    for color in ("red", "blue"):
        result = classifier.classify(plain(color))
        assert result.label == color
        # softmax of (8, 0, 0)
        assert result.probability == pytest.approx(1 / (1 + 2 * np.exp(-8)), abs=1e-6)
        assert result == Classification((Score(color, result.probability),))


def test_top_k_is_sorted_and_all_of_them_sum_to_one(classifier):
    result = classifier.classify(np.full((3, 3, 3), (200, 100, 50), dtype=np.uint8), top_k=None)
    assert [score.label for score in result.top] == ["red", "green", "blue"]
    assert sum(score.probability for score in result.top) == pytest.approx(1, abs=1e-6)
    assert classifier.classify(plain("black"), top_k=2).label == "red", "of equals the first label wins, as with argmax"


@pytest.mark.parametrize("top_k", [0, -1, 4])
def test_top_k_out_of_range_is_refused_at_once(classifier, top_k):
    with pytest.raises(ValueError, match=f"top_k: found {top_k}, expected 1 to 3"):
        classifier.classify(plain("red"), top_k=top_k)
    with pytest.raises(ValueError, match=f"top_k: found {top_k}, expected 1 to 3"):
        classifier.classify_many([], top_k=top_k)


def test_what_is_no_number_is_refused_at_once(classifier):
    with pytest.raises(TypeError, match="'float' object"):
        classifier.classify_many([], top_k=2.5)
    with pytest.raises(TypeError, match=r"limits: found dict, expected Limits\(...\)"):
        Classifier(onnx_bytes.color_model(), limits={"max_pixels": 5})


def test_many_keep_their_order_and_a_bad_one_keeps_its_place(classifier, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    colors = ["red", "green", "blue"] * 30
    sources: list = [plain("#00ff00" if color == "green" else color) for color in colors]
    sources[40] = bad
    results = list(classifier.classify_many(iter(sources)))
    assert isinstance(results[40], ImageError)
    assert results[40].where == str(bad)
    del results[40], colors[40]
    assert [result.label for result in results] == colors


def test_one_by_one_and_many_say_the_same(classifier):
    pictures = [np.random.default_rng(i).integers(0, 256, (9, 7, 3), dtype=np.uint8) for i in range(20)]
    many = list(classifier.classify_many(pictures, top_k=None))
    assert many == [classifier.classify(picture, top_k=None) for picture in pictures]


def test_a_path_and_bytes_of_a_model_are_the_same_model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_bytes.color_model())
    for model in (path, str(path)):
        assert Classifier(model).labels == ("red", "green", "blue")
    assert Classifier(path).spec == onnx_bytes.SPEC


def test_a_classifier_is_shared_by_threads(classifier):
    wrong = []

    def work(color: str) -> None:
        wrong.extend(color for _ in range(50) if classifier.classify(plain(color)).label != color)

    threads = [threading.Thread(target=work, args=(color,)) for color in ("red", "blue", "red", "blue")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_limits_reach_the_decoder():
    buffer = io.BytesIO()
    Image.new("RGB", (10, 10)).save(buffer, "PNG")
    small = Classifier(onnx_bytes.color_model(), limits=Limits(max_pixels=50))
    with pytest.raises(ImageError, match="10 x 10 pixels, the limit is 50"):
        small.classify(buffer.getvalue())


def test_threads_below_one_are_refused():
    with pytest.raises(ValueError, match="threads: found 0"):
        Classifier(onnx_bytes.color_model(), threads=0)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"", "damaged or not an ONNX model"),
        (b"not a model", "damaged or not an ONNX model"),
        (onnx_bytes.color_model()[:-40], "damaged or not an ONNX model"),
        (onnx_bytes.color_model(spec=""), "without 'tl.spec', so not made by tl-export"),
        (onnx_bytes.color_model(spec="{}"), "version: found None"),
        (onnx_bytes.color_model(input_type=1), "expected one 'image' of uint8"),
        (onnx_bytes.color_model(output="p"), "output 'probabilities' is nothing"),
        (onnx_bytes.color_model(onnx_bytes.SPEC.to_json().replace('"blue"', '"blue", "x"')), "4 labels but output"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_model_of_ours_is_refused(model, message):
    with pytest.raises(ModelFileError, match=message):
        Classifier(model)


def test_metadata_that_are_no_text_are_refused():
    model = onnx_bytes.color_model()
    at = model.index(b"mean-colour", model.index(b"tl.spec"))
    with pytest.raises(ModelFileError, match="metadata is not valid UTF-8"):
        Classifier(model[:at] + b"\xff\xfe" + model[at + 2 :])


def test_every_truncation_of_a_model_is_refused():
    model = onnx_bytes.color_model()
    for end in range(0, len(model), 7):
        with pytest.raises(ModelFileError):
            Classifier(model[:end])


def test_values_that_are_no_numbers_are_refused():
    with pytest.raises(ModelFileError, match="'probabilities' has values that are not finite"):
        Classifier(onnx_bytes.color_model(gain=float("nan")))


def test_values_that_overflow_for_one_picture_are_that_pictures_error():
    # Grey and black pass; the sum of a bright picture's values is beyond float32.
    classifier = Classifier(onnx_bytes.color_model(gain=2e36))
    with pytest.raises(ModelFileError, match="'probabilities' has values that are not finite"):
        classifier.classify(plain("white"))
    results = list(classifier.classify_many([plain("black"), plain("white"), plain("black")]))
    assert isinstance(results[1], ImageError)
    assert "not finite" in results[1].reason
    assert [results[0].label, results[2].label] == ["red", "red"]


def test_a_path_without_a_model_is_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"absent.onnx: no such file"):
        Classifier(tmp_path / "absent.onnx")
    with pytest.raises(ModelFileError, match=r"test_a_path_\w+: a folder; expected a file, NAME.onnx"):
        Classifier(tmp_path)
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ModelFileError, match="0 bytes"):
        Classifier(tmp_path / "empty.onnx")


def test_nothing_public_is_forgotten():
    public = {
        name for name in dir(tl_infer.classifier) + dir(tl_infer.errors) if name.endswith(("Error", "Classifier"))
    }
    assert public - {"RuntimeError"} <= set(tl_infer.__all__)


def test_all_that_is_promised_is_there():
    for name in tl_infer.__all__:
        assert getattr(tl_infer, name) is not None
    assert set(tl_infer.__all__) <= set(dir(tl_infer))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tl_infer.nothing


def test_an_array_that_is_used_again_gives_each_of_its_images(classifier):
    colors = ["red", "#00ff00", "blue"] * 8
    buffer = plain("black", (300, 300)).copy()

    def frames():
        for color in colors:
            buffer[:] = plain(color, (1, 1))
            yield buffer

    labels = [result.label for result in classifier.classify_many(frames())]
    assert labels == ["red", "green", "blue"] * 8


def test_errors_that_are_kept_do_not_keep_their_files(classifier):
    tracemalloc.start()
    try:
        errors = list(classifier.classify_many(b"\xff\xd8\xff" + bytes(1_000_000 + number) for number in range(20)))
        assert tracemalloc.get_traced_memory()[0] < 5_000_000
    finally:
        tracemalloc.stop()
    assert all("not an image" in error.reason for error in errors)


def test_a_pil_image_that_several_threads_load_gives_its_own_answer(classifier):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    noise[:200, :, 0] = 255
    Image.fromarray(noise).save(file, "PNG")
    answers = [classifier.classify_many([Image.open(file)] * 8, top_k=None) for _ in range(5)]
    assert {result.top for each in answers for result in each} == {classifier.classify(file.getvalue(), None).top}


def test_a_batch_is_an_array(classifier):
    with pytest.raises(TypeError, match="found list"):
        classifier.classify_batch([plain("red")])


@pytest.mark.parametrize(
    "image",
    ["photo.jpg", b"\xff\xd8", bytearray(b"\xff\xd8"), plain("red"), plain("red")[:, :, 0]],
    ids=["path", "bytes", "bytearray", "array", "grey"],
)
def test_one_image_is_not_taken_for_many(classifier, image):
    with pytest.raises(TypeError, match="expected several images, found one"):
        classifier.classify_many(image)
