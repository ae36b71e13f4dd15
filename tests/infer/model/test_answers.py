"""What a model answers is held against the contract for every image, not only for the one it is tried on."""

import numpy as np
import pytest

from attacks import model_files
from support import onnx_bytes
from tl_infer import Classification, Classifier, ImageError, ModelFileError
from tl_infer.model.answers import wrong_answer

GREY, TALL = np.full((8, 8, 3), 128, np.uint8), np.full((16, 8, 3), 128, np.uint8)
RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)


@pytest.mark.parametrize(
    ("model", "image", "reason"),
    [
        (
            model_files.more_columns_for_taller_images(),
            TALL,
            r"'probabilities' has shape \(1, 6\) for 1 image",
        ),
        (model_files.five_times_as_sure_of_red(), RED, "'probabilities' does not hold probabilities that sum to 1"),
    ],
)
def test_a_wrong_answer_is_that_images_error(model, image, reason):
    classifier = Classifier(model)
    good, bad, again = classifier.classify_many([GREY, image, GREY], top_k=None)
    assert isinstance(good, Classification)
    assert isinstance(bad, ImageError)
    assert again == good
    for call in (classifier.classify, lambda image: classifier.classify_batch(image[np.newaxis])):
        with pytest.raises(ModelFileError, match=reason):
            call(image)


def test_embeddings_keep_their_size():
    classifier = Classifier(model_files.wider_embedding_for_wider_images())
    assert classifier.embed(GREY).shape == (8,)
    with pytest.raises(ModelFileError, match=r"'embedding' has shape \(1, 9\) for 1 image and 8 columns"):
        classifier.embed(np.zeros((8, 9, 3), np.uint8))
    (many,) = classifier.classify_many([np.zeros((8, 9, 3), np.uint8)], embedding=True)
    assert isinstance(many, ImageError), "another session, the same size"


@pytest.mark.parametrize(
    ("name", "values", "problem"),
    [
        ("probabilities", [[0.5, 0.6]], "sum to 1"),
        ("probabilities", [[1.5, -0.5]], "sum to 1"),
        ("probabilities", [[0.5, 0.5], [0.5, 0.5]], "has shape"),
        ("probabilities", [0.5, 0.5], "has shape"),
        ("probabilities", [[np.nan, 1]], "not finite"),
        ("logits", [[np.inf, 1]], "not finite"),
        ("logits", [[]], "has shape"),
        ("heatmap", [[[[]], [[]]]], "has shape"),
        ("probabilities", [[0.25, 0.75]], None),
        ("heatmap", [[[[-3.0]], [[5.0]]]], None),
    ],
)
def test_shapes_and_ranges(name, values, problem):
    found = wrong_answer(name, np.array(values, np.float32), 1, 2)
    assert found is None if problem is None else problem in found


@pytest.mark.parametrize("depth", [1, 100, 900, *range(960, 1000, 3), 100_000])
@pytest.mark.parametrize("metadata", ["spec", "golden"])
def test_metadata_nested_however_deep_are_refused(depth, metadata):
    with pytest.raises(ModelFileError, match=rf"tl.{metadata}: "):
        Classifier(onnx_bytes.color_model(**{metadata: model_files.nested(depth)}))


def test_labels_that_no_file_can_hold_are_refused():
    half = onnx_bytes.SPEC.to_json().replace('"red"', '"\\ud83d"')
    with pytest.raises(ModelFileError, match="half of a surrogate pair"):
        Classifier(onnx_bytes.color_model(half))
    whole = onnx_bytes.SPEC.to_json().replace('"red"', '"\\ud83d\\ude00"')
    assert Classifier(onnx_bytes.color_model(whole)).labels[0] == "\N{GRINNING FACE}"


@pytest.mark.parametrize("name", [b"image", b"probabilities"])
def test_names_that_are_no_text_are_refused(name):
    with pytest.raises(ModelFileError, match=r"damaged .*: byte \d+: a name that is not UTF-8"):
        Classifier(onnx_bytes.color_model().replace(name, b"\xff" * len(name)))


def test_a_provider_that_fails_is_named_with_its_words(monkeypatch):
    import onnxruntime

    opened = onnxruntime.InferenceSession

    def fails(model: bytes, options: object, providers: list[str]) -> object:
        if providers != ["CPUExecutionProvider"]:
            raise RuntimeError("Exception during initialization: no backend")
        return opened(model, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", fails)
    model = onnx_bytes.color_model(golden=onnx_bytes.golden_set())
    with pytest.raises(ModelFileError, match="damaged or not an ONNX model"):
        Classifier(model[:-40], providers=["AzureExecutionProvider"])
    from tl_infer import ProviderError

    with pytest.raises(ProviderError, match=r"provider 'AzureExecutionProvider': cannot open .*no backend"):
        Classifier(model, providers=["AzureExecutionProvider"])


def test_a_provider_that_fails_at_an_image_is_told_from_a_model_that_does(monkeypatch):
    import onnxruntime

    from tl_infer import ProviderError

    opened = onnxruntime.InferenceSession

    class Lost:
        """A device whose driver gives up once it is to compute."""

        def __init__(self, model: bytes, options: object, providers: list[str]) -> None:
            self._session = opened(model, options, providers=["CPUExecutionProvider"])
            self.get_providers = lambda: providers

        def __getattr__(self, name: str) -> object:
            return getattr(self._session, name)

        def run(self, *_arguments: object) -> None:
            raise RuntimeError("device lost")

    def open_on(model: bytes, options: object, providers: list[str]) -> object:
        return (opened if providers == ["CPUExecutionProvider"] else Lost)(model, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_on)
    model = onnx_bytes.color_model(golden=onnx_bytes.golden_set())
    with pytest.raises(ProviderError, match=r"provider 'AzureExecutionProvider': fails where .*: device lost"):
        Classifier(model, providers=["AzureExecutionProvider"])
    with pytest.raises(ProviderError, match=r"providers: found \[None\], expected a list of names"):
        Classifier(model, providers=[None])
