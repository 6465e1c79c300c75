"`dl_denoise denoise` as a user meets it: its exit code, and what it leaves on the disk"
import io, os, signal, subprocess, sys, time
import numpy as np, pytest, skimage
from PIL import Image
from dl_denoise.pictures.cleaning import denoise_picture
from dl_denoise.pictures.denoiser import load_denoiser
from dl_denoise.pictures.files import Picture, read_picture, write_picture
from test_cli import COMMAND, failed, process, run

rng = np.random.default_rng(0)
clean = skimage.data.camera()[100:196:2, 200:296:2]
def noisy(seed=0):
    return np.clip(clean + np.random.default_rng(seed).normal(0, 25, clean.shape), 0,
                   255).round().astype(np.uint8)
def error(a): return np.mean((a.astype(float) - clean)**2)

@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(('a.png', 'summer/b.png', 'summer/late/c.tif')):
        write_picture(Picture(noisy(i)), tmp_path/'in'/name)
    return tmp_path

def test_folder(folder):
    "Structure kept, originals untouched; again: refused, resumed, overwritten"
    before = {p: p.read_bytes() for p in (folder/'in').rglob('*') if p.is_file()}
    r = process('denoise', 'in', '-o', 'out', '--jobs', '2', cwd=folder)
    assert r.returncode == 0 and not r.stderr, r.stderr
    assert r.stdout.count('noise about') == 3 and '3 pictures cleaned' in r.stdout
    assert sorted(p.relative_to(folder/'out').as_posix()
                  for p in (folder/'out').rglob('*') if p.is_file()) == ['a.png', 'summer/b.png',
                                                                         'summer/late/c.tif']
    for p, data in before.items():
        assert p.read_bytes() == data
        result = folder/'out'/p.relative_to(folder/'in')
        assert error(read_picture(result).pixels) < error(read_picture(p).pixels)/2
    failed(run('denoise', 'in', '-o', 'out', cwd=folder), 2, 'and 2 more are there already', '--resume',
           '--overwrite')
    (folder/'out'/'a.png').unlink()
    stamp = (folder/'out'/'summer'/'b.png').stat().st_mtime_ns
    r = run('denoise', 'in', '-o', 'out', '--resume', cwd=folder)
    assert r.returncode == 0
    assert '2 of 3 results are there already' in r.stdout
    assert (folder/'out'/'a.png').exists()
    assert (folder/'out'/'summer'/'b.png').stat().st_mtime_ns == stamp
    assert run('denoise', 'in/summer/*.png', '-o', 'out/summer', '--overwrite', cwd=folder).returncode == 0
    assert (folder/'out'/'summer'/'b.png').stat().st_mtime_ns > stamp

@pytest.mark.parametrize('jobs', ['1', '2'])
def test_past_a_bad_file(folder, jobs):
    (folder/'in'/'bad.jpg').write_bytes(b''); (folder/'in'/'worse.png').write_text('hello')
    r = run('denoise', 'in', '--out', 'out', '--jobs', jobs, cwd=folder)
    assert r.returncode == 1 and 'Traceback' not in r.stderr
    head, *lines = r.stderr.strip().splitlines()
    assert '2 of 5 pictures could not be cleaned, 3 are done' in head
    assert {'bad.jpg', 'worse.png'} == {os.path.basename(o.split()[0]) for o in lines}
    assert len([p for p in (folder/'out').rglob('*') if p.is_file()]) == 3

def test_standard_input_and_output(folder, monkeypatch):
    p = subprocess.run([*COMMAND, 'denoise', '-', '-o', '-'], input=(folder/'in'/'a.png').read_bytes(),
                       capture_output=True, timeout=300)
    assert p.returncode == 0, p.stderr
    assert error(read_picture(p.stdout).pixels) < error(noisy())/2 and b'noise about' in p.stderr
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO()))
    r = run('denoise', '-', '-o', '-')
    failed(r, 1, '0 bytes')
    assert not r.stdout

