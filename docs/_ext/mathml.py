"""Formulas as MathML, which browsers draw themselves: no script, no font and no network."""

import re

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

# A function's name, with its base, has a space behind a factor, and before what it is of unless a
# bracket opens there.
NAME = r"(?:(?<!<msub>)<mi>(?:log|exp|max|min|det)</mi>|<msub><mi>log</mi><mn>\d+</mn></msub>)"
OPERATOR = re.compile(rf"({NAME})(?!<mo stretchy=\"false\">&#x00028;)")
FACTOR = re.compile(rf"(</(?:mi|mn|msub|msup|msubsup)>)(?={NAME})")
SPACE = "<mspace width='0.17em' />"

# Relations and separators that the converter takes for names, so that no space is about them.
SIGNS = {"<mi>&#x0007E;</mi>": "<mo>&#x0223C;</mo>", "<mi>;</mi>": '<mo separator="true">;</mo>'}

logger = logging.getLogger(__name__)


def drawn(node: nodes.math | nodes.math_block, display: str) -> str:
    """Return a formula's MathML; a command that nothing is known of is a warning."""
    mathml = FACTOR.sub(rf"\1{SPACE}", convert(node.astext(), display=display))
    mathml = OPERATOR.sub(rf"\1{SPACE}", mathml)
    for name, sign in SIGNS.items():
        mathml = mathml.replace(name, sign)
    unknown = re.findall(r">[^<>]*(\\\w+|&(?![#\w]))[^<>]*<", mathml)
    if unknown:
        logger.warning("the formula %r has unknown commands: %s", node.astext(), unknown)
    return mathml


def inline(writer: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a sentence."""
    writer.body.append(drawn(node, "inline"))
    raise nodes.SkipNode


def block(writer: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on a line of its own, which scrolls where the page is too narrow."""
    writer.body.append(f'<div class="math">{drawn(node, "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
