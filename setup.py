"""Package metadata of mmsls."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r"__version__ = '([^']+)'", (ROOT / 'mmsls' / '__init__.py').read_text()).group(1)

# The hosts exist twice under the same import names: the maintained onedl forks and the official distributions.
# Installing both into one environment breaks both, so neither belongs in install_requires; a user picks one extra.
ONEDL = [
    'onedl-mmcv>=2.3',
    'onedl-mmengine>=0.10.12',
    'onedl-mmdetection>=3.5',
    'onedl-mmsegmentation>=1.4',
    'onedl-mmpretrain>=1.3',
]
# mmdet 3.3.0 and mmsegmentation 1.2.2, their last releases, refuse mmcv 2.2.
OPENMMLAB = ['mmcv>=2.0,<2.2', 'mmengine>=0.10.5', 'mmdet>=3.3', 'mmsegmentation>=1.2.2', 'mmpretrain>=1.2']


class WithStartup(build_py):
    """Puts `mmsls.pth` beside the package, which Python reads at its start.

    It imports mmsls (3 ms, nothing but the standard library), so that MMEngine finds `mmsls::` configs in tools that
    know nothing of mmsls: see `mmsls/_config_names.py`.
    """

    def run(self) -> None:
        """Write it to where the package goes, or what stands for it in an editable install."""
        super().run()
        target = self.get_finalized_command('install').install_lib if self.editable_mode else self.build_lib
        Path(target, 'mmsls.pth').write_text('import mmsls\n')


setup(
    name='mmsls',
    version=VERSION,
    description='Adapters and layer-wise pruning (SLS) for frozen vision models in MMDetection and MMSegmentation',
    long_description=(ROOT / 'README.md').read_text() if (ROOT / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10,<3.13',
    packages=find_packages(include=['mmsls', 'mmsls.*']),
    # `.mim` holds links to configs/, tools/ and model-index.yml: a wheel has the files, an editable install the links.
    package_data={
        'mmsls': ['py.typed', '.mim/**/*.py', '.mim/**/*.yml', '.mim/*.yml'],
        'mmsls.vtab': ['facts.csv'],
        'mmsls.report': ['template.html'],
    },
    cmdclass={'build_py': WithStartup},
    entry_points={'console_scripts': ['mmsls = mmsls.commands:main']},
    install_requires=[
        'torch>=2.1',
        'numpy',
        'scikit-learn>=1.3',
        'threadpoolctl',
        'matplotlib',
        'jinja2',
        'rich',
        'safetensors',
        'scipy',
        'pillow',
        'timm>=1.0.22',
        'huggingface_hub',
    ],
    extras_require={
        'onedl': ONEDL,
        'openmmlab': OPENMMLAB,
        'cls': ['ftfy', 'regex', 'torch-pruning>=1.6'],
        'docs': ['mkdocs', 'mkdocs-material', 'mkdocstrings[python]'],
        'dev': [
            'onnx',
            'onnxruntime',
            'onnxscript',
            'pytest',
            'pytest-timeout',
            'pytest-xdist>=3.8',
            'hypothesis',
            'ruff',
            'mypy',
            'import-linter',
            'vulture',
        ],
    },
)
