"`dl_denoise train`: pairs of captures in, a denoiser out, and what it says when something does not fit"
import numpy as np, pytest
import torch
import test_cli
from PIL import Image
from dl_denoise.pictures.captures import read_captures
from dl_denoise.pictures.denoiser import load_denoiser

def run(*args): return test_cli.run('train', *args)

@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    "Smooth scenes under strong stripes, which a packaged network does not know"
    home, rng = tmp_path_factory.mktemp('pairs'), np.random.default_rng(0)
    y = np.linspace(60, 190, 64)
    for f in 'AB':
        (home/f).mkdir()
        for i in range(8):
            scene = (y[:, None] + y[::-1])/2 + 5*i
            Image.fromarray(np.clip(scene + 25*rng.standard_normal((64, 1))
                                    + 8*rng.standard_normal((64, 64)), 0,
                                    255).astype(np.uint8)).save(home/f/f'{i}.png')
    return home

def test_trains(folders, tmp_path):
    done = run('--pairs', folders/'A', folders/'B', '--out', tmp_path/'o', '--epochs', 3, '--size', 32,
               '--lr', 1e-3, '--name', 'cam')
    assert done.returncode == 0, done.stderr
    assert 'held-out pairs' in done.stdout
    dn = load_denoiser(tmp_path/'o'/'cam.json', device='cpu')
    r = dn.card['record']
    assert r['mse'] < r['mse_before']
    assert r['start'] == 'photo-grey'
    assert r['target'] == 'noisy'
    assert r['white'] is None
    assert dn(np.zeros((9, 9), np.uint8)).shape == (9, 9)
    again = run('--pairs', folders/'A', folders/'B', '--out', tmp_path/'o', '--name', 'cam')
    assert again.returncode == 2 and 'left as it is' in again.stderr

def test_twelve_bits(folders, tmp_path):
    "What eight bits cannot tell apart: captures of a microscope, in files of sixteen"
    rng = np.random.default_rng(0)
    for f in 'AB':
        (tmp_path/f).mkdir()
        for i in range(3):
            Image.fromarray((3000 + 40*rng.standard_normal((48, 48))
                             + 10*i).astype(np.uint16)).save(tmp_path/f/f'{i}.tif')
    done = run('--pairs', tmp_path/'A', tmp_path/'B', '--out', tmp_path/'o', '--epochs', 1, '--size', 24)
    assert done.returncode == 0, done.stderr
    r = load_denoiser(tmp_path/'o'/'mine.json', device='cpu').card['record']
    assert 3300 < r['white'] < 3600                    # a tenth above all but the brightest thousandth
    assert abs(r['noise_variance']/(40/r['white'])**2 - 1) < .1

def test_hot_pixel_in_a_capture(tmp_path):
    "One hot pixel in one of twenty captures: white, and so what is learnt, stays where it was"
    rng = np.random.default_rng(0)
    for f in 'AB':
        (tmp_path/f).mkdir()
        for i in range(10):
            shot = (500 + 40*rng.standard_normal((64, 64)) + 5*i).astype(np.uint16)
            if (f, i) == ('B', 7): shot[5, 6] = 60_000
            Image.fromarray(shot).save(tmp_path/f/f'{i}.tif')
    scenes = read_captures(tmp_path/'A', tmp_path/'B')
    assert .7 < torch.stack(scenes).median() < .9      # not .01

@pytest.mark.parametrize('args,code,says', [
    ([], 2, 'needs two folders, got 0'),
    (['--pairs', 'A'], 2, 'needs two folders, got 1'),
    (['--pairs', 'A', 'nowhere'], 2, 'there is no folder nowhere'),
    (['--pairs', 'A', 'A'], 1, 'are the same picture'),
    (['--pairs', 'A', 'B', '--start', 'photo-gray'], 2, "did you mean 'photo-grey'"),
    (['--pairs', 'A', 'B', '--epochs', '0'], 2, '--epochs must be a whole number of at least 1'),
    (['--pairs', 'A', 'B', '--lr', '0'], 2, '--lr must be a number'),
    (['--pairs', 'A', 'B', '--size', '100'], 1, 'smaller than 100×100')], ids=lambda o: None)
def test_errors(folders, monkeypatch, tmp_path, args, code, says):
    monkeypatch.chdir(folders)
    done = run(*args, '--out', tmp_path/'o')
    assert done.returncode == code and says in done.stderr and 'Traceback' not in done.stderr, done.stderr
    assert not [*tmp_path.glob('o/*.safetensors')]

@pytest.fixture(scope='module')
def singles(tmp_path_factory):
    "Four scenes, each once, under noise that neighbours share"
    home, rng = tmp_path_factory.mktemp('singles'), np.random.default_rng(1)
    i, j = np.mgrid[:64, :64]/64
    for k in range(4):
        fine = rng.standard_normal((65, 65))
        shared = (fine[1:, 1:] + fine[:-1, 1:] + fine[1:, :-1] + fine[:-1, :-1])/2
        scene = 120 + 50*np.sin((k + 2)*i + j)
        Image.fromarray((scene + 28*shared).clip(0, 255).astype(np.uint8)).save(home/f'{k}.png')
    return home

def test_alone(singles, tmp_path):
    done = run('--alone', singles, '--out', tmp_path/'o', '--epochs', 3, '--size', 32, '--lr', 1e-3)
    assert done.returncode == 0, done.stderr
    assert 'The noise is coarse: taught by LikeNoise' in done.stdout
    r = load_denoiser(tmp_path/'o'/'mine.json', device='cpu').card['record']
    assert r['risk'] < r['risk_before'] and r['start'] == 'photo-grey' and r['target'] is None
    # finished before: the checkpoint and the best weights say so, and nothing is overwritten
    again = run('--alone', singles, '--out', tmp_path/'o')
    assert again.returncode == 2 and 'left as it is' in again.stderr

def test_alone_keeps_the_best(singles, tmp_path, monkeypatch):
    "Stopped after the last epoch and resumed: the epoch of least risk, with no training again"
    from dl_denoise.pictures import adapt
    def stop(*args): raise KeyboardInterrupt
    options = dict(epochs=2, size=32, lr=2e-3, scratch=True, precision='fp32')
    with monkeypatch.context() as m:
        m.setattr(adapt, '_keep_alone', stop)
        with pytest.raises(KeyboardInterrupt): adapt.train_alone(singles, tmp_path, **options)
    best = torch.load(tmp_path/'mine-best.pth', weights_only=True)
    monkeypatch.setattr(adapt, '_keep_alone', lambda learn, *args: learn.model.state_dict())
    resumed = adapt.train_alone(singles, tmp_path, resume=True, **options)
    assert all((resumed[k] == v).all() for k, v in best.items())

@pytest.mark.parametrize('args,says', [
    (['--alone', 'nothing'], 'there is no folder nothing'),
    (['--scratch'], '--scratch is for --alone'),
    (['--alone', '.', '--pairs', 'a', 'b'], 'one folder of single pictures')])
def test_alone_wrong_words(args, says):
    done = run(*args)
    assert done.returncode == 2 and says in done.stderr
