"""What MkDocs calls while it builds the site: pages that are made from the code and the rows.

A page with a template beside it, as `which-loss.md.j2`, is made from it: every number comes from a
file in `results/`.
"""

import io
import sys
from pathlib import Path

from mkdocs.structure.files import File

# MkDocs loads this file by its path.
sys.path.insert(0, str(Path(__file__).parent))

import nglkeras  # noqa: F401, I001 - before Keras: it keeps TensorFlow's start-up lines off the screen
import generated

_PROJECT = Path(__file__).parents[2]
_pages = generated.Pages(_PROJECT)


def on_config(config):
    """Put the generated pages into the navigation, in place of their name."""
    config.nav = _with(config.nav, _pages.navigation)
    return config


def _with(entries, generated):
    if isinstance(entries, list):
        return [_with(entry, generated) for entry in entries]
    if isinstance(entries, dict):
        return {title: _with(entry, generated) for title, entry in entries.items()}
    return generated.get(entries, entries)


def on_files(files, config):
    """Add what is generated to the files of the site."""
    for name, content in _pages.files():
        if hasattr(content, "savefig"):
            buffer = io.BytesIO()
            content.savefig(buffer, format=Path(name).suffix[1:])
            content = buffer.getvalue()
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Recompute a page that has a template, and make the project's links the site's."""
    place = page.file.src_uri
    source = generated.SOURCES.get(place, f"docs/{place}")
    return generated.linked(_pages.recomputed(source) or markdown, place, source)
