"""Hooks of mkdocs: pages that are not Markdown in docs/ are pages of the site, too; names with hyphens stay whole."""

import json
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = ("CHANGELOG", "CONTRIBUTING", "SECURITY")
NOTEBOOK = "first-half-hour"
OPTION = re.compile(r"(?<![\w-])(--?[a-z0-9]+(-[a-z0-9]+)*|tl-(train|export|infer))(?![\w-])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages at the root of the repository, with links as seen from docs/, and the notebook."""
    for name in PAGES:
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, f"{name.lower()}.md", content=text))
    files.append(File.generated(config, f"{NOTEBOOK}.md", content=_notebook(ROOT / "docs" / f"{NOTEBOOK}.ipynb")))
    return files


def _notebook(path: Path) -> str:
    """Its cells as Markdown: text, and blocks of Python."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    parts = [f"```python\n{text}\n```" if kind == "code" else text for kind, text in texts]
    return "\n\n".join([*parts, f"This page is [a notebook]({path.name}) that you can download and run."])


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links out of docs/, and to the notebook, to where those pages are on the site."""
    markdown = re.sub(rf"\]\(\.\./({'|'.join(PAGES)})\.md", lambda match: f"]({match[1].lower()}.md", markdown)
    if page.file.src_uri == f"{NOTEBOOK}.md":
        return markdown
    return markdown.replace(f"]({NOTEBOOK}.ipynb)", f"]({NOTEBOOK}.md)")


def on_page_content(html: str, **_: object) -> str:
    """Mark options and programs in running text, which browsers would cut at their hyphens."""
    return re.sub(r"<code>[^<]*</code>", lambda code: OPTION.sub(r'<span class="option">\g<0></span>', code[0]), html)
