"""The built package: what is in it, and that it works beside the oldest and the newest fastai, as a
user gets it"""
import email, json, os, re, sys, tarfile, zipfile
from pathlib import Path
import pytest

from conftest import OLDEST, PACKAGES, root, run
import badges

def test_wheel_contents(wheel):
    inside = {*zipfile.ZipFile(wheel).namelist()}
    wanted = {p.relative_to(root).as_posix()
              for pattern in ('**/*.py', 'weights/*', 'results/*', 'apps/web/*')
              for p in root.glob(f'dl_denoise/{pattern}') if p.is_file() and not p.name.startswith('.')}
    assert not wanted - inside, 'missing in the wheel'
    assert {o.split('/')[0] for o in inside if '.dist-info' not in o} == {'dl_denoise'}

def test_metadata(wheel):
    "What the package index shows: licence, links, and a description whose links lead somewhere"
    files = zipfile.ZipFile(wheel)
    meta = email.message_from_bytes(files.read(next(o for o in files.namelist() if o.endswith('METADATA'))))
    assert meta['Requires-Python'] == '>=3.10'
    assert 'Apache-2.0' in (meta['License'], meta['License-Expression'])
    links = dict(o.split(', ') for o in meta.get_all('Project-URL'))
    assert {*links} == {'Homepage', 'Documentation', 'Source', 'Issues', 'Changelog'}
    assert (root/links['Changelog'].split('/main/')[1]).exists()
    assert {*meta.get_all('Provides-Extra')} == {'app', 'onnx', 'openvino', 'dask', 'multi', 'dev'}
    text = meta.get_payload()
    targets = re.findall(r'\]\(([^)\s]+)', re.sub(r'```.*?```', '', text, flags=re.S))
    assert len(targets) > 5 and not [o for o in targets if not o.startswith('https://')]
    assert '```python\n' in text

def test_source_distribution(built):
    "All that the wheel is made from, and nothing else"
    with tarfile.open(next(built.glob('*.tar.gz'))) as tar:
        inside = {o.name.partition('/')[2]: o.size for o in tar if o.isfile()}
    tops = {o.split('/')[0] for o in inside}
    assert tops == {'dl_denoise', 'dl_denoise.egg-info', 'PKG-INFO', 'setup.cfg', 'setup.py',
                    'settings.ini', 'MANIFEST.in', 'LICENSE', 'README.md', 'CHANGELOG.md', 'CITATION.cff'}
    assert sum(v for k,v in inside.items() if '/weights/' not in k) < 2e6

def test_links_away(setup):
    "A link of the README, read elsewhere; pages have the addresses that nbdev gives them"
    from nbdev.doclinks import _nbpath2html
    cfg = badges.settings()
    site, code = cfg['doc_host'] + cfg['doc_baseurl'], cfg['git_url']
    for p in badges.pages():
        path = p.relative_to(root/'nbs')
        assert setup.away(f'nbs/{path.as_posix()}#a-b') == f'{site}/{_nbpath2html(path).as_posix()}#a-b'
    text = ('![four rows](nbs/images/demo1.png), [licence](LICENSE), '
            '[out](https://example.org/a), [here](#two), [![badge](a.svg)](b.md), <img src="c.png" '
            'width="9">, `[no](link)`\n```\n[nor](this)\n```')
    assert setup.readme(text) == (f'![four rows]({code}/raw/main/nbs/images/demo1.png), '
                                  f'[licence]({code}/blob/main/LICENSE), [out](https://example.org/a), '
                                  f'[here](#two), '
                                  f'[![badge]({code}/raw/main/a.svg)]({code}/blob/main/b.md), <img '
                                  f'src="{code}/raw/main/c.png" width="9">, '
                                  f'`[no](link)`\n```\n[nor](this)\n```')

# ---- beside the oldest and the newest fastai

# set by make test-oldest and test-newest: this Python is that environment
WHOLE = os.environ.get('DL_DENOISE_BESIDE')

@pytest.fixture(scope='session', params=[*PACKAGES])
def beside(request):
    "Name and Python of an environment; or this one, if make has made it for that"
    if WHOLE:
        return pytest.skip(f'this is {WHOLE}') if WHOLE != request.param else (WHOLE, Path(sys.executable))
    return request.param, request.getfixturevalue('environment')(request.param)

def test_environment_beside(beside, tmp_path):
    name, python = beside
    code = ('from dl_denoise.all import *; digits(); create_model("dncnn"); '
            'import fastai, fastcore, dl_denoise, torch; print(fastai.__version__, fastcore.__version__, '
            '*[m.__file__ for m in (fastai, fastcore, dl_denoise, torch)], sep="\\n")')
    out = run(python, '-c', code, cwd=tmp_path).splitlines()
    assert out[0] == OLDEST if name == 'oldest' else int(out[1].split('.')[0]) >= 2
    own = str(python.parent.parent)
    assert [o.startswith(own) for o in out[2:]] == [True, True, True, bool(WHOLE)]

NO_DATA = {k: v for k,v in os.environ.items() if k not in ('DL_DENOISE_DATA', 'PYTHONPATH')}

@pytest.mark.parametrize('page', ['01_measure/02_data', '02_clean/01_learner'])
def test_page_beside(beside, tmp_path, page):
    "The cells of a page, one after the other, in an empty folder, without MNIST"
    cells = json.loads((root/f'nbs/{page}.ipynb').read_text(encoding='utf8'))['cells']
    sources = [''.join(c['source']) for c in cells if c['cell_type'] == 'code']
    left_out = re.compile(r'^#\|\s*(eval|slow|cuda)\b', flags=re.M)
    code = '\n'.join(o for o in sources if not left_out.search(o))
    (tmp_path/'page.py').write_text(code, encoding='utf8')
    run(beside[1], 'page.py', cwd=tmp_path, timeout=900,
        env={**NO_DATA, 'XDG_CACHE_HOME': str(tmp_path/'cache'), 'MPLBACKEND': 'agg'})

def test_demo_beside(beside, tmp_path):
    "Demo 1, small, in an empty folder, without MNIST; beside the oldest without the large networks"
    name, python = beside
    less = ['--models', 'cnn,cae'] if name == 'oldest' else []
    out = run(python.parent/'dl_denoise', 'demo1', '--epochs', '1', '--images', '200', *less,
              cwd=tmp_path, timeout=900, env={**NO_DATA, 'XDG_CACHE_HOME': str(tmp_path/'cache')})
    assert '0.00991' in out.replace(' .0', ' 0.0') and ('dncnn' in out.lower()) == (name == 'newest'), \
        f"the table beside the article's numbers is missing:\n{out}"
    assert [*tmp_path.rglob('*.png')], 'no picture was saved'
