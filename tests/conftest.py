"What several tests need: a browser, and packages from npm"
import os, shutil, subprocess, sys
from contextlib import ExitStack
from pathlib import Path
import pytest

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root/'tools'))
import live

CACHE = Path(os.environ.get('XDG_CACHE_HOME', '~/.cache')).expanduser()/'dl_denoise'

def lacking(why):
    "Skip; but where everything is promised to be there, fail"
    if os.environ.get('CI') == 'true': pytest.fail(why)
    pytest.skip(why)

@pytest.fixture(scope='session')
def browser():
    with ExitStack() as stack:
        try: found = stack.enter_context(live.chromium())
        except LookupError as e: lacking(str(e))
        yield found

@pytest.fixture(scope='session')
def node_modules():
    "A function that installs packages from npm, once for each set of versions, and returns the folder that has them"
    def install(*packages):
        if not shutil.which('npm'): lacking('there is no npm')
        folder = CACHE/'-'.join(['npm', *packages])
        if not (folder/'node_modules').is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(['npm', 'install', '--no-audit', '--no-fund', '--prefix', folder, *packages], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
            if done.returncode: shutil.rmtree(folder); lacking(f'npm could not install {", ".join(packages)}: {done.stderr[-500:]}')
        return folder
    return install
