"""The command line: what to read and where to write, said at once; one line for an error.

Exit codes: 0; 2 usage, an unknown recipe or recipe key; 65 bad data or a changed byte;
66 a missing file or run; 70 a benchmark's run that failed; 74 a folder that cannot be written
or is in use, a full disk; 75 a cluster or a server of objects that failed; 130 Ctrl-C; 143 SIGTERM.
What was done by then is kept.
JAX, scikit-learn and plotting are imported by the commands that need them, when they do.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from latentmix import __version__
from latentmix.apps.cluster import cluster_of, cluster_options
from latentmix.apps.commands import register
from latentmix.apps.launch import join, launched_again, leave, part
from latentmix.apps.options import Benchmark, Settings
from latentmix.apps.signals import interrupt_again, is_sigterm, left_by_ctrl_c, terminate
from latentmix.errors import (
    ClusterError,
    InputError,
    IntegrityError,
    LatentmixError,
    MissingError,
    NotNamedError,
    ParameterError,
    RunFailedError,
    WriteError,
)

if TYPE_CHECKING:
    from latentmix.comparison.request import Request as Comparison
    from latentmix.data import Dataset
    from latentmix.runs.request import Request

EXIT_CODES: tuple[tuple[type[LatentmixError], int], ...] = (
    (ParameterError, 2),
    (InputError, 65),
    (IntegrityError, 65),
    (NotNamedError, 65),
    (MissingError, 66),
    (RunFailedError, 70),
    (ClusterError, 75),
    (WriteError, 74),
)
INTERRUPTED = 130
TERMINATED = 143


_no_cache = click.option("--no-cache", is_flag=True, help="Keep no compiled programs on disk.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="latentmix")
def cli() -> None:
    """Unlabelled data in; a representation, clusters, a classifier, a generator out."""
    # At its very first use matplotlib announces on standard error that it looks for fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


@cli.command(cls=Settings)
@click.argument("data", required=False)
@click.option("--recipe", default="default", show_default=True, help="A shipped one, or a .toml.")
@click.option("--labels", type=Path, metavar="FILE.csv", help="Row number or file name, label.")
@click.option("--set", "settings", multiple=True, metavar="A.B=C", help="Change a recipe's value.")
@click.option("--out", type=Path, metavar="DIR", help="Run folder.  [default: a new one in runs]")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("--resume", type=Path, metavar="RUN", help="Go on with a run that was stopped.")
@cluster_options
@_no_cache
def run(  # noqa: PLR0913  # a parameter for each option
    *,
    data: str | None,
    recipe: str,
    labels: Path | None,
    settings: tuple[str, ...],
    out: Path | None,
    seed: int,
    resume: Path | None,
    scheduler: str | None,
    workers: int | None,
    no_cache: bool,
) -> None:
    """Train on DATA, cluster, name, score and draw.

    DATA is a named data set (see `latentmix datasets`) or a path, or s3://BUCKET/NAME: IDX (also
    .gz), .npy, .npz, an image folder, CSV or Parquet. A run that was stopped goes on with --resume
    RUN. A cluster fits mixtures and encodes rows; the network is trained in this process.
    """
    from latentmix.data import name_of  # noqa: PLC0415
    from latentmix.runs.recipe import default_out, load_recipe  # noqa: PLC0415
    from latentmix.runs.request import Request, Source, request_of  # noqa: PLC0415

    join()
    command = ("latentmix", *sys.argv[1:])
    if resume is not None:
        _refuse_beside_resume()
        click.echo(f"Reading what {resume} was asked for, going on there")
        _show_downloads()
        request = request_of(resume, command)
    elif data is None:
        raise click.UsageError("Missing argument 'DATA'.", click.get_current_context())
    else:
        chosen = load_recipe(recipe, settings)
        folder = default_out(chosen, name_of(data), seed) if out is None else out
        click.echo(f"Reading {data}, writing to {folder}")
        _show_downloads()
        source = Source(data, labels)
        request = Request(chosen, source.read(chosen), folder, seed, command, source)
    click.echo(f"Read {request.dataset.describe()} from {request.dataset.source}")
    with _compiled_kept(no_cache=no_cache), cluster_of(scheduler, workers) as client:
        _carry_out(request, client)
    part()


def _carry_out(request: Request, client: Any) -> None:
    """Run a request, show how far it is, and at the end what was found."""
    from latentmix.apps.progress import progress  # noqa: PLC0415
    from latentmix.apps.summary import summary_of  # noqa: PLC0415
    from latentmix.runs.execute import attend, execute  # noqa: PLC0415
    from latentmix.training.data_parallel import leads  # noqa: PLC0415
    from latentmix.training.elsewhere import on_cluster  # noqa: PLC0415

    if not leads():
        attend(request)
        return
    try:
        with progress() as listener, on_cluster(client):
            metrics = execute(
                request, listener=listener, draw=lambda out: _draw(out, request.dataset)
            )
    except (KeyboardInterrupt, ClusterError):
        _say_how_to_go_on(request.out)
        raise
    click.echo(summary_of(metrics, request.out))
    _report(request.out)


def _report(run_folder: Path, out: Path | None = None) -> None:
    """Write the page of a finished run, and say where."""
    from latentmix.apps.report import write_report  # noqa: PLC0415

    click.echo(f"Report: {write_report(run_folder, out)}")


def _draw(run_folder: Path, dataset: Dataset | None = None) -> list[Path]:
    """Draw a run's pictures; what draws is imported when there is something to draw."""
    from latentmix.apps.figures import draw_figures  # noqa: PLC0415

    if dataset is None or dataset.image_shape is None:
        return draw_figures(run_folder)
    return draw_figures(run_folder, dataset.rows.__getitem__)


