"""The Open Inference Protocol v2: what a client of KServe, Triton or OpenVINO Model Server sends and gets."""

import base64
import json
import struct

import numpy as np
import pytest

from support.service import png
from tl_infer import Classifier

RED, GREEN, UNSURE = png("red"), png((0, 255, 0)), png((120, 110, 100))
INFER = "/v2/models/colors/infer"


def request(*images, **more):
    data = [base64.b64encode(image).decode() for image in images]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": data}
    return json.dumps({"inputs": [tensor], **more}).encode()


def outputs(answer):
    return {output["name"]: output["data"] for output in answer["outputs"]}


def test_health_and_metadata(service, colors):
    assert service.ask("/v2/health/live") == (200, {"live": True})
    assert service.ask("/v2/health/ready") == (200, {"ready": True})
    assert service.ask("/v2")[1]["extensions"] == ["binary_tensor_data"]
    assert service.ask("/v2/models/colors/ready") == (200, {"name": "colors", "ready": True})
    status, model = service.ask("/v2/models/colors")
    with Classifier(colors) as classifier:
        assert model["parameters"] == {"labels": ["red", "green", "blue"], "sha256": classifier.sha256}
    assert status == 200
    assert model["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]} in model["outputs"]
    assert {"name": "embedding", "datatype": "FP32", "shape": [-1, 3]} in model["outputs"]
    version = model["versions"][0]
    assert service.ask(f"/v2/models/colors/versions/{version}")[1] == model
    assert service.ask(f"/v2/models/colors/versions/{version}/ready")[0] == 200
    assert service.ask("/v2/models/colors/versions/1")[0] == 404
    assert service.ask("/v2/models/cats") == (404, {"error": "no model 'cats', only colors, familiar"})


def test_images_in_json(service, colors):
    status, answer = service.ask(INFER, request(RED, GREEN, UNSURE, id="42"))
    assert (status, answer["id"], answer["model_name"]) == (200, "42", "colors")
    found = outputs(answer)
    assert found.keys() == {"label", "probabilities", "abstained", "reason"}
    assert found["label"] == ["red", "green", ""]
    assert (found["abstained"], found["reason"]) == ([False, False, True], ["", "", "unsure"])
    with Classifier(colors, threads=1) as classifier:
        for row, image in zip(np.reshape(found["probabilities"], (3, 3)), (RED, GREEN, UNSURE), strict=True):
            scores = {score.label: score.probability for score in classifier.classify(image, None).top}
            assert row.tolist() == [scores[label] for label in classifier.labels]
    assert service.ask(INFER, request(UNSURE, parameters={"threshold": 0}))[1]["outputs"][0]["data"] == ["red"]


def test_images_behind_the_json_and_outputs_behind_it(service, colors):
    tensor = {"name": "image", "datatype": "BYTES", "shape": [2]}
    binary = b"".join(struct.pack("<I", len(image)) + image for image in (RED, GREEN))
    for parameters in ({}, {"parameters": {"binary_data_size": len(binary)}}):
        asked = [{"name": "label"}, *({"name": name, "parameters": {"binary_data": True}}
                                      for name in ("embedding", "reason"))]  # fmt: skip
        head = json.dumps({"inputs": [tensor | parameters], "outputs": asked}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        status, sent, content = service.exchange(INFER, head + binary, headers)
        assert status == 200
        length = int(sent["Inference-Header-Content-Length"])
        label, embedding, reason = json.loads(content[:length])["outputs"]
        assert label["data"] == ["red", "green"]
        assert (embedding["shape"], embedding["parameters"]) == ([2, 3], {"binary_data_size": 24})
        assert reason["parameters"] == {"binary_data_size": 8}
        values = np.frombuffer(content[length : length + 24], "<f4").reshape(2, 3)
        with Classifier(colors, threads=1) as classifier:
            np.testing.assert_array_equal(values, [classifier.embed(image) for image in (RED, GREEN)])
        assert content[length + 24 :] == bytes(8), "two empty texts"


def test_a_bad_image_is_the_error_of_its_request_unless_errors_are_asked_for(service):
    assert service.ask(INFER, request(RED, b"no picture")) == (
        422, {"error": "image 2 of 2: not an image in a known format (JPEG, PNG, WEBP, GIF, BMP, TIFF)"}
    )  # fmt: skip
    assert service.ask(INFER, request(b""))[1] == {"error": "the file is empty"}
    asked = [{"name": "label"}, {"name": "error"}, {"name": "probabilities"}]
    status, answer = service.ask(INFER, request(RED, b"", outputs=asked))
    found = outputs(answer)
    assert (status, found["label"], found["error"]) == (200, ["red", ""], ["", "the file is empty"])
    assert found["probabilities"][3:] == [0, 0, 0]


def changed(**values):
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(RED).decode()]}
    return json.dumps({"inputs": [{key: value for key, value in (tensor | values).items() if value is not None}]})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", "the request is not JSON; images follow it, or are base64 in it"),
        (b"[" * 100_000, "the request is not JSON; images follow it, or are base64 in it"),
        (b"[]", "request: found 'list', expected a JSON object"),
        (b"{}", "inputs: expected a list of one, 'image'"),
        (changed(name="x"), "input's name: found 'x', expected image"),
        (changed(datatype="FP32"), "input's datatype: found 'FP32', expected BYTES"),
        (changed(shape=[2]), "input's shape: found [2], expected [1], as there are so many images"),
        (changed(shape=[True]), "input's shape: found [True], expected [N], the number of images"),
        (changed(shape=[0], data=[]), "input's shape: found [0], expected [N], the number of images"),
        (changed(data=["%"]), "input's data: not base64, expected a list of image files in base64"),
        (changed(data=[1]), "input's data: expected a list of image files in base64"),
        (changed(data=None), "input's shape: found [1], expected [0], as there are so many images"),
        (request(RED, id=1), "id: found 1, expected a string"),
        (request(RED, parameters={"thresh": 1}), "parameters: found 'thresh', expected one of threshold, "
                                                 "min_familiarity, binary_data_output"),
        (request(RED, parameters={"threshold": "1"}), "threshold: found '1', expected 0 to 1"),
        (request(RED, parameters={"threshold": 2}), "threshold: found 2, expected 0 to 1"),
        (request(RED, outputs=[{"name": "logits"}]), "outputs: found 'logits', expected a list of label, "
                                                     "probabilities, abstained, reason, embedding, error, each once"),
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense(service, body, error):
    body = body.encode() if isinstance(body, str) else body
    assert service.ask(INFER, body) == (400, {"error": error})


