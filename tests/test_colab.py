"""Every page as Colab runs it: in a real kernel, in an empty folder, with only the built wheel and the
newest fastai, and no repository beside it"""
import json, os, subprocess, sys, time
import nbformat, pytest
from nbclient import NotebookClient
from test_frame import every_page, flags

def execute(page, folder):
    "Run the cells that the test command has to run"
    nb = nbformat.read(page, 4)
    nb.cells = [c for c in nb.cells if c.cell_type == 'code' and not {'slow', 'cuda', 'eval'} & flags(c)]
    NotebookClient(nb, timeout=150, kernel_name='as-on-colab',
                   resources=dict(metadata=dict(path=folder))).execute()

def run(page, folder, env):
    """The same in a process of its own, which nothing that other tests have started can disturb;
    returns what went wrong"""
    done = subprocess.run([sys.executable, __file__, str(page), str(folder)], stdin=subprocess.DEVNULL,
                          env=env, capture_output=True, text=True, timeout=600)
    return done.stderr[-6000:] if done.returncode else ''

@pytest.fixture(scope='session')
def colab(environment, tmp_path_factory):
    "The surroundings in which a page finds a kernel that has the built wheel and one thread"
    kernels = tmp_path_factory.mktemp('jupyter')
    spec = kernels/'kernels'/'as-on-colab'/'kernel.json'
    spec.parent.mkdir(parents=True)
    argv = [str(environment('newest')), '-m', 'ipykernel_launcher', '-f', '{connection_file}']
    spec.write_text(json.dumps(dict(argv=argv, display_name='as on Colab', language='python')))
    env = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'DL_DENOISE_SAVE_OUTPUTS')}
    return env | dict(JUPYTER_PATH=str(kernels), OMP_NUM_THREADS='1')

@every_page
def test_as_on_colab(page, colab, tmp_path):
    start = time.monotonic()
    wrong = run(page, tmp_path, colab)
    if 'CellTimeoutError' in wrong:
        # now and then a message between kernel and client is lost, and both wait; a slow page is slow twice
        start = time.monotonic()
        wrong = run(page, tmp_path, colab)
    assert not wrong, wrong
    assert time.monotonic() - start < 300

if __name__ == '__main__': execute(*sys.argv[1:])
