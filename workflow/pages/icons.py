"""The theme's icons: of the two thousand of Font Awesome, those that the book shows."""

import re
from pathlib import Path

from fontTools.subset import Options, Subsetter, load_font, save_font

from pages.page import Page

# As the theme has compressed them: the rule of one icon, under all its names.
RULE = re.compile(r'(?:\.fa-[\w-]+::?before,?)+\{content:"\\([0-9a-f]+)"\}')
NAME = re.compile(r"\.(fa-[\w-]+)")
WOFF2 = re.compile(r'url\([^)]*fontawesome[^)]*\.woff2\) format\("woff2"\),')


def keep_icons(pages: dict[str, Page], html: Path) -> None:
    """Leaves in the fonts of icons, and in the style sheet that names them, what some page shows.

    Args:
        pages: all pages.
        html: the folder of the book, whose files are changed.
    """
    tags = [tag for page in pages.values() for tag in page.soup.select("[class*=fa-]")]
    used = {name for tag in tags for name in tag["class"]}
    sheet = html / "_static" / "styles" / "pydata-sphinx-theme.css"
    css = RULE.sub(lambda rule: rule[0] if used & set(NAME.findall(rule[0])) else "", sheet.read_text(encoding="utf-8"))
    # Of the two formats of a font this leaves the one that can be written without a further package.
    sheet.write_text(WOFF2.sub("", css), encoding="utf-8")
    sheets = [path.read_text(encoding="utf-8") for path in html.glob("_static/**/*.css")]
    points = [int(point, 16) for text in sheets for point in re.findall(r"\\(f[0-9a-f]{3}|e[0-9a-f]{3})\b", text)]
    for font in html.glob("_static/vendor/fontawesome/webfonts/*"):
        if font.suffix == ".woff2":
            font.unlink()
            continue
        options = Options(ignore_missing_unicodes=True, layout_features=[])
        glyphs = load_font(str(font), options)
        subsetter = Subsetter(options)
        subsetter.populate(unicodes=points)
        subsetter.subset(glyphs)
        save_font(glyphs, str(font), options)
