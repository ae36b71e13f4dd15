"""A hook of mkdocs: the pages at the root of the repository are pages of the site, too, and links lead to them."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = ("CHANGELOG", "CONTRIBUTING", "SECURITY")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them, with links to docs/ as seen from there."""
    for name in PAGES:
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, f"{name.lower()}.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Lead links out of docs/ to where those pages are on the site."""
    return re.sub(rf"\]\(\.\./({'|'.join(PAGES)})\.md", lambda match: f"]({match[1].lower()}.md", markdown)
