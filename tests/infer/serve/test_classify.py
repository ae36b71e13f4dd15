"""`POST /classify`: the same answers as a Classifier, errors that belong to one image, and what makes no sense."""

import base64
import json

import numpy as np
import pytest

from attacks import png_files
from support.service import png, read_all
from tl_infer import Classifier

RED, UNSURE = png("red"), png((120, 110, 100))


def multipart(*files):
    body = b""
    for field, name, data in files:
        named = "" if name is None else f'; filename="{name}"'
        body += f'--edge\r\nContent-Disposition: form-data; name="{field}"{named}\r\n\r\n'.encode() + data + b"\r\n"
    return body + b"--edge--\r\n"


FORM = {"Content-Type": "multipart/form-data; boundary=edge"}


def test_the_answers_are_those_of_a_classifier(service, colors):
    random = np.random.default_rng(0)
    with Classifier(colors, threads=1) as classifier:
        for _ in range(20):
            image = png(tuple(int(level) for level in random.integers(0, 256, 3)), (9, 5))
            expected = classifier.classify(image, None)
            status, answer = service.ask("/classify?model=colors&top_k=all", image)
            assert status == 200
            assert (answer["label"], answer["probability"]) == (expected.label, expected.probability)
            assert [(score["label"], score["probability"]) for score in answer["top"]] == [
                (score.label, score.probability) for score in expected.top
            ]
            assert (answer["abstained"], answer["reason"]) == (expected.abstained, expected.reason)
            assert answer["version"] == classifier.sha256[:12]


def test_the_query_decides(service):
    assert service.ask("/classify?model=colors", UNSURE)[1]["reason"] == "unsure"
    answer = service.ask("/classify?model=colors&threshold=0&top_k=2", UNSURE)[1]
    assert (answer["label"], len(answer["top"])) == ("red", 2)
    dim = png((40, 0, 0))
    answer = service.ask("/classify?model=familiar", dim)[1]
    assert (answer["reason"], round(answer["familiarity"], 3)) == ("unfamiliar", 0.157)
    assert service.ask("/classify?model=familiar&min_familiarity=0.1", dim)[1]["label"] == "red"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("", "model: missing, expected one of colors, familiar"),
        ("model=cats", "model: found 'cats', expected one of colors, familiar"),
        ("model=colors&top_k=4", "top_k: found 4, expected 1 to 3, the model's classes, or all"),
        ("model=colors&top_k=-1", "top_k: found '-1', expected a whole number from 1, or all"),
        ("model=colors&threshold=nan", "threshold: found nan, expected 0 to 1"),
        ("model=colors&threshold=much", "threshold: found 'much', expected 0 to 1"),
        ("model=colors&min_familiarity=0.5", "min_familiarity: model 'colors' does not tell how familiar images are"),
        ("model=colors&top_k=1&top_k=2", "top_k: found ['1', '2'], expected it once"),
        ("model=colors&topk=1", "query: found 'topk', expected one of model, top_k, threshold, min_familiarity"),
    ],
)
def test_a_query_that_makes_no_sense(service, query, error):
    assert service.ask(f"/classify?{query}", RED) == (400, {"error": error})


def test_an_image_that_cannot_be_read_is_an_error_of_one_line(service):
    status, answer = service.ask("/classify?model=colors", b"no picture")
    assert (status, answer["error"]) == (
        422, "not an image in a known format (JPEG, PNG, WEBP, GIF, BMP, TIFF)"
    )  # fmt: skip
    assert service.ask("/classify?model=colors", b"") == (422, {"error": "the file is empty"})
    assert service.ask("/classify?model=colors", RED[:-20])[0] == 422


def test_a_bomb_is_refused_and_the_next_image_is_answered(service):
    status, answer = service.ask("/classify?model=colors", png_files.bomb())
    assert status == 413
    assert "the limit is 50000000 in all" in answer["error"]
    assert service.ask("/classify?model=colors", RED)[1]["label"] == "red"


