"The command line as a user meets it: its exit code, and what it prints"
import io, os, signal, subprocess, sys, time
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace
import pytest
from dl_denoise.apps.cli import main
from dl_denoise.ledger import load_records

# what the installed script does
COMMAND = [sys.executable, '-c', 'import sys; from dl_denoise.apps.cli import main; sys.exit(main())']

def process(*args, env=None, timeout=300, **kw):
    "Run `dl_denoise` as a process"
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **(env or {})}, **kw)

def run(*args, cwd='.'):
    "The same in this process, which has imported torch already"
    out, err, here = io.StringIO(), io.StringIO(), os.getcwd()
    os.chdir(cwd)
    try:
        with redirect_stdout(out), redirect_stderr(err): code = main([*map(str, args)])
    finally: os.chdir(here)
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())

def failed(r, code, *words):
    "One or two lines on standard error, no traceback, the right exit code"
    assert r.returncode == code, r.stderr
    assert 'Traceback' not in r.stderr and len(r.stderr.strip().splitlines()) <= 2, r.stderr
    for w in words: assert w in r.stderr

@pytest.mark.parametrize('args,code,words', [
    (['--help'], 0, []), (['demo1', '--help'], 0, []),
    (['demo2', '--help'], 0, []), (['demo3'], 2, ["did you mean 'demo"]),
    (['demo2', '--ways', 'n2n-cliped'], 2, ["did you mean 'n2n-clipped'"]),
    (['reproduce', 'leaks'], 2, ["did you mean 'leak'"]),
    (['reproduce', 'leak', '--models', 'cnn'], 2, ['--models is for demo1, demo2 and bsd']),
    (['demo'], 2, ["did you mean 'demo"]),
    (['demo1', '--data', 'minst'], 2, ["did you mean 'mnist'"]),
    (['demo1', '--models', 'dncn'], 2, ["did you mean 'dncnn'"]),
    (['demo1', '--sigma', '-1'], 2, ['sigma must be a number from 0 to 5']),
    (['demo1', '--sigma', 'nan'], 2, ['got nan']),
    (['demo1', '--sigma', 'big'], 2, ['invalid float value']),
    (['demo1', '--images', '0'], 2, ['--images must be a whole number of at least 1']),
    (['demo1', '--epocs', '3'], 2, ["did you mean '--epochs'"])])
def test_answers_at_once(args, code, words):
    "Help and wrong use within half a second of the processor's time; the clock's depends on who else works"
    before = os.times()
    r = process(*args)
    after = os.times()
    if code: failed(r, code, *words)
    else: assert r.returncode == 0 and 'dl_denoise' in r.stdout and not r.stderr
    took = after.children_user + after.children_system - before.children_user - before.children_system
    assert took < .5, took

