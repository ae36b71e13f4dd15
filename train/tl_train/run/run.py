"""`train(config, out)`: one training run from images to a folder with the model, its figures and its report."""

import collections
import contextlib
import os
import time
from pathlib import Path

from tl_infer.system.files import write_text
from tl_train.config import TrainConfig
from tl_train.config.choices import size_in_words
from tl_train.data.dataset import load_dataset
from tl_train.data.sources.reading import read_source
from tl_train.familiarity.unknowns import unknown_files
from tl_train.history import History
from tl_train.models.weight_files import read_weights
from tl_train.preflight.findings import Preflight
from tl_train.preflight.preflight import preflight
from tl_train.progress import Progress
from tl_train.run.choose_architecture import compare_architectures, with_chosen
from tl_train.run.familiarity import fit_and_try
from tl_train.run.judge import TrainedNetwork, calibrate, evaluate_held_out, suspects
from tl_train.run.judge_labels import judged_labels
from tl_train.run.learn import learn, learn_along
from tl_train.run.prepare import check_counts, check_network, prepare
from tl_train.run_folder.compared import ComparedArchitecture, load_compared, save_compared
from tl_train.run_folder.folder import RunFolder
from tl_train.run_folder.result import TrainResult
from tl_train.run_folder.save import save_run
from tl_train.run_folder.save_multi_label import save_multi_label_run
from tl_train.run_folder.suspects_file import write_fixes
from tl_train.run_folder.workplace import Workplace
from tl_train.setup import Setup
from tl_train.training.checkpoints import discard_checkpoints
from tl_train.training.memory import return_freed_memory
from tl_train.training.processes import check_processes, is_first_process, wait_for_all, with_others


def train(
    config: TrainConfig,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    command: str = "",
) -> TrainResult:
    """Fine-tune a network on images and write the run to `out`.

    With several devices the whole program runs once in each process. The first one's result is whole; the others know
    the epochs alone; which one this is, torchrun's RANK in the environment tells.

    Args:
        config: every choice of the run.
        out: folder to make, or an empty one.
        overwrite: replace an earlier run in that folder, once this one is complete.
        resume: continue the unfinished run in that folder, to the weights it would have had without the interruption.
        progress: how to show what goes on; silent when None.
        command: the command line, for the report.

    Raises:
        TlError: anything the user can put right: data, weights, options, the output folder.

    """
    out, progress, deadline = Path(out), progress or Progress(), time.monotonic() + 60 * config.model.time_limit
    check_processes(config.steps.devices)
    if not is_first_process():
        return _train_along(config, out)
    place = Workplace.at(out)
    place.check(config, overwrite=overwrite, resume=resume)
    compared = _compare(config, place, progress, stored=resume)
    setup = prepare(with_chosen(config, compared) if compared else config, progress)

    with place.held(), with_others(config.steps.devices):
        # Nothing of an earlier run is touched before everything that the user could have got wrong has been tried.
        _begin(config, setup, place, progress, resume=resume)
        if compared:
            save_compared(place.work.architectures_file, compared)
        return_freed_memory()
        started = time.perf_counter()
        learned = learn(setup, place.work.path, progress, deadline)
        seconds = time.perf_counter() - started
        return_freed_memory()
        network = TrainedNetwork(setup, learned)
        if setup.dataset.has_several:
            result, save = judged_labels(network, out, seconds, progress), save_multi_label_run
        else:
            result, save = _judged(network, out, compared, seconds, progress), save_run
        save(result, place.work, setup, command)
        discard_checkpoints(place.work.path)
        place.finish()
        wait_for_all()
        return result


def _train_along(config: TrainConfig, out: Path) -> TrainResult:
    """A run in any process but the first, which finds the images, judges the network and writes the folder."""
    with with_others(config.steps.devices):
        started = time.perf_counter()
        history = learn_along(out)
        seconds = time.perf_counter() - started
        wait_for_all()
        return TrainResult.of_steps(out, history, seconds)


def dry_run(
    config: TrainConfig, out: str | os.PathLike[str] | None = None, *, progress: Progress | None = None
) -> Preflight:
    """Look at the images as `train` would, and stop there.

    Unreadable images are findings here, whether or not `skip_bad` is set.

    Args:
        config: every choice of the run.
        out: folder for config.toml and preflight.json, in which the run itself may follow; None writes nothing.
        progress: gets the findings as notes.

    Raises:
        TlError: the data cannot be trained on, the network cannot be built, or the output folder cannot be used.

    """
    progress = progress or Progress()
    place = None if out is None else Workplace.at(Path(out))
    if place is not None:
        place.check(config, overwrite=False, resume=False)  # nothing here is worth an earlier run
    unknown_files(config.data.unknown)
    source = read_source(config, progress)
    check_network(config, len(source.labels))
    dataset = load_dataset(config.changed(skip_bad=True), source, progress)
    findings = preflight(dataset)
    with contextlib.nullcontext() if place is None else place.held():
        if place is not None:
            place.start(config)
        _report_preflight(findings, None if place is None else place.work, progress)
    check_counts(config, dataset)
    return findings


