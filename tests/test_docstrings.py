"""The examples in the library's docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import xtcq

MODULES = pkgutil.walk_packages(xtcq.__path__, "xtcq.")
NAMES = [module.name for module in MODULES if not module.name.endswith("__main__")]


@pytest.mark.parametrize("name", NAMES)
def test_examples_give_what_they_show(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
