"""`report.html`: everything about a study on one page that works offline."""

from __future__ import annotations

from pathlib import Path

from analysis.description import Root
from analysis.files import place_in, write_whole
from analysis.reporting import html, sections
from analysis.reporting.glossary import glossary
from cfsweep.errors import InputError


def report(root: Root, out: Path | None = None) -> Path | str:
    """Writes the report of the study in `root` to `out` (`report.html` in `root`) and returns its path, or its address.
    An earlier page there is replaced, and nothing that is none: `out` ends in `.html`.

    The study may be unfinished, or have no finished trial yet: the page says so.

    Raises:
        InputError: `root` holds no study, `out` is to be no page, or it cannot be written.
    """
    if out is not None and out.suffix.lower() != ".html":
        raise InputError(f"--out {out}: the report is a page. Give a name that ends in .html.")
    target = place_in(root, "report.html") if out is None else out
    text = render(root).encode()
    return write_whole(target, lambda file: file.write(text))


def render(root: Root) -> str:
    """The report as one HTML document."""
    content = sections.content_of(root)
    body = [
        sections.headline(content),
        sections.front_section(content),
        sections.choice_section(content),
        sections.matrix_section(content),
        sections.parallel_section(content),
        sections.importance_section(content),
        sections.progress_section(content),
        sections.curves_section(content),
        sections.table_section(content),
        sections.failed_section(content),
        "</main>",
        glossary(content.about, content.found),
    ]
    title = f"Sweep of {content.about.where or content.about.study_id}"
    return html.document(title, _subtitle(content), [part for part in body if part])


def _subtitle(content: sections.Content) -> str:
    about = content.about
    n_trials = int((content.trials["trial"] >= 0).sum())
    planned = f" of {about.trials} planned" if about.trials else ""
    seeds = f", {about.seeds} seed(s) each" if about.seeds else ""
    seeds += f" on {about.splits} splits in turns" if about.splits > 1 else ""
    return (
        f"Study {about.study_id}: {n_trials}{planned} trials{seeds}. Every score is {about.score} on validation data."
    )
