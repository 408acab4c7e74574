"""Page of a curve over numbers of training videos: the sentence, the picture, the table and the last evaluation."""

from timesformer.config.run import RunConfig
from timesformer.cross_validation.curve_result import CurvePoint, VideoCurve
from timesformer.cross_validation.folder import Study
from timesformer.evaluation.intervals import format_interval
from timesformer.evaluation.report.page import write_measures
from timesformer.html import data_url, escape


def write_curve_page(curve: VideoCurve, study: Study, *, run: RunConfig) -> None:
    """Write the page, with the picture that the folder holds; an existing page is replaced.

    Raises:
        DataError: The file cannot be written.
    """
    write_measures(
        curve.points[-1].evaluation,
        study.page,
        title=f"More videos for {run.data.train}?",
        sections=[curve_section(curve, picture=study.picture.read_bytes())],
        overwrite=True,
    )


def curve_section(curve: VideoCurve, *, picture: bytes) -> str:
    """The sentence, the picture and the table."""
    rows = "".join(map(_row, curve.points))
    by = f"{curve.num_folds} folds for each point" if curve.num_folds else "one run for each point"
    return (
        f"<h2>Accuracy over the number of training videos</h2><p>{escape(curve.describe())}</p>"
        f'<img class=curve width="640" alt="accuracy over the number of training videos" '
        f'src="{data_url(picture, "png")}">'
        f"<p class=soft>Parts of the training videos are {escape(curve.unit)}, and each contains the smaller ones; "
        f"{by}; {escape(curve.describe_choice())}. Bars are 95 % intervals. What follows is measured with all training "
        "videos.</p><div class=scroll><table class=lines>"
        f"<tr><th>part<th>videos<th>groups<th>top-1 accuracy<th>95 % interval<th>minutes</tr>{rows}</table></div>"
    )


def _row(point: CurvePoint) -> str:
    evaluation = point.evaluation
    return (
        f"<tr><td>{point.percentage} %<td class=number>{point.num_train}<td class=number>{point.num_groups or '–'}"
        f"<td class=number>{evaluation.top1:.1%}<td class=number>{format_interval(*evaluation.top1_interval)}"
        f"<td class=number>{point.seconds / 60:.1f}</tr>"
    )
