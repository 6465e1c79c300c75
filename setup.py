"Reads settings.ini, so that name, version and requirements are written once."
from configparser import ConfigParser
from pathlib import Path
import setuptools

parser = ConfigParser(delimiters=['='])
parser.read('settings.ini', encoding='utf8')
cfg = parser['DEFAULT']
extras = {o: cfg[f'{o}_requirements'].split() for o in ('app', 'onnx')}
minor = int(cfg['min_python'].split('.')[1])

setuptools.setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'],
    long_description=Path('README.md').read_text(encoding='utf8'), long_description_content_type='text/markdown',
    author=cfg['author'], author_email=cfg['author_email'], license='Apache-2.0', license_files=['LICENSE'],
    url=cfg['git_url'], keywords=cfg['keywords'].split(),
    classifiers=['Development Status :: 3 - Alpha', 'Intended Audience :: Developers', 'Intended Audience :: Education',
                 'Topic :: Scientific/Engineering :: Image Processing', 'Natural Language :: English',
                 *(f'Programming Language :: Python :: 3.{m}' for m in range(minor, 14))],
    packages=setuptools.find_packages(include=['dl_denoise', 'dl_denoise.*']),
    package_data={'dl_denoise': ['weights/*', 'results/*', 'web/*']},
    install_requires=cfg['requirements'].split(),
    extras_require={**extras, 'dev': sum(extras.values(), cfg['dev_requirements'].split())},
    entry_points={'console_scripts': cfg['console_scripts'].split('\n'),
                  'nbdev': [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"]},
    python_requires=f">={cfg['min_python']}", zip_safe=False)
