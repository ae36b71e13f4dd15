"""Where images come from: the built-in sets, a folder, a CSV list, a `.mat` file."""
