"""The documentation site: `sphinx-build -W -c docs . build/site`, after `pip install ".[docs]"`.

The source is the whole repository, so that a link means the same here and where files are read as
they lie. Pages are Markdown (MyST). Those in tutorials/ are notebooks: their cells run while the
site is built, and an exception in one fails the build.
"""

import os
import re
import sys
from pathlib import Path

import latentmix

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
# Tutorials call `latentmix`, which is beside this python.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

project = "latentmix"
author = "the latentmix contributors"
project_copyright = "the latentmix contributors, Apache-2.0"
release = version = latentmix.__version__

root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "benchmarks/**.md"]
exclude_patterns = ["docs/_ext", "docs/conf.py"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "mathml",
    "shipped_tables",
]

# Notebooks in Markdown: what cells print and draw is made by each build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_show_tb = True
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_fence_as_directive = ["math"]
html_math_renderer = "mathml"
myst_heading_anchors = 4

# The reference: docstrings in numpydoc's style, whose single backticks are names.
default_role = "py:obj"
add_module_names = False
smartquotes_action = "D"  # dashes alone: in docstrings quotes are code, most of them
maximum_signature_line_length = 80
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False
napoleon_custom_sections = [("Attributes", "params_style")]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = "latentmix"
html_static_path = ["_static"]
html_extra_path = ["_static/index.html"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0f5ea8", "color-brand-content": "#0f5ea8"},
    "dark_css_variables": {"color-brand-primary": "#7ab8f5", "color-brand-content": "#7ab8f5"},
}

# "X : (N, D)" in a docstring; in a list of parameters it would stand in two pairs of parentheses.
SHAPE = re.compile(
    r"^(\s*[\w, ]+ : )(\((?:\w+, ?)*\w*\))(?: (?:array|matrix))?(?: (?:of )?(int|bool|str)\b)?"
)


def say_array(app, what, name, obj, options, lines):
    """Write "array of shape (N, D)" where a docstring has the shape alone."""

    def written(found):
        begin, shape, kind = found.groups()
        return f"{begin}{f'{kind} ' if kind else ''}array of shape {shape}"

    lines[:] = [SHAPE.sub(written, line) for line in lines]


def name_functions(*told):
    """Write the name alone of a function that is a parameter's default."""
    *_, signature, returned = told
    return signature and re.sub(r"<function (\w+)>", r"\1", signature), returned


def setup(app):
    """Let the shapes be written out before napoleon reads the docstrings."""
    app.connect("autodoc-process-docstring", say_array, priority=400)
    app.connect("autodoc-process-signature", name_functions)
