"""What is said where a toolbox is missing."""

from __future__ import annotations

from importlib.metadata import distributions

import pytest

from mmsls.environment.hosts import import_trouble, is_there, missing_module, need, to_install


def test_what_to_install_is_of_the_stack_that_is_there():
    assert to_install('mmdet', onedl=False) == 'MMDetection (mmdet) is not installed: pip install mmdet'
    assert to_install('mmpretrain', onedl=True).endswith('pip install onedl-mmpretrain')
    official = 'mmengine' in {found.metadata['Name'] for found in distributions()}
    assert to_install('mmdet').endswith('install mmdet' if official else 'install onedl-mmdetection')


def test_a_host_that_is_there_is_not_refused():
    assert is_there('mmdet')
    need('mmdet', 'this')


def imported(name: str) -> ImportError:
    """Return what MMEngine raises for a `custom_imports` whose module lacks another."""
    from mmengine.utils import import_modules_from_strings

    with pytest.raises(ImportError) as raised:
        import_modules_from_strings([name])
    return raised.value


def test_the_module_at_the_end_of_a_chain_is_named():
    error = imported('no_such_package.at_all')
    assert missing_module(error) == 'no_such_package'
    assert import_trouble(error).startswith("the module 'no_such_package' is not installed")


def test_other_import_errors_keep_their_traceback(tmp_path, monkeypatch):
    (tmp_path / 'odd_module.py').write_text(
        "try:\n    import no_such_package\nexcept ImportError:\n    raise ImportError('libx.so: undefined symbol')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert import_trouble(imported('odd_module')) is None
