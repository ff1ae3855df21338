"""Sphinx: the pages beside this file, the reference from the docstrings, the gallery from examples/.

    pip install ".[docs]" && sphinx-build -W docs build/docs

Nothing is fetched: no intersphinx, and formulas become MathML, which browsers draw without a script.
"""

from __future__ import annotations

import builtins
import os
import re
from typing import Any

os.environ["FASTOPT_GALLERY"] = "1"  # examples leave their figure open instead of writing a file
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads of BLAS only hinder small networks
builtins.__file__ = "example"  # type: ignore[attr-defined]  # sphinx-gallery gives scripts none; nothing reads it

from docutils import nodes  # noqa: E402
from docutils.utils.math import MathError  # noqa: E402
from docutils.utils.math.latex2mathml import tex2mathml  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402
from sphinx.util import logging  # noqa: E402

import fastopt  # noqa: E402

project = "fastopt"
author = "fastopt developers"
copyright = author
version = release = fastopt.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_templates"]
templates_path = ["_templates"]
default_role = "autolink"  # `name` in a docstring is a link where there is such a name, and code elsewhere

# The reference: what a module names in __all__, wherever it was written.
autosummary_ignore_module_all = False
autosummary_imported_members = True
autosummary_context = {"shown_above": {"fastopt.data": ["Batches"]}}  # a class has one page, here fo.Batches
autosummary_filename_map = {  # one file each, also where capitals do not count: fo.meta.Continuation and continuation
    f"fastopt.{module}.{name}": f"fastopt.{module}.{name}-class"
    for module in ("diagnostics", "init", "meta", "nn", "norm", "data", "schedules")
    for names in (getattr(fastopt, module).__all__,)
    for name in names
    if name != name.lower() and name.lower() in names
}
autodoc_typehints = "none"  # the docstrings say it in words
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False

myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]

sphinx_gallery_conf: dict[str, Any] = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r".*\.py",  # all are run
    "ignore_pattern": r"(study|__init__)\.py$",
    "copyfile_regex": r"index\.rst",  # the order of the gallery stands in examples/index.rst
    "abort_on_example_error": True,
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("fastopt",),
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "download_all_examples": False,
}

html_theme = "alabaster"
html_theme_options = {
    "description": fastopt.__doc__.partition(": ")[2].rstrip("."),
    "page_width": "1100px",
    "sidebar_width": "230px",
    "sidebar_collapse": True,
}
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False

logger = logging.getLogger(__name__)


def mathml(translator: Any, node: Any, block: bool) -> None:
    tex = node.astext().replace(r"\dots", r"\ldots")  # two things that docutils does not know
    tex = re.sub(r"frac(\d)(\d)", r"frac{\1}{\2}", tex)
    try:
        text = str(tex2mathml(tex, as_block=block))
    except MathError as error:
        logger.warning("this formula is not understood (%s): %s", error, node.astext(), location=node)
        text = f"<code>{translator.encode(node.astext())}</code>"
    translator.body.append(f'<div class="math">{text}</div>' if block else text)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(lambda translator, node: mathml(translator, node, False), None),
        block_renderers=(lambda translator, node: mathml(translator, node, True), None),
    )