def test_interrupted_and_resumed(tmp_path):
    "Ctrl-C in training keeps the finished epochs; --resume goes on and ends with a table and pictures"
    args = ['demo1', '--models', 'cnn', '--images', '64', '--epochs', '30', '--out', 'out']
    p = subprocess.Popen([*COMMAND, *args], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True,
                         # some parents ignore it
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    checkpoint, end = tmp_path/'out/checkpoints/cnn.pth', time.time()+200
    while not checkpoint.exists() and p.poll() is None and time.time() < end: time.sleep(.05)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 130 and '--resume' in err and 'Traceback' not in err
    assert not (tmp_path/'out/results').exists()
    # whole, and nothing half-written beside it
    assert [f.name for f in checkpoint.parent.iterdir()] == ['cnn.pth']
    r = run(*args, '--resume', cwd=tmp_path)
    assert r.returncode == 0, r.stderr
    assert 'CNN' in r.stdout and 'median' in r.stdout
    for f in ('digits.png', 'histograms.png', 'worst.png', 'weights/cnn-digits.safetensors'):
        assert (tmp_path/'out'/f).stat().st_size > 1000
    records = load_records(folder=tmp_path/'out'/'results')
    assert {r['model'] for r in records} >= {'noisy', 'median', 'cnn'}
    # a checkpoint of another training
    r = run(*args[:-4], '--epochs', '29', '--out', 'out', '--resume', cwd=tmp_path)
    failed(r, 2, 'epochs was 30 and is now 29')

def test_demo2(tmp_path):
    """Demo 2, small: a table with both targets, pictures, weights that load, and a message where the
    ways do not fit"""
    args = ['demo2', '--images', '300', '--epochs', '2', '--ways', 'supervised,n2n-unbiased', '--out', 'out']
    r = run(*args, cwd=tmp_path)
    assert r.returncode == 0, r.stderr
    assert 'CNN, clean targets' in r.stdout and 'CNN, noisy targets, unbiased output' in r.stdout
    for f in ('digits.png', 'histograms.png', 'weights/cnn-n2n-clipped-digits.safetensors'):
        assert (tmp_path/'out'/f).stat().st_size > 1000
    records = {r.get('variant'): r for r in load_records(folder=tmp_path/'out'/'results')}
    assert {*records} == {None, 'supervised', 'n2n-clipped', 'n2n-unbiased'}
    assert records['n2n-clipped']['target'] == 'noisy'
    from dl_denoise.pictures.denoiser import load_denoiser
    assert load_denoiser('cnn-n2n-clipped-digits',
                         folder=tmp_path/'out'/'weights').card['record'] == records['n2n-clipped']
    # nothing is written over
    args = ['demo2', '--images', '100', '--epochs', '1', '--ways', 'supervised', '--out', 'out']
    assert run(*args, cwd=tmp_path).returncode == 0 and (tmp_path/'out-2'/'digits.png').exists()

def test_no_network_no_data(tmp_path):
    "Without data and network: says so, leaves nothing half-written, exit code 1"
    env = dict(DL_DENOISE_DATA='', XDG_CACHE_HOME=str(tmp_path/'cache'), HTTP_PROXY='http://127.0.0.1:9',
               HTTPS_PROXY='http://127.0.0.1:9',
               http_proxy='http://127.0.0.1:9', https_proxy='http://127.0.0.1:9')
    r = process('demo1', '--data', 'mnist', '--models', 'cnn', env=env, cwd=tmp_path)
    failed(r, 1, 'could not download train-images-idx3-ubyte.gz', 'Check the network')
    assert not [p for p in (tmp_path/'cache'/'dl_denoise').rglob('*') if p.is_file()]

def test_corrupted_mnist(tmp_path):
    "A file with the right name and wrong bytes is never used"
    (tmp_path/'mnist').mkdir()
    for f in ('train-images-idx3-ubyte.gz', 't10k-images-idx3-ubyte.gz'):
        (tmp_path/'mnist'/f).write_bytes(b'\x1f\x8b not really')
    r = process('evaluate', 'cnn-mnist', env=dict(DL_DENOISE_DATA=str(tmp_path)))
    failed(r, 1, 'is not the file expected', 'Delete it')

def test_folder_of_wrong_pictures(tmp_path):
    "A file that is not an image, and images of the wrong shape"
    from PIL import Image
    for i in range(3): Image.new('L', (20, 50)).save(tmp_path/f'{i}.png')
    failed(run('demo1', '--data', str(tmp_path), '--out', str(tmp_path/'o')), 1, 'smaller than 32×32',
           '20×50')
    (tmp_path/'3.png').write_text('hello')
    failed(run('demo1', '--data', str(tmp_path), '--out', str(tmp_path/'o')), 1,
           'cannot be read as an image', '3.png')

@pytest.mark.skipif(os.name != 'posix' or os.geteuid() != 0, reason='needs root to make a small file system')
def test_full_disk(tmp_path):
    "On a full disk: one line, exit code 1, nothing half-written"
    disk = tmp_path/'disk'; disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk],
                      capture_output=True).returncode:
        pytest.skip('cannot mount a small file system here')
    try:
        r = run('demo1', '--models', 'cnn', '--images', '64', '--epochs', '1', '--out', str(disk/'out'))
        failed(r, 1, 'no space left')
        assert not [p for p in disk.rglob('*') if p.is_file()]
    finally: subprocess.run(['umount', disk])

def test_models_and_evaluate():
    "What `models` lists can be evaluated; on MNIST's test images the card's number comes out to 1 %"
    from dl_denoise.core import cards
    names = list(cards())
    r = run('models')
    assert r.returncode == 0 and all(n in r.stdout for n in names)
    if names:
        assert run('evaluate', names[0], '--data', 'digits', '--images',
                   '50').stdout.startswith(f'{names[0]} on 50 test images of digits: MSE')
