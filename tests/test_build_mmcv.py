"""requirements/build_mmcv.py on a small package of mmcv's shape: real archives, a real compiler, nothing downloaded."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

SETUP = """
from glob import glob
from setuptools import Extension, setup
files = glob('mmcv/ops/csrc/pytorch/*.cpp') + glob('mmcv/ops/csrc/pytorch/cpu/*.cpp')
setup(name='ops', version='1', ext_modules=[Extension('ops', sorted(files), language='c++')])
"""
BINDINGS = """
#include <Python.h>
int part(int);
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "ops"};
PyMODINIT_FUNC PyInit_ops() {
    PyObject* made = PyModule_Create(&module);
    PyModule_AddIntConstant(made, "sum", sum());
    return made;
}
"""


@pytest.fixture
def build_mmcv(request) -> ModuleType:
    path = request.config.rootpath / 'requirements/build_mmcv.py'
    spec = importlib.util.spec_from_file_location('build_mmcv', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(folder: Path, sources: dict[str, str]) -> Path:
    """Write an archive as a registry holds it; the sources lie where mmcv has its own."""
    tree = folder / 'ops-1'
    inner = tree / 'mmcv/ops/csrc/pytorch'
    (inner / 'cpu').mkdir(parents=True)
    for name, text in sources.items():
        (inner / name).write_text(text)
    (tree / 'setup.py').write_text(SETUP)
    (tree / 'PKG-INFO').write_text('Metadata-Version: 2.1\nName: ops\nVersion: 1\n')
    archive = folder / 'ops-1.tar.gz'
    with tarfile.open(archive, 'w:gz') as packed:
        packed.add(tree, 'ops-1')
    return archive


def part(number: int, helper: str) -> str:
    return f'static int {helper}() {{ return {number}; }}\nint part_{number}() {{ return {helper}(); }}\n'


def sources(helpers: list[str]) -> dict[str, str]:
    """As many files as helpers, every other one in the CPU's folder, and the module that adds them up."""
    files = {f'{"cpu/" if i % 2 else ""}f{i}.cpp': part(i, name) for i, name in enumerate(helpers)}
    declared = ' '.join(f'int part_{i}();' for i in range(len(helpers)))
    total = ' + '.join(f'part_{i}()' for i in range(len(helpers)))
    body = f'{declared}\nstatic int sum() {{ return {total}; }}\n{BINDINGS}'
    return {**files, 'pybind.cpp': body}


def sum_in(wheel: Path, folder: Path) -> int:
    command = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target', str(folder), str(wheel)]
    subprocess.run(command, check=True)
    asked = [sys.executable, '-c', 'import ops; print(ops.sum)']
    return int(subprocess.run(asked, cwd=folder, check=True, capture_output=True, text=True).stdout)


def troubles(said: list[str]) -> list[str]:
    """What was said beside progress, of which a busy machine has some even here."""
    return [line for line in said if ' objects after ' not in line]


def test_every_file_is_in_one_unit_and_alike_names_in_different_ones(build_mmcv, tmp_path):
    texts = {
        'roi.cpp': '',
        'cpu/roi.cpp': '',
        'roi_rotated.cpp': '',
        'a.cpp': '',
        'b.cpp': '',
        'c.cpp': '',
        'd.cpp': '',
    }
    texts['a.cpp'] = '#define max\n'
    package(tmp_path, texts)
    units = [unit.read_text().split('\n')[:-1] for unit in build_mmcv.group_sources(tmp_path / 'ops-1')]
    assert len(units) == build_mmcv.UNITS
    included = [line.split('"')[1] for unit in units for line in unit]
    assert sorted(included) == sorted(name.replace('.cpp', '.inc') for name in texts)
    assert all(sum('roi' in line for line in unit) <= 1 for unit in units)
    (shared,) = (unit for unit in units if len(unit) > 1)
    assert shared[-1] == '#include "a.inc"'  # its macros reach no other file
    assert not list((tmp_path / 'ops-1/mmcv/ops/csrc/pytorch').glob('cpu/*.cpp'))