def _begin(config: TrainConfig, setup: Setup, place: Workplace, progress: Progress, *, resume: bool) -> None:
    """Say what is trained on, and put down what is known before anything is learned."""
    if not resume:
        place.start(config)
        _report_preflight(setup.findings, place.work, progress)
        _report_fixes(setup, place.work, progress)
    progress.note(_opening(setup))
    if (use := config.steps.use_of_validation) and setup.dataset.val and not setup.dataset.test:
        progress.note(f"Warning: no test images; the validation images {use}, so the accuracy will be too high; "
                      "set --test-split")  # fmt: skip
    if resume:
        _go_on(config, setup, place, progress)
        # Also where nothing is new: the run may have been killed before it wrote them.
        _save_preflight(setup.findings, place.work)
        if setup.dataset.fixes:
            write_fixes(place.work.fixes_file, setup.dataset)


def _judged(
    network: TrainedNetwork,
    out: Path,
    compared: tuple[ComparedArchitecture, ...],
    seconds: float,
    progress: Progress,
) -> TrainResult:
    """Calibrate what was learned, and see how good it is."""
    setup, learned = network.setup, network.learned
    calibration = calibrate(network)
    return_freed_memory()  # what the network was run in for the calibration; here it is run in onnxruntime
    familiarity = fit_and_try(network, progress)
    return_freed_memory()
    for note in filter(None, (*calibration.notes, familiarity.note)):
        progress.note(note)
    return TrainResult(
        out=out,
        labels=setup.dataset.labels,
        history=learned.history.epochs,
        evaluation=evaluate_held_out(network, calibration),
        calibration=calibration,
        seconds=seconds,
        kept_epoch=learned.history.kept_epoch,
        parameters=setup.network.count_parameters(),
        prior=setup.prior,
        penalised=learned.head.penalised,
        tried=learned.tried(),
        label_errors=suspects(network, progress),
        interrupted=learned.interrupted,
        architectures=compared,
        step_form="" if learned.form is None else str(learned.form),
        activation_difference=None if learned.stages is None else learned.stages.largest_difference,
        familiarity=familiarity,
    )


def _compare(
    config: TrainConfig, place: Workplace, progress: Progress, *, stored: bool
) -> tuple[ComparedArchitecture, ...]:
    """What the architectures compared came to, if several are; a run that goes on chooses nothing anew."""
    if not config.model.compares:
        return ()
    before = place.before.architectures_file
    # A run that was killed before it wrote them has learned nothing either.
    return load_compared(before) if stored and before.exists() else compare_architectures(config, progress)


def _go_on(config: TrainConfig, setup: Setup, place: Workplace, progress: Progress) -> None:
    """With more epochs than before: what that means, and the place where a finished run ended."""
    run = place.before
    before, now = run.config().steps.epochs, config.steps.epochs
    if now == before:
        return
    is_finished = run.is_finished()
    history = run.kept_history() if is_finished else History([], 0)
    begins_anew = is_finished and not history.kept_epoch
    progress.note(f"{now} epochs instead of {before}" + (
        f", from the first one on: {run} kept its head, and nothing of its epochs"
        if begins_anew
        else f": the learning rate follows the schedule of {now} epochs from here on, so the weights are not those of "
        f"a run that was begun with {now}"
    ))  # fmt: skip
    place.go_on(config)
    if is_finished and not begins_anew:
        from tl_train.training.epochs import checkpoint_finished  # which imports lightning

        checkpoint_finished(setup, read_weights(run.weights_file), history, place.work.path)


def _report_fixes(setup: Setup, run: RunFolder, progress: Progress) -> None:
    """Record what was decided about labels, before anything is learned from it."""
    fixes = setup.dataset.fixes
    if not fixes:
        return
    counted = collections.Counter(fix.action for fix in fixes)
    progress.note(
        f"{setup.config.data.fix}: {counted['relabel']} image(s) relabelled, {counted['drop']} dropped, "
        f"{counted['keep']} kept as they are"
    )
    write_fixes(run.fixes_file, setup.dataset)


def _report_preflight(findings: Preflight, run: RunFolder | None, progress: Progress) -> None:
    for line in findings.lines():
        progress.note(line)
    if run is not None:
        _save_preflight(findings, run)


def _save_preflight(findings: Preflight, run: RunFolder) -> None:
    write_text(run.preflight_file, findings.to_json() + "\n")


def _opening(setup: Setup) -> str:
    config, dataset, size = setup.config, setup.dataset, size_in_words(setup.preprocessor.spec.size)
    counts = f"{len(dataset.train)} to train, {len(dataset.val)} to validate, {len(dataset.test)} to test"
    return (
        f"{config.data.source}: {len(dataset.labels)} classes, {counts}. "
        f"{config.model.arch} ({config.model.mode}) at {size} px, weights {config.model.weights}"
    )