@cli.command()
@click.argument("run_folder", metavar="RUN", type=Path)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: all networks.")
def serve(run_folder: Path, port: int, host: str) -> None:
    """Answer for RUN's model over HTTP, in JSON: predict, scores, sample, reconstruct.

    Callers need the token that is printed at the start, from whatever network.
    """
    click.echo(f"Reading {run_folder}")
    from latentmix.apps.web import serve_run  # noqa: PLC0415

    with left_by_ctrl_c():
        serve_run(run_folder, host, port, click.echo)


@cli.command()
@click.argument("run_folder", metavar="RUN", type=Path)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="[default: a free one]")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: all networks.")
@click.option("--no-browser", is_flag=True, help="Print the link, and open nothing.")
def explore(run_folder: Path, port: int, host: str, *, no_browser: bool) -> None:
    """Show RUN in the browser: a map of its rows, clusters to name, rows worth a label."""
    click.echo(f"Reading {run_folder}")
    from latentmix.apps.explorer import explore_run  # noqa: PLC0415

    with left_by_ctrl_c():
        explore_run(run_folder, host, port, click.echo, open_browser=not no_browser)


@cli.command()
@click.argument("run_folder", metavar="RUN", type=Path)
@click.option("--once", is_flag=True, help="Print how far it is, and leave.")
def watch(run_folder: Path, once: bool) -> None:
    """Follow RUN, which another process is working on, until it ends or Ctrl-C."""
    from latentmix.apps.watch import watch_run  # noqa: PLC0415

    with left_by_ctrl_c():
        watch_run(run_folder, once=once)


@cli.command()
@click.argument("run_folder", metavar="RUN", type=Path)
@click.argument("labels", metavar="FILE.csv", type=Path)
def label(run_folder: Path, labels: Path) -> None:
    """Name the clusters of RUN by the labels in FILE.csv; nothing is trained again."""
    click.echo(f"Reading {labels}, naming the clusters of {run_folder}")
    from latentmix.apps.summary import summary_of  # noqa: PLC0415
    from latentmix.runs.label import label_run  # noqa: PLC0415
    from latentmix.runs.opened import open_run, own_data  # noqa: PLC0415

    # What is wrong under other names is shown by the data's images, where they still are.
    run = open_run(run_folder)
    dataset = None if run.image_shape is None else own_data(run)
    metrics = label_run(run_folder, labels, draw=lambda out: _draw(out, dataset))
    click.echo(summary_of(metrics, run_folder))
    _report(run_folder)


@cli.command()
@click.argument("run_folder", metavar="RUN", type=Path)
@click.option("-o", "--out", type=Path, metavar="FILE.html", help="[default: RUN/report.html]")
def report(run_folder: Path, out: Path | None) -> None:
    """Write RUN as one page for a browser, with every picture and nothing to fetch."""
    click.echo(f"Reading {run_folder}")
    _report(run_folder, out)


