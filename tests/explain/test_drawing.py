"""The drawn architecture: everything inside the sheet, words inside their boxes, equal bytes."""

import pytest
from made_networks import COLOR, MODELS

from cifarlab.explain.drawing import _width, draw_architecture, format_count
from cifarlab.explain.structure import architecture
from cifarlab.plots.style import figure_style, render
from cifarlab.recipes.catalog import find, usual_shape

SHIPPED = (
    "fudan/resnet10",
    "fudan/resnet48",
    "kth2024/combined",
    "asha2021/classic",
    "asha2021/normaliser-free",
    "nyu2024/resnet",
    "resnet50",
    "wrn-28-10",
    "speed/94",
    "quickstart",
)


def describe_recipe(name):
    recipe = find(name)
    shape, classes = usual_shape(recipe)
    return architecture(recipe.model, shape, classes)


@pytest.fixture(scope="module", params=[*SHIPPED, *MODELS])
def drawing(request):
    name = request.param
    summary = describe_recipe(name) if name in SHIPPED else architecture(MODELS[name], COLOR, 3)
    with figure_style():
        figure = draw_architecture(summary, name)
        figure.canvas.draw()
        boxes_of_texts = [
            (
                text.get_text(),
                text.get_window_extent().transformed(figure.dpi_scale_trans.inverted()),
            )
            for text in figure.axes[0].texts
        ]
    return summary, figure, boxes_of_texts


def test_all_words_are_on_the_sheet(drawing):
    _, figure, boxes_of_texts = drawing
    width, height = figure.get_size_inches()
    for text, box in boxes_of_texts:
        assert box.x0 >= 0 and box.x1 <= width, text
        assert box.y0 >= 0 and box.y1 <= height, text


def test_words_fit_their_boxes(drawing):
    summary, _, boxes_of_texts = drawing
    widths = {text: box.width for text, box in boxes_of_texts}
    for stage in summary.stages:
        for block in stage.blocks:
            for step in block.steps:
                text = f"{step.text}\n{step.note}" if step.note else step.text
                assert widths[text] <= _width(step), text


def test_no_words_meet(drawing):
    _, _, boxes_of_texts = drawing
    for index, (text, box) in enumerate(boxes_of_texts):
        for other_words, other in boxes_of_texts[index + 1 :]:
            is_apart = (
                box.x1 <= other.x0
                or other.x1 <= box.x0
                or box.y1 <= other.y0 + 0.01
                or other.y1 <= box.y0 + 0.01
            )
            assert is_apart, f"{text!r} meets {other_words!r}"


def test_every_number_is_written(drawing):
    summary, _, boxes_of_texts = drawing
    sheet = " ".join(text for text, _ in boxes_of_texts)
    assert f"{summary.parameters:,}" in sheet
    for stage in summary.stages:
        assert stage.name in sheet
        for block in stage.blocks:
            assert " × ".join(map(str, block.shape)) in sheet
            if block.times > 1:
                assert f"× {block.times}" in sheet


def test_the_same_network_gives_the_same_bytes():
    with figure_style():
        first, second = (
            render(draw_architecture(describe_recipe("quickstart"), "x"), "x", "").svg
            for _ in range(2)
        )
    assert first == second


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (999, "999"),
        (36_864, "36.9 k"),
        (253_000_000, "253 M"),
        (999_600, "1000 k"),
        (5.2e9, "5.2 G"),
    ],
)
def test_large_numbers_are_short(count, text):
    assert format_count(int(count)) == text
