from xtcq.files import find_checkout, write_atomically


def test_text_is_replaced_whole_and_folders_are_made(tmp_path):
    path = tmp_path / "new" / "file.json"
    write_atomically(path, "first")
    write_atomically(path, "é")
    assert path.read_text(encoding="utf-8") == "é" and list(path.parent.iterdir()) == [path]


def test_checkout_is_found_from_below(tmp_path, monkeypatch):
    (tmp_path / "book" / "published").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert find_checkout() == tmp_path
