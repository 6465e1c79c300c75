"Reads settings.ini, so that name, version and requirements are written once."
from configparser import ConfigParser
from pathlib import Path
import re, setuptools

root = Path(__file__).resolve().parent
parser = ConfigParser(delimiters=['='])
parser.read(root/'settings.ini', encoding='utf8')
cfg = parser['DEFAULT']
site = cfg['doc_host'] + cfg['doc_baseurl']
extras = {o: cfg[f'{o}_requirements'].split() for o in ('app', 'onnx', 'openvino', 'dask', 'multi')}
pythons = [f'3.{m}' for m in range(int(cfg['min_python'].split('.')[1]), 14)]

def away(target):
    """Where a link of README.md leads when README.md is read elsewhere: pages on the site, all else in
    the repository"""
    if re.match(r'[a-z]+:|#|/', target): return target
    path, *anchor = target.split('#')
    page = re.fullmatch(r'nbs/(.*/)?(?:\d+_)?(\w+)\.ipynb', path)
    kind = 'raw' if re.search(r'\.(png|jpe?g|gif|svg)$', path) else 'blob'
    path = f"{cfg['git_url']}/{kind}/{cfg['branch']}/{path}"
    if page: path = f"{site}/{page[1] or ''}{page[2]}.html"
    return '#'.join([path, *anchor])

def readme(text):
    "README.md for the package index: no link is relative; code stays as it is"
    parts = re.split(r'(```.*?```|`[^`\n]*`)', text, flags=re.S)
    return ''.join(o if o.startswith('`')
                   else re.sub(r'(\]\(|\b(?:src|href)=")([^)\s"]+)', lambda m: m[1] + away(m[2]), o)
                   for o in parts)

if __name__ == '__main__':
    setuptools.setup(
        name=cfg['lib_name'], version=cfg['version'], description=cfg['description'],
        long_description=readme((root/'README.md').read_text(encoding='utf8')),
        long_description_content_type='text/markdown',
        author=cfg['author'], author_email=cfg['author_email'], license='Apache-2.0',
        license_files=['LICENSE'], keywords=cfg['keywords'].split(),
        project_urls={'Homepage': site, 'Documentation': site, 'Source': cfg['git_url'],
                      'Issues': f"{cfg['git_url']}/issues",
                      'Changelog': f"{cfg['git_url']}/blob/{cfg['branch']}/CHANGELOG.md"},
        classifiers=['Development Status :: 3 - Alpha', 'Framework :: Jupyter',
                     'Intended Audience :: Developers', 'Intended Audience :: Education',
                     'Intended Audience :: Science/Research', 'Natural Language :: English',
                     'Operating System :: OS Independent',
                     'Programming Language :: Python :: 3', 'Programming Language :: Python :: 3 :: Only',
                     *(f'Programming Language :: Python :: {o}' for o in pythons),
                     'Topic :: Education', 'Topic :: Scientific/Engineering :: Artificial Intelligence',
                     'Topic :: Scientific/Engineering :: Image Processing'],
        packages=setuptools.find_packages(include=['dl_denoise', 'dl_denoise.*']),
        package_data={'dl_denoise': ['weights/*', 'results/*', 'apps/web/*', 'restoring/*.safetensors']},
        install_requires=cfg['requirements'].split(),
        extras_require={**extras, 'dev': sum(extras.values(), cfg['dev_requirements'].split())},
        entry_points={'console_scripts': cfg['console_scripts'].split('\n'),
                      'nbdev': [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"]},
        python_requires=f">={cfg['min_python']}", zip_safe=False)
