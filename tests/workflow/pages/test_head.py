import io

import numpy as np
from matplotlib.image import imread
from pages.head import CARD, HIGH, PICTURE, WIDE, draw_card


def test_a_shared_link_shows_the_first_figure_beside_the_title(tmp_path):
    figure = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40" viewBox="0 0 40 40">{}</svg>'
    (tmp_path / PICTURE).parent.mkdir(parents=True)
    (tmp_path / PICTURE).write_text(figure.format('<rect width="40" height="40" fill="#ff0000"/>'))
    draw_card(tmp_path, "One and two")
    card = imread(io.BytesIO((tmp_path / CARD).read_bytes()))[..., :3]
    assert card.shape == (HIGH, WIDE, 3)
    red = np.all(card == (1, 0, 0), axis=-1)
    assert red[:, WIDE // 2 :].mean() > 0.8 and not red[:, : WIDE // 3].any()
    assert (card[:, : WIDE // 3] < 0.5).any(), "the title"