@pytest.mark.parametrize("length", ["-1", "1e2", "100000", "\xb2", "0" * 5000])
def test_a_json_length_that_makes_no_sense(service, length):
    status, answer = service.ask(INFER, request(RED), **{"Inference-Header-Content-Length": length})
    assert status == 400
    assert answer["error"].startswith("Inference-Header-Content-Length: found ")


def test_an_id_that_cannot_be_sent_back(service):
    status, answer = service.ask(INFER, json.dumps(json.loads(request(RED)) | {"id": "\ud800"}).encode())
    assert (status, answer) == (400, {"error": r"id: found '\ud800', expected a string"})


@pytest.mark.parametrize("binary", [b"\1", b"\1\0\0\0", struct.pack("<I", 2**32 - 1) + b"x"])
def test_binary_data_that_are_cut(service, binary):
    head = changed(data=None).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    error = {"error": "binary data: cut short; expected each image behind its length in four bytes"}
    assert service.ask(INFER, head + binary, **headers) == (400, error)


def test_more_images_than_may_wait_are_refused_before_they_are_made(service):
    error = {"error": "more than 64 images in one request, the limit"}
    assert service.ask(INFER, request(*[b"x"] * 65)) == (413, error)
    head = changed(shape=[65], data=None).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    assert service.ask(INFER, head + bytes(4 * 65), **headers) == (413, error)
    status, answer = service.ask(INFER, request(RED, parameters={"of nothing": [0] * 2000}))
    assert (status, answer) == (413, {"error": "JSON of more than 1064 values, the limit"})


def test_the_document_describes_what_is_there(service):
    status, document = service.ask("/openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    for path, about in document["paths"].items():
        place = path.format(name="colors", version=service.ask("/v2/models/colors")[1]["versions"][0])
        if "get" in about:
            assert service.exchange(place, None, {})[0] == 200
        else:
            assert service.ask(place, b"x")[0] in (400, 422)
    text = json.dumps(document)
    for name in set(text.split("#/components/schemas/")[1:]):
        assert name.split('"')[0] in document["components"]["schemas"]
    answer = service.ask("/classify?model=colors", RED)[1]
    assert answer.keys() == set(document["components"]["schemas"]["Answer"]["required"])
