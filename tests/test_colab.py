"""Every page as Colab runs it: in a real kernel, in an empty folder, with only the built wheel and the
newest fastai, and no repository beside it"""
import json, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
import nbformat, pytest
from nbclient import NotebookClient
from test_frame import PAGES, every_page, flags

def execute(page, folder):
    "Run the cells that the test command has to run"
    nb = nbformat.read(page, 4)
    nb.cells = [c for c in nb.cells if c.cell_type == 'code' and not {'slow', 'cuda', 'eval'} & flags(c)]
    NotebookClient(nb, timeout=300, kernel_name='as-on-colab',
                   resources=dict(metadata=dict(path=folder))).execute()

def run(page, folder):
    """The same in a process of its own, which nothing that other tests have started can disturb;
    returns the seconds and what went wrong"""
    def once():
        start = time.monotonic()
        done = subprocess.run([sys.executable, __file__, str(page), str(folder)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=1200)
        return time.monotonic() - start, done.stderr[-6000:] if done.returncode else ''
    seconds, wrong = once()
    # now and then a message between kernel and client is lost, and both wait; a slow page is slow twice
    return once() if 'CellTimeoutError' in wrong else (seconds, wrong)

@pytest.fixture(scope='session')
def runs(environment, tmp_path_factory):
    "All pages, two at a time, one thread each"
    kernels, patch = tmp_path_factory.mktemp('jupyter'), pytest.MonkeyPatch()
    spec = kernels/'kernels'/'as-on-colab'/'kernel.json'
    spec.parent.mkdir(parents=True)
    argv = [str(environment('newest')), '-m', 'ipykernel_launcher', '-f', '{connection_file}']
    spec.write_text(json.dumps(dict(argv=argv, display_name='as on Colab', language='python')))
    patch.setenv('JUPYTER_PATH', str(kernels))
    patch.setenv('OMP_NUM_THREADS', '1')
    patch.delenv('PYTHONPATH', raising=False)
    patch.delenv('DL_DENOISE_SAVE_OUTPUTS', raising=False)
    with ThreadPoolExecutor(2) as pool:
        yield {p: pool.submit(run, p, tmp_path_factory.mktemp('empty')) for p in PAGES}
        pool.shutdown(cancel_futures=True)
    patch.undo()

@every_page
def test_as_on_colab(page, runs):
    seconds, wrong = runs[page].result()
    assert not wrong, wrong
    assert seconds < 300

if __name__ == '__main__': execute(*sys.argv[1:])
