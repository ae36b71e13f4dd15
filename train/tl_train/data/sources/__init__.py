"""Where images come from: the built-in sets, a folder, a CSV list, a `.mat` file."""

from tl_train.data.sources.reading import read_source as read_source