@pytest.mark.parametrize('args,words', [
    ([], 'required: inputs'), (['in'], '-o OUT'), (['in', '-o', 'in'], 'never written over'),
    (['in/a.png', '-o', 'in/a.png', '--overwrite'], 'never written over'),
    (['no', '-o', 'out'], 'there is no file or folder no'), (['in', '-o', '-'], 'takes one picture'),
    (['-', '-o', 'out'], 'result.png'), (['in', '-o', 'out', '--strength', '1.5'], 'strength'),
    (['in', '-o', 'out', '--sigma', '-3'], 'sigma'), (['in', '-o', 'out', '--jobs', '0'], '--jobs'),
    (['in', '-o', 'out', '--quality', '101'], '--quality'),
    (['in', '-o', 'out', '--model', 'foto-grey'], "did you mean 'photo-grey'"),
    (['in/a.png', '-o', 'a.xyz'], '.png, .jpg'),
    (['in', '-o', 'out', '--resume', '--overwrite'], 'one of the two'),
    (['in', '-o', 'out', '--poisson', '--sigma', '9'], 'one of the two'),
    (['in', '-o', 'out', '--adapt', '--sigma', '9'], 'leave --sigma'),
    (['in', '-o', 'out', '--adapt', '--jobs', '2'], 'leave --jobs out'),
    (['in', '-o', 'out', '--strenght', '1'], "did you mean '--strength'")])
def test_wrong_words(folder, args, words):
    failed(run('denoise', *args, cwd=folder), 2, words)
    assert [p.name for p in folder.iterdir()] == ['in']

def test_words_are_read_before_torch():
    code = ("import sys; from dl_denoise.apps.cli import main; assert main(sys.argv[1:]) == 2; "
            "assert 'torch' not in sys.modules and 'fastai' not in sys.modules")
    for args in (['denoise', 'nowhere', '-o', 'x'], ['denoise', '-', '-o', 'x'],
                 ['denoise', 'a', '-o', 'x', '--model', 'y']):
        subprocess.run([sys.executable, '-c', code, *args], check=True, capture_output=True)

def test_options_between_inputs(folder):
    r = run('denoise', 'in/a.png', '-o', 'out', 'in/summer/b.png', '--strength', '0', cwd=folder)
    assert r.returncode == 0, r.stderr
    assert np.array_equal(read_picture(folder/'out'/'b.png').pixels, noisy(1))

def test_sigma_beyond_the_training(folder):
    "At 90 of 255 the blind network leaves noise; told so, or by an estimate, it cleans better"
    y = skimage.data.camera()[60:188, 150:278].astype(np.float32)/255
    write_picture(Picture(y + rng.normal(0, 90/255, y.shape).astype(np.float32)), folder/'x.tif')
    e = dict(blind=np.mean((denoise_picture(read_picture(folder/'x.tif'),
                                            load_denoiser('photo-grey',
                                                          device='cpu')).pixels.clip(0, 1) - y)**2))
    for name, args in dict(estimated=['--report'], told=['--sigma', '90']).items():
        r = run('denoise', 'x.tif', '-o', f'{name}.tif', '--model', 'photo-grey', *args, cwd=folder)
        assert r.returncode == 0 and ('brought down to 55' in r.stdout) == (name == 'estimated'), \
            (r.stdout, r.stderr)
        e[name] = np.mean((read_picture(folder/f'{name}.tif').pixels.clip(0, 1) - y)**2)
    assert e['told'] < e['blind']*.9 and e['estimated'] < e['told']*1.1, e

def test_few_photons(folder):
    "Eight photons at white in a file of counts: through the square root it is cleaner"
    y = skimage.data.camera()[60:188, 150:278]/255
    # a detector with a gain of 32
    write_picture(Picture((8*4*rng.poisson(8*y)).astype(np.uint16)), folder/'x.tif')
    e = {}
    for name, args in dict(plain=[], poisson=['--poisson', '--report']).items():
        r = run('denoise', 'x.tif', '-o', f'{name}.tif', '--model', 'photo-grey', *args, cwd=folder)
        assert r.returncode == 0, r.stderr
        e[name] = np.mean((read_picture(folder/f'{name}.tif').pixels/256. - y)**2)
    assert 'photons at white' in r.stdout and e['poisson'] < e['plain']*.9, (r.stdout, e)

def test_limit(folder):
    failed(run('denoise', 'in/a.png', '-o', 'out', '--max-megapixels', '.001', cwd=folder), 1,
           'the limit is 0.001', '--max-megapixels')

def mounted(folder, *options):
    folder.mkdir()
    if os.name != 'posix' or os.geteuid() or subprocess.run(['mount', '-t', 'tmpfs', *options, 'tmpfs',
                                                             folder], capture_output=True).returncode:
        pytest.skip('cannot mount a small file system here')

def test_full_disk(folder):
    mounted(folder/'disk', '-o', 'size=8k')
    try:
        a = rng.integers(0, 256, (150, 150), dtype=np.uint8)
        write_picture(Picture(a), folder/'big.png')
        failed(run('denoise', 'big.png', '-o', 'disk', '--strength', '0', cwd=folder), 1, 'no space left')
        assert not [*(folder/'disk').iterdir()] and np.array_equal(read_picture(folder/'big.png').pixels, a)
    finally: subprocess.run(['umount', folder/'disk'])