def test_several_images_have_a_row_each_and_a_bad_one_fails_alone(service):
    body = multipart(("a", "a.png", RED), ("b", "b\x1b.txt", b"no picture"), ("c", "", png((0, 255, 0))))
    status, answer = service.ask("/classify?model=colors", body, **FORM)
    assert status == 200
    rows = answer["results"]
    assert [(row["name"], row["label"]) for row in rows] == [("a.png", "red"), ("b\x1b.txt", None), ("c", "green")]
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert all(row.keys() == rows[0].keys() for row in rows)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (multipart(("a", "a.png", RED))[:-9], "the multipart body is cut short"),
        (multipart(), "no file in the multipart body"),
        (b"no edge", "the multipart body is damaged"),
        (multipart(("top_k", None, b"3")), "field 'top_k' is no file; options belong into the query"),
    ],
)
def test_a_damaged_form(service, body, error):
    assert service.ask("/classify?model=colors", body, **FORM) == (400, {"error": error})
    no_edge = {"Content-Type": "multipart/form-data"}
    assert service.ask("/classify?model=colors", body, **no_edge)[1] == {
        "error": "multipart/form-data without a boundary"
    }


def test_more_images_than_may_wait_are_refused(service):
    body = multipart(*[("a", f"{number}.png", b"x") for number in range(65)])
    error = {"error": "65 images in one request, the limit is 64"}
    assert service.ask("/classify?model=colors", body, **FORM) == (413, error)


def test_other_paths_and_methods(service):
    assert service.ask("/nothing") == (404, {"error": "no such path; /openapi.json has those that there are"})
    assert service.ask("/classify") == (405, {"error": "this path expects POST"})
    assert service.ask("/v2/health/live", b"") == (405, {"error": "this path expects GET, HEAD"})


def test_what_is_no_http_ends_the_connection_and_nothing_else(service):
    assert read_all(service.connect(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    head = b"POST /classify?model=colors HTTP/1.1\r\nHost: x\r\nContent-Length: 9%s\r\n\r\n"
    assert read_all(service.connect(head % (b"9" * 30))).startswith(b"HTTP/1.1 400 ")
    assert read_all(service.connect(head % b"\r\nContent-Length: 8")).startswith(b"HTTP/1.1 400 ")
    assert service.ask("/v2/health/live") == (200, {"live": True})


def test_the_log_has_a_line_for_each_request_and_metrics_count_the_images(service):
    before = service.exchange("/metrics", None, {})[2].decode()
    service.ask("/classify?model=familiar", RED)
    line = service.logged("request", model="familiar", status=200)
    assert line["images"] == 1
    assert line["client"] == "127.0.0.1"
    assert {"time", "level", "ms", "method", "route"} <= line.keys()
    after = service.exchange("/metrics", None, {})[2].decode()
    name = 'tl_images_total{model="familiar",outcome="label"} '

    def count(text):
        return sum(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))

    assert count(after) == count(before) + 1


def test_every_label_of_a_model_that_gives_several(several, start):
    service = start(several)
    yellow, black = png("yellow"), png("black")
    for image, labels in ((yellow, ["red", "green"]), (black, [])):
        _, answer = service.ask("/classify", image)
        assert (answer["labels"], answer["label"], answer["abstained"]) == (
            labels,
            labels[0] if labels else None,
            False,
        )
    images = [base64.b64encode(image).decode() for image in (yellow, black)]
    body = json.dumps({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [2], "data": images}]}).encode()
    _, answer = service.ask("/v2/models/several/infer", body)
    assert {output["name"]: output["data"] for output in answer["outputs"]}["labels"] == ["red|green", ""]


def test_the_labels_of_a_model_that_gives_one(service):
    assert [service.ask("/classify?model=colors", png(color))[1]["labels"] for color in ("red", "#605050")] == [
        ["red"],
        [],
    ]
