import shutil
from pathlib import Path

import pydata_sphinx_theme
from fontTools.ttLib import TTFont
from pages.icons import keep_icons

THEME = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static"


def test_icons_of_the_pages_stay_in_style_and_font(make_page, tmp_path):
    for part in ("styles/pydata-sphinx-theme.css", "vendor/fontawesome/webfonts"):
        (tmp_path / "_static" / part).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (THEME / part).is_dir() else shutil.copy
        copy(THEME / part, tmp_path / "_static" / part)
    page = make_page('<i class="fa-solid fa-rocket"></i><i class="fab fa-github"></i>')
    keep_icons({page.name: page}, tmp_path)
    css = (tmp_path / "_static/styles/pydata-sphinx-theme.css").read_text()
    assert ".fa-rocket:before" in css and ".fa-anchor:before" not in css and "woff2" not in css
    fonts = {path.stem: path for path in (tmp_path / "_static/vendor/fontawesome/webfonts").iterdir()}
    assert (
        0xF135 in TTFont(fonts["fa-solid-900"]).getBestCmap()
        and 0xF13D not in TTFont(fonts["fa-solid-900"]).getBestCmap()
    )
    assert 0xF09B in TTFont(fonts["fa-brands-400"]).getBestCmap()
    assert all(path.suffix == ".ttf" and path.stat().st_size < 20_000 for path in fonts.values())
