"The built package: what is in it, and that it works beside the newest fastai, as a user gets it"
import os, subprocess, sys, sysconfig, venv, zipfile
from pathlib import Path
import pytest

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root/'tools'))
import check

def run(*args, **kwargs):
    done = subprocess.run([str(o) for o in args], capture_output=True, text=True, stdin=subprocess.DEVNULL, **kwargs)
    assert done.returncode == 0, f'{args} left with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}'
    return done.stdout

@pytest.fixture(scope='session')
def built(tmp_path_factory):
    "The source distribution, and the wheel made from it"
    folder = tmp_path_factory.mktemp('build')
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', folder/'dist', check.copy_tree(folder/'copy'))
    return folder/'dist'

@pytest.fixture(scope='session')
def wheel(built): return next(built.glob('*.whl'))

def test_wheel_contents(wheel):
    inside = {*zipfile.ZipFile(wheel).namelist()}
    wanted = {p.relative_to(root).as_posix() for pattern in ('**/*.py', 'weights/*', 'results/*', 'web/*') for p in root.glob(f'dl_denoise/{pattern}') if p.is_file() and not p.name.startswith('.')}
    assert not wanted - inside, 'missing in the wheel'
    assert {o.split('/')[0] for o in inside if '.dist-info' not in o} == {'dl_denoise'}
    meta = next(zipfile.ZipFile(wheel).read(o).decode() for o in inside if o.endswith('METADATA'))
    assert 'Requires-Python: >=3.10' in meta and ': Apache-2.0' in meta

@pytest.fixture(scope='session')
def newest(wheel, tmp_path_factory):
    "A new environment: the wheel and the newest fastai of its own, and for the rest the packages of this one"
    env = tmp_path_factory.mktemp('newest')/'env'
    venv.create(env, with_pip=False)
    python = env/('Scripts/python.exe' if os.name == 'nt' else 'bin/python')
    site = Path(run(python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))').strip())
    (site/'zz_the_rest.pth').write_text(sysconfig.get_path('purelib') + '\n')      # after its own: the nearer package wins
    pip = [python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '--ignore-installed']
    run(*pip, wheel)
    try: run(*pip, 'fastai', 'fastcore', 'fasttransform', 'fastprogress', 'plum-dispatch<2.10', timeout=300)
    except (AssertionError, subprocess.TimeoutExpired) as e:
        if os.environ.get('CI') == 'true': raise
        pytest.skip(f'the newest fastai could not be installed; is there a network? {str(e)[-300:]}')
    return python

def test_newest_environment(newest, tmp_path):
    out = run(newest, '-c', 'import fastai, fastcore, dl_denoise, torch; print(fastcore.__version__, *[m.__file__ for m in (fastai, fastcore, dl_denoise, torch)], sep="\\n")', cwd=tmp_path).splitlines()
    assert int(out[0].split('.')[0]) >= 2
    own = str(newest.parent.parent)
    assert [o.startswith(own) for o in out[1:]] == [True, True, True, False]

def test_all_beside_newest(newest, tmp_path): run(newest, '-c', 'from dl_denoise.all import *; digits(); create_model("dncnn")', cwd=tmp_path)

def test_demo_beside_newest(newest, tmp_path):
    "Demo 1, small, in an empty folder, without MNIST"
    env = {k: v for k,v in os.environ.items() if k not in ('DL_DENOISE_DATA', 'PYTHONPATH')}
    out = run(newest.parent/'dl_denoise', 'demo1', '--epochs', '1', '--images', '500', cwd=tmp_path, timeout=900, env={**env, 'XDG_CACHE_HOME': str(tmp_path/'cache')})
    assert 'dncnn' in out.lower() and '0.00943' in out.replace(' .0', ' 0.0'), f"the table beside the article's numbers is missing:\n{out}"
    assert [*tmp_path.rglob('*.png')], 'no picture was saved'
