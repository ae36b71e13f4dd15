"""Classify the images of a folder, or of any place that Spark reads, with Spark: a row per file, as parquet.

usage: spark_classify.py [-h] [--top-k N] model images out

The model travels once to each machine and is opened once for each partition; a file that is not an image gives a row
with its error. Spark repeats the partitions of a machine that fails. Needs pyspark, pandas and pyarrow, and Java.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
from pyspark import Broadcast
from pyspark.sql import SparkSession

from tl_infer import Classification, Classifier, ImageError, TlError

COLUMNS = {
    "path": "string", "label": "string", "labels": "array<string>", "probability": "double",
    "top": "array<struct<label: string, probability: double>>", "abstained": "boolean", "reason": "string",
    "error": "string",
}  # fmt: skip
SCHEMA = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())


def row(path: str, result: Classification | ImageError) -> tuple[object, ...]:
    """The values of a file, in the order of the columns."""
    if isinstance(result, ImageError):
        return path, None, [], None, [], False, None, result.reason
    top = [{"label": score.label, "probability": score.probability} for score in result.top]
    return path, result.label, list(result.labels), result.probability, top, result.abstained, result.reason, None


def classifying(model: Broadcast, top_k: int) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    """The function that Spark calls with the frames of a partition, for `mapInPandas`."""

    def classify(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        with Classifier(model.value, threads=1, for_many=True) as classifier:  # Spark has a process per processor
            for frame in frames:
                results = classifier.classify_many(map(bytes, frame["content"]), top_k)
                rows = [row(path, result) for path, result in zip(frame["path"], results, strict=True)]
                yield pd.DataFrame(rows, columns=list(COLUMNS))

    return classify


def main() -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("images", help="folder or URI; all files below it")
    parser.add_argument("out", help="folder or URI for the parquet files; must not exist")
    parser.add_argument("--top-k", type=int, default=1, metavar="N")
    options = parser.parse_args()
    try:
        Classifier(options.model, threads=1).close()
    except TlError as error:
        print(f"spark_classify: {error}", file=sys.stderr)
        return 1
    spark = SparkSession.builder.getOrCreate()
    model = spark.sparkContext.broadcast(options.model.read_bytes())
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(options.images)
    rows = files.select("path", "content").mapInPandas(classifying(model, options.top_k), SCHEMA)
    rows.write.parquet(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
