"What several tests need: the built package and environments for it, a browser, and packages from npm"
import importlib.util, os, re, shutil, subprocess, sys, sysconfig, venv
from contextlib import ExitStack
from pathlib import Path
import pytest

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root/'tools'))
import badges, check, live

CACHE = Path(os.environ.get('XDG_CACHE_HOME', '~/.cache')).expanduser()/'dl_denoise'

def lacking(why):
    "Skip; but where everything is promised to be there, fail"
    if os.environ.get('CI') == 'true': pytest.fail(why)
    pytest.skip(why)

def run(*args, **kwargs):
    done = subprocess.run([str(o) for o in args], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, **kwargs)
    assert done.returncode == 0, \
        f'{args} left with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}'
    return done.stdout

@pytest.fixture(scope='session')
def built(tmp_path_factory):
    "The source distribution, and the wheel made from it"
    folder = tmp_path_factory.mktemp('build')
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', folder/'dist',
        check.copy_tree(folder/'copy'))
    return folder/'dist'

@pytest.fixture(scope='session')
def wheel(built): return next(built.glob('*.whl'))

@pytest.fixture(scope='session')
def setup():
    "setup.py as a module; it builds only when it is run"
    spec = importlib.util.spec_from_file_location('setup', root/'setup.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

OLDEST = re.search(r'fastai>=([\d.]+)', badges.settings()['requirements'])[1]
PACKAGES = dict(newest=['fastai', 'fastcore', 'fasttransform', 'fastprogress', 'plum-dispatch<2.10'],
                oldest=[f'fastai=={OLDEST}', 'fastcore<1.9', 'fasttransform==0.0.2', 'fastprogress<1.1'])

@pytest.fixture(scope='session')
def environment(wheel, tmp_path_factory):
    """A function that gives the Python of a new environment:
    the wheel and the named fastai of its own, and for the rest the packages of this one"""
    made = {}
    def make(name):
        if name in made: return made[name]
        env = tmp_path_factory.mktemp(name)/'env'
        venv.create(env, with_pip=False)
        python = env/('Scripts/python.exe' if os.name == 'nt' else 'bin/python')
        site = Path(run(python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))').strip())
        # after its own: the nearer package wins
        (site/'zz_the_rest.pth').write_text(sysconfig.get_path('purelib') + '\n')
        pip = [python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps',
               '--ignore-installed']
        run(*pip, wheel)
        try: run(*pip, *PACKAGES[name], timeout=300)
        except (AssertionError, subprocess.TimeoutExpired) as e:
            lacking(f'the {name} fastai could not be installed; is there a network? {str(e)[-300:]}')
        return made.setdefault(name, python)
    return make

@pytest.fixture(scope='session')
def browser():
    with ExitStack() as stack:
        try: found = stack.enter_context(live.chromium())
        except LookupError as e: lacking(str(e))
        yield found

@pytest.fixture(scope='session')
def node_modules():
    """A function that installs packages from npm, once for each set of versions, and returns the
    folder that has them"""
    def install(*packages):
        if not shutil.which('npm'): lacking('there is no npm')
        folder = CACHE/'-'.join(['npm', *packages])
        if not (folder/'node_modules').is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            install = ['npm', 'install', '--no-audit', '--no-fund', '--prefix', folder, *packages]
            done = subprocess.run(install, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True,
                                  timeout=600)
            if done.returncode:
                shutil.rmtree(folder)
                lacking(f'npm could not install {", ".join(packages)}: {done.stderr[-500:]}')
        return folder
    return install
