"""The drawn architecture: everything inside the sheet, words inside their boxes, equal bytes."""

import pytest
from made_networks import COLOUR, MODELS

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


def shipped(name):
    recipe = find(name)
    shape, classes = usual_shape(recipe)
    return architecture(recipe.model, shape, classes)


@pytest.fixture(scope="module", params=[*SHIPPED, *MODELS])
def drawn(request):
    name = request.param
    of = shipped(name) if name in SHIPPED else architecture(MODELS[name], COLOUR, 3)
    with figure_style():
        figure = draw_architecture(of, name)
        figure.canvas.draw()
        texts = [
            (
                text.get_text(),
                text.get_window_extent().transformed(figure.dpi_scale_trans.inverted()),
            )
            for text in figure.axes[0].texts
        ]
    return of, figure, texts


def test_all_words_are_on_the_sheet(drawn):
    _, figure, texts = drawn
    width, height = figure.get_size_inches()
    for words, box in texts:
        assert box.x0 >= 0 and box.x1 <= width, words
        assert box.y0 >= 0 and box.y1 <= height, words


def test_words_fit_their_boxes(drawn):
    of, _, texts = drawn
    widths = {words: box.width for words, box in texts}
    for stage in of.stages:
        for block in stage.blocks:
            for step in block.steps:
                words = f"{step.text}\n{step.note}" if step.note else step.text
                assert widths[words] <= _width(step), words


def test_no_words_meet(drawn):
    _, _, texts = drawn
    for place, (words, box) in enumerate(texts):
        for others, other in texts[place + 1 :]:
            apart = (
                box.x1 <= other.x0
                or other.x1 <= box.x0
                or box.y1 <= other.y0 + 0.01
                or other.y1 <= box.y0 + 0.01
            )
            assert apart, f"{words!r} meets {others!r}"


def test_every_number_is_written(drawn):
    of, _, texts = drawn
    words = " ".join(text for text, _ in texts)
    assert f"{of.parameters:,}" in words
    for stage in of.stages:
        assert stage.name in words
        for block in stage.blocks:
            assert " × ".join(map(str, block.shape)) in words
            if block.times > 1:
                assert f"× {block.times}" in words


def test_the_same_network_gives_the_same_bytes():
    with figure_style():
        first, again = (
            render(draw_architecture(shipped("quickstart"), "x"), "x", "").svg for _ in range(2)
        )
    assert first == again


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (999, "999"),
        (36_864, "36.9 k"),
        (253_000_000, "253 M"),
        (999_600, "1000 k"),
        (5.2e9, "5.2 G"),
    ],
)
def test_large_numbers_are_short(count, words):
    assert format_count(int(count)) == words
