"""What `tl-infer` does with its options: open the model, classify or describe, and print."""

import importlib
import threading

import click

from tl_infer.classifier import Classifier
from tl_infer.cli.options import Options
from tl_infer.model.modelfile import read_model
from tl_infer.model.opening import check_providers
from tl_infer.results import SelfTest


def run(options: Options) -> int:
    """Do what the options say; the exit code.

    Raises:
        TlError: anything fatal.
        click.UsageError: `--top-k` asks for more classes than the model has, or `--sort-into` cannot be done with it.

    """
    if options.engine == "ray":
        from tl_infer.cli.cluster import run_on_ray  # here, because most runs do without

        return run_on_ray(options)
    classifier = _open(options)
    if not options.paths:
        return _describe(classifier, options)
    classes = len(classifier.labels)
    if options.top_k is not None and options.top_k > classes:
        raise click.BadParameter(f"found {options.top_k}, the model has {classes} classes.", param_hint="'--top-k'")
    if options.sort_into is not None and classifier.gives_several:
        raise click.UsageError(
            "--sort-into needs a model that gives one label; this one may give several, and an image has one place. "
            "Use --out FILE.csv, whose column 'labels' has them all."
        )
    from tl_infer.cli.classifying import classify  # here, because `_open` imports it meanwhile

    return classify(classifier, options)


def _open(options: Options) -> Classifier:
    providers = check_providers(options.providers or None)
    model = read_model(options.model, options.sha256)
    if options.paths:
        # A model is opened in native code, which leaves the interpreter free to import what classifying needs.
        threading.Thread(target=importlib.import_module, args=["tl_infer.cli.classifying"]).start()
    return Classifier(
        model,
        threads=options.threads,
        providers=providers,
        limits=options.limits,
        for_many=bool(options.paths) and not options.is_one_file,
    )


def _describe(classifier: Classifier, options: Options) -> int:
    if options.info:
        from tl_infer.cli.info import info_lines

        click.echo("\n".join(info_lines(classifier)))
    if options.self_test:
        found = classifier.self_test()
        click.echo(
            f"self-test passed: {found.samples} samples, largest difference {found.max_difference:.2g}, tolerance "
            f"{found.tolerance:.2g}{_of_familiarity(found)}"
        )
    return 0


def _of_familiarity(found: SelfTest) -> str:
    if found.max_familiarity_difference is None:
        return ""
    return f"; of the familiarity {found.max_familiarity_difference:.2g}, tolerance {found.familiarity_tolerance:.2g}"