def test_files_that_define_helpers_of_the_same_name_never_share_a_unit(build_mmcv, tmp_path):
    texts = {f'f{i}.cpp': part(i, f'helper_{i}') for i in range(9)}
    texts['f1.cpp'] = 'template <typename T>\nT calc(T x) { return x; }\nstruct Pre {\n  int y;\n};\n'
    texts['f7.cpp'] = 'struct Pre {\n  int z;\n};\n'  # would be dealt to the unit of f1
    texts['f8.cpp'] = 'template <typename T>\nvoid calc(T* x) {}\n'  # to the one that f7 goes to
    package(tmp_path, texts)
    units = [unit.read_text() for unit in build_mmcv.group_sources(tmp_path / 'ops-1')]
    assert [[f'f{i}.inc' in unit for unit in units].index(True) for i in range(9)] == [0, 1, 2, 3, 4, 5, 0, 2, 2]
    assert ''.join(units).count('#include') == 9


def test_units_make_the_same_module(build_mmcv, tmp_path):
    said: list[str] = []
    archive = package(tmp_path, sources([f'helper_{i}' for i in range(8)]))
    (tmp_path / 'kept').mkdir()
    build_mmcv.build_wheel(Path(sys.executable), str(archive), tmp_path / 'kept', said.append)
    (wheel,) = (tmp_path / 'kept').iterdir()
    assert sum_in(wheel, tmp_path / 'site') == sum(range(8))
    assert not troubles(said)


def test_sources_that_do_not_compile_in_units_are_compiled_as_published(build_mmcv, tmp_path):
    said: list[str] = []
    archive = package(tmp_path, sources(['same'] * 8))
    (tmp_path / 'kept').mkdir()
    build_mmcv.build_wheel(Path(sys.executable), str(archive), tmp_path / 'kept', said.append)
    (wheel,) = (tmp_path / 'kept').iterdir()
    assert sum_in(wheel, tmp_path / 'site') == sum(range(8))
    (line,) = troubles(said)
    assert 'redefinition' in line
    assert line.endswith('as published:')


def test_sources_that_do_not_compile_at_all_leave_nothing_and_say_why(build_mmcv, tmp_path):
    archive = package(tmp_path, {'pybind.cpp': 'nonsense\n'})
    (tmp_path / 'kept').mkdir()
    with pytest.raises(build_mmcv.BuildError, match=r'error:.*nonsense'):
        build_mmcv.build_wheel(Path(sys.executable), str(archive), tmp_path / 'kept', lambda line: None)
    assert not list((tmp_path / 'kept').iterdir())


def test_a_wheel_that_is_there_is_taken_and_another_kind_is_not(build_mmcv, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    here = build_mmcv.cache_folder('mmcv==1', 'torch 2.1')
    monkeypatch.setenv('FORCE_CUDA', '1')
    assert (
        len({here, build_mmcv.cache_folder('mmcv==1', 'torch 2.1'), build_mmcv.cache_folder('mmcv==2', 'torch 2.1')})
        == 3
    )
    monkeypatch.delenv('FORCE_CUDA')
    said: list[str] = []
    monkeypatch.setattr(build_mmcv, 'build_wheel', lambda *_: pytest.fail('compiled again'))
    import torch

    described = subprocess.run(
        [sys.executable, '-c', build_mmcv.DESCRIBE], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert described.startswith(torch.__version__)
    wheel = build_mmcv.cache_folder('mmcv==1', described) / 'mmcv-1.whl'
    wheel.touch()
    assert build_mmcv.wheel_of(Path(sys.executable), 'mmcv==1', said.append) == wheel
    assert str(wheel.parent) in said[0]


def test_a_cache_that_cannot_be_written_falls_back_to_the_temporary_files(build_mmcv, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    monkeypatch.setattr(build_mmcv.tempfile, 'gettempdir', lambda: str(tmp_path / 'tmp'))
    assert build_mmcv.cache_folder('mmcv==1', 'torch 2.1').is_relative_to(tmp_path / 'tmp')
    monkeypatch.setattr(build_mmcv.tempfile, 'gettempdir', lambda: str(tmp_path / 'file'))
    with pytest.raises(build_mmcv.BuildError, match='set XDG_CACHE_HOME'):
        build_mmcv.cache_folder('mmcv==1', 'torch 2.1')