@cli.command()
@click.argument("run_folder", metavar="RUN", type=Path)
@click.argument("data")
@click.option("-o", "--out", required=True, metavar="FILE.csv|DIR")
@click.option("--shard", metavar="I/N", help="Of a pattern's files this share alone, as 3/64.")
@cluster_options
@_no_cache
def predict(  # noqa: PLR0913  # a parameter for each option
    run_folder: Path,
    data: str,
    *,
    out: str,
    shard: str | None,
    scheduler: str | None,
    workers: int | None,
    no_cache: bool,
) -> None:
    """Write cluster, label, probability and anomaly score of each row of DATA.

    DATA with * or ? in quotes is many files: each gets one of its own in DIR, and what is there is
    not made again. DATA and DIR may be on object storage, s3://BUCKET/NAME.
    """
    click.echo(f"Reading {data} with {run_folder}, writing to {out}")
    _show_downloads()
    from latentmix.apps.predictions import answer  # noqa: PLC0415

    with _compiled_kept(no_cache=no_cache), cluster_of(scheduler, workers) as client:
        click.echo(answer(run_folder, data, out, shard, client))


@cli.command()
@click.argument("run_folder", metavar="RUN", type=Path)
@click.option("-o", "--out", type=Path, required=True, metavar="FILE.png", help="Or .csv, .npy.")
@click.option("--label", "wanted", help="Draw this class only.")
@click.option("--component", type=int, help="Draw this component only.")
@click.option("-n", "--number", type=click.IntRange(1, 100_000), default=64, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@_no_cache
def sample(  # noqa: PLR0913  # a parameter for each option
    *,
    run_folder: Path,
    out: Path,
    wanted: str | None,
    component: int | None,
    number: int,
    seed: int,
    no_cache: bool,
) -> None:
    """Draw new rows from RUN's model: a sheet of images, or a table."""
    click.echo(f"Reading {run_folder}, writing to {out}")
    from latentmix.apps.samples import check_kind, write_samples  # noqa: PLC0415
    from latentmix.runs.opened import open_run  # noqa: PLC0415

    opened = open_run(run_folder)
    check_kind(out, opened.image_shape, has_text=opened.has_text)
    opened.model.random_state = seed
    with _compiled_kept(no_cache=no_cache):
        drawn = opened.model.sample(number, label=wanted, component=component)
    write_samples(drawn, opened.image_shape, opened.feature_names, out)
    click.echo(f"Wrote {number:,} draws to {out}")


@cli.command()
@click.argument("run_folder", metavar="RUN", type=Path)
@click.argument("data")
@click.option("--labels", type=Path, metavar="FILE.csv", help="In place of the data's labels.")
@click.option("-o", "--out", type=Path, metavar="FILE.json", help="Write the scores there too.")
@_no_cache
def evaluate(
    run_folder: Path, data: str, labels: Path | None, out: Path | None, *, no_cache: bool
) -> None:
    """Score RUN on DATA; of its own data, on the test rows alone."""
    where = "" if out is None else f", writing to {out}"
    click.echo(f"Reading {data}, scoring {run_folder}{where}")
    _show_downloads()
    from latentmix.apps.summary import scores_text  # noqa: PLC0415
    from latentmix.runs.evaluate import evaluate_run  # noqa: PLC0415
    from latentmix.storage.files import write_json  # noqa: PLC0415

    with _compiled_kept(no_cache=no_cache):
        scores = evaluate_run(run_folder, data, labels)
    if out is not None:
        write_json(out, scores)
    click.echo(scores_text(scores))


@cli.command(cls=Benchmark)
@click.argument("methods", nargs=-1)
@click.option("--data", multiple=True, required=True, metavar="SETS", help="Names or paths.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option("--tune", multiple=True, metavar="CHOICE", help="Choose by validation labels.")
@click.option("--select", multiple=True, metavar="CHOICE", help="By likelihood, without a label.")
@click.option("--out", type=Path, metavar="DIR", help="[default: runs/benchmark-SETS]")
@click.option("--peer-python", metavar="PYTHON", help="The interpreter of METHODS ending in .py.")
@click.option("--set", "settings", multiple=True, metavar="data.B=C", help="How files are read.")
def benchmark(  # noqa: PLR0913  # a parameter for each option
    *,
    methods: tuple[str, ...],
    data: tuple[str, ...],
    seeds: int,
    tune: tuple[str, ...],
    select: tuple[str, ...],
    out: Path | None,
    peer_python: str | None,
    settings: tuple[str, ...],
) -> None:
    """Compare METHODS on data sets with labels, over seeds; what is there already is not repeated.

    METHODS are kmeans, mixture, pca-mixture, autoencoder-kmeans, n2d, recipes, or scripts of your
    own; settings stand after colons: n2d:epochs=100, default:vae.latent_dim=8. Each sees training
    rows without labels. CHOICE is default:vae.latent_dim=8,12 or default+seed.
    """
    click.echo(f"Reading {', '.join(data)}, comparing {', '.join([*methods, *select, *tune])}")
    _show_downloads()
    from latentmix.comparison.request import request_of  # noqa: PLC0415

    request = request_of(
        methods,
        data,
        n_seeds=seeds,
        tune=tune,
        select=select,
        out=out,
        peer_python=peer_python,
        settings=settings,
    )
    click.echo(f"Writing to {request.out}")
    _compare(request)


def _compare(request: Comparison) -> None:
    """Run a benchmark, show what comes of each run, and at the end the summary."""
    from latentmix.apps.benchmark import PAGE, summary_text, write_page  # noqa: PLC0415
    from latentmix.comparison.execute import execute  # noqa: PLC0415

    try:
        outcome = execute(request, click.echo)
    except KeyboardInterrupt:
        click.echo(f"What was done is kept in {request.out}. To go on, repeat the command.")
        raise
    click.echo(summary_text(write_page(request.out)))
    click.echo(f"Every run: {request.out / 'rows.csv'}  Page: {request.out / PAGE}")
    if outcome.failures:
        number = len(outcome.failures)
        raise RunFailedError(
            f"{number} {'run' if number == 1 else 'runs'} failed. {outcome.failures[0]}. What was "
            f"said is kept in {request.out / 'fits'}; mend it and repeat the command."
        )


register(cli)


def main() -> NoReturn:
    """Run the command line, and exit with the code of what happened."""
    signal.signal(signal.SIGTERM, terminate)
    sys.unraisablehook = interrupt_again
    code = guarded(lambda: cli.main(prog_name="latentmix", standalone_mode=False))
    # All is done: raised among what libraries do at the very end, it would only be printed.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    leave(code)
    sys.exit(code)


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; turn what it raises into one line on standard error and an exit code."""
    try:
        status = command()
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        return _fail(_usage_text(error), error.exit_code)
    except LatentmixError as error:
        code = next(code for kind, code in EXIT_CODES if isinstance(error, kind))
        return _fail(f"{error} See {error.page}.", code)
    except (KeyboardInterrupt, click.Abort) as stop:
        return _fail("Stopped.", TERMINATED if is_sigterm(stop) else INTERRUPTED)
    except OSError as error:
        return _fail(f"{error.filename or 'A file'}: {error.strerror or error}.", 74)
    except MemoryError:
        return _fail("Out of memory. Give fewer rows, or a machine with more.", 74)


def _usage_text(error: click.ClickException) -> str:
    bare = isinstance(error, click.exceptions.NoArgsIsHelpError)
    what = "Nothing was asked for." if bare else error.format_message()
    context = error.ctx if isinstance(error, click.UsageError) else None
    return what if context is None else f"{what} See '{context.command_path} --help'."


def _fail(message: str, code: int) -> int:
    click.echo(f"latentmix: {' '.join(message.split())}", err=True)
    return code


def _refuse_beside_resume() -> None:
    """Refuse what the run's own request has already said; where programs are it does not."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if given and name not in ("resume", "scheduler", "workers", "no_cache"):
            raise click.UsageError(
                f"{parameter.get_error_hint(context)} stands beside --resume, which goes on with "
                "what the run was asked for. Leave it out.",
                context,
            )


def _say_how_to_go_on(folder: Path) -> None:
    from latentmix.apps.watch import resume_command  # noqa: PLC0415

    if (folder / "request.json").exists():
        again = launched_again(resume_command(folder))
        click.echo(f"What was done is kept in {folder}. To go on: {again}")


def _show_downloads() -> None:
    """Show where a data set is being fetched from; the library itself only logs it."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("latentmix.data")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _compiled_kept(*, no_cache: bool) -> AbstractContextManager[None]:
    """Keep compiled programs on disk for the next start, unless that is not wanted."""
    if no_cache:
        return nullcontext()
    from latentmix.apps.compiled import programs_kept  # noqa: PLC0415

    return programs_kept()