def test_read_only_folder(folder):
    mounted(folder/'disk', '-o', 'ro')
    try: failed(run('denoise', 'in', '-o', 'disk/out', cwd=folder), 1, 'is read-only', 'choose another place')
    finally: subprocess.run(['umount', folder/'disk'])

def test_interrupted_and_resumed(tmp_path):
    "Ctrl-C in the middle: 130, whole results only; --resume does the rest"
    a = np.tile(noisy(), (6, 6))
    for i in range(40): write_picture(Picture(a), tmp_path/'in'/f'{i:02}.png')
    p = subprocess.Popen([*COMMAND, 'denoise', 'in', '-o', 'out'], cwd=tmp_path, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True,
                         # some parents ignore it
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    end = time.time() + 200
    while not [*tmp_path.glob('out/[0-9]*.png')] and p.poll() is None and time.time() < end: time.sleep(.02)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    done = sorted(tmp_path.glob('out/*'))
    assert p.returncode == 130 and f'{len(done)} of 40 pictures are done and whole' in err, err
    assert '--resume' in err and 'Traceback' not in err, err
    assert 0 < len(done) < 40 and not [o for o in (tmp_path/'out').iterdir() if o.name.startswith('.')]
    for o in done: assert read_picture(o).pixels.shape == a.shape
    # two more are enough
    for o in sorted((tmp_path/'in').iterdir())[len(done)+2:]: o.unlink()
    r = run('denoise', 'in', '-o', 'out', '--resume', cwd=tmp_path)
    assert r.returncode == 0
    assert f'{len(done)} of {len(done)+2} results are there already' in r.stdout
    assert len([*(tmp_path/'out').iterdir()]) == len(done)+2

def test_report(folder, tmp_path):
    "The evidence is written beside the result, for whole numbers and for floats in a range of their own"
    write_picture(Picture(noisy().astype(np.float32)), tmp_path/'f.tif')
    for source in (folder/'in'/'a.png', tmp_path/'f.tif'):
        r = run('denoise', source, '-o', tmp_path/'out', '--report', '--jobs', '2')
        assert r.returncode == 0, r.stderr
        with Image.open(tmp_path/'out'/f'{source.stem}-report.png') as im:
            assert im.format == 'PNG' and min(im.size) > 300
    assert {o.name for o in (tmp_path/'out').iterdir()} == {'a.png', 'a-report.png', 'f.tif', 'f-report.png'}

def coarse_scene(n=96, level=28):
    "A smooth scene, and the same under noise that squares of 2×2 pixels share, in 16 bits"
    rng = np.random.default_rng(0)
    i, j = np.mgrid[:n, :n]/n
    clean = 120 + 60*np.sin(5*i)*np.cos(4*j)
    fine = rng.standard_normal((n + 1, n + 1))
    shared = (fine[1:, 1:] + fine[:-1, 1:] + fine[1:, :-1] + fine[:-1, :-1])/2
    return clean, (257*(clean + level*shared).clip(0, 255)).astype(np.uint16)

def test_adapt(tmp_path):
    "Coarse noise, which the packaged network takes for the picture, in a file of 16 bits"
    clean, noisy = coarse_scene()
    Image.fromarray(noisy).save(tmp_path/'scan.png')
    def error(name, *more):
        done = run('denoise', 'scan.png', '-o', name, '--white', '65535', *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return ((np.asarray(Image.open(tmp_path/name))/257 - clean)**2).mean(), done.stdout
    (packaged, _), (adapted, told) = error('packaged.png'), error('adapted.png', '--adapt')
    assert 'adapted to coarse noise' in told and 'estimated change' in told
    assert adapted < .7*packaged

def test_adapt_keeps_the_packaged_one(tmp_path):
    "White noise is what it knows: the same result, and the line says so"
    noisy = (120 + 20*np.random.default_rng(0).standard_normal((80, 80))).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path/'a.png')
    run('denoise', 'a.png', '-o', 'packaged.png', cwd=tmp_path)
    done = run('denoise', 'a.png', '-o', 'adapted.png', '--adapt', cwd=tmp_path)
    assert 'not adapted: ' in done.stdout, done.stderr
    assert (tmp_path/'packaged.png').read_bytes() == (tmp_path/'adapted.png').read_bytes()
