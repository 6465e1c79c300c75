"Many machines: files on workers that may die, and volumes block by block, the same as here and whole"
import json, os, signal, subprocess, sys, time
from pathlib import Path
from types import SimpleNamespace
import numpy as np, pytest, torch
da, distributed, zarr = (pytest.importorskip(o) for o in ('dask.array', 'distributed', 'zarr'))
from dl_denoise.apps.cli import main
from dl_denoise.core import DenoiseError, UsageError, cards
from dl_denoise.models.blocks import create_model
from dl_denoise.pictures import many
from dl_denoise.pictures.cleaning import Cleaning, decided, on_scale
from dl_denoise.pictures.denoiser import Denoiser, load_denoiser, save_denoiser
from dl_denoise.pictures.files import Picture, write_picture
from dl_denoise.pictures.folders import denoise_files, plan
from test_cli import COMMAND

rng = np.random.default_rng(0)
N = 24

def network(name, **kwargs):
    "A small network that changes pictures, with weights drawn at random"
    torch.manual_seed(0)
    net = create_model(name, **kwargs).eval()
    with torch.no_grad():
        for p in net.parameters(): p.add_(.1*torch.randn_like(p))
    return net

@pytest.fixture(scope='module')
def model(tmp_path_factory):
    "The file of a small denoiser, as every worker can load it"
    folder = tmp_path_factory.mktemp('model')
    save_denoiser(network('dncnn', depth=3, width=4), 'small', 'dncnn', cards()['photo-grey']['record'],
                  folder, depth=3, width=4)
    return str(folder/'small.json')

@pytest.fixture(scope='module')
def folder(tmp_path_factory, model):
    "Small pictures and a broken one; and their results by the plain command"
    home = tmp_path_factory.mktemp('files')
    for i in range(N):
        write_picture(Picture(rng.integers(0, 256, (200, 200), dtype=np.uint8)), home/f'in/{i%3}/{i:02}.png')
    (home/'in'/'broken.png').write_bytes(b'no picture')
    pairs = plan(home/'in', home/'plain')
    with pytest.raises(DenoiseError, match=f'1 of {N + 1} pictures'):
        denoise_files(pairs, model=model, say=lambda line: None)
    return home

@pytest.fixture(scope='module')
def client():
    "Two workers, each a process of one core"
    with many.connect('local:2') as c: yield c

def contents(folder): return {o.relative_to(folder): o.read_bytes() for o in folder.rglob('*') if o.is_file()}

def cleaned(home, client, out, model, **kwargs):
    "The lines that were said"
    lines = []
    def say(line):
        lines.append(line)
        if 'at_line' in kwargs and len(lines) == 3: kwargs['at_line']()
    more = {k: v for k, v in kwargs.items() if k != 'at_line'}
    with pytest.raises(DenoiseError, match='broken.png is not a picture'):
        many.denoise_many(plan(home/'in', home/out), client, say=say, model=model, **more)
    assert contents(home/out) == contents(home/'plain')      # nothing is lost, and no half file is left
    return [o for o in lines if ' -> ' in o]

def test_as_the_plain_command(folder, client, model):
    assert len({*cleaned(folder, client, 'two', model)}) == N

def test_killed_worker(folder, client, model):
    "Its files are done again by the others, and each is told once"
    pids = client.run(os.getpid)
    def kill(): os.kill(min(pids.values()), signal.SIGKILL)
    lines = cleaned(folder, client, 'killed', model, at_line=kill)
    assert len({*lines}) == len(lines) == N
    client.wait_for_workers(2, timeout=60)
    assert {*client.run(os.getpid).values()} != {*pids.values()}

def test_killed_client(folder, client, model):
    "What is done stays, the rest is done by --resume"
    out = folder/'resumed'
    p = subprocess.Popen([*COMMAND, 'denoise', str(folder/'in'), '-o', str(out), '--model', model,
                          '--scheduler', client.scheduler.address], stdout=subprocess.DEVNULL)
    end = time.time() + 400      # starting up may take long
    while not list(out.rglob('[0-9]*.png')) and p.poll() is None and time.time() < end: time.sleep(.01)
    p.kill()
    assert p.wait() == -signal.SIGKILL
    before = len(list(out.rglob('[0-9]*.png')))
    lines = cleaned(folder, client, 'resumed', model, resume=True)
    assert 0 < before and len(lines) <= N - before

def test_a_task_that_fails(tmp_path, client, model, monkeypatch):
    "A file that a task fails of is told like a bad one; those in the same batch are cleaned"
    monkeypatch.setattr(many, 'clean_batch', deadly)
    pairs = [(tmp_path/f'{i}', tmp_path/f'{i}.png') for i in range(3)]
    monkeypatch.setattr(many, 'batches', lambda pairs, most: iter([pairs]))
    found = [*many.on_workers(pairs, Cleaning(), client)]
    bad = [e for _, _, e in found if e]
    assert len(found) == 3 and len(bad) == 1 and '1 is not cleaned: RuntimeError on the worker' in str(bad[0])

def deadly(pairs, how, engine):
    if any(source.name == '1' for source, _ in pairs): raise RuntimeError('no more')
    return [(pair, 'done', None) for pair in pairs]

def test_lost_tasks():
    "Where every worker was killed by a file, the file is bad; where the scheduler is gone, all stops"
    killed = distributed.scheduler.KilledWorker('task', None, 3)
    future = SimpleNamespace(status='error', exception=lambda: killed)
    assert 'every worker that tried it was killed' in str(many._lost('a.png', future))
    with pytest.raises(DenoiseError, match='--resume goes on'):
        many._lost('a.png', SimpleNamespace(status='cancelled'))

def test_blind_workers(tmp_path, client):
    with pytest.raises(DenoiseError, match='does not see'): many._check_workers(client, tmp_path/'elsewhere')

def test_batches(tmp_path):
    for i, n in enumerate([5, 5, 100, 5, 5, 5]): (tmp_path/f'{i}').write_bytes(bytes(n))
    pairs = [(tmp_path/f'{i}', None) for i in range(6)]
    assert [len(o) for o in many.batches(pairs, 2, 50)] == [2, 1, 2, 1]
    assert sum(many.batches(pairs, 16, 50), []) == pairs

# ---- arrays

@pytest.mark.parametrize('net,kwargs', [('unet', dict(widths=(4, 4, 4), blocks=1)),
                                        ('dncnn', dict(depth=4, width=4))])
@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
def test_blocks_are_the_whole(net, kwargs, dtype):
    "Odd sizes, chunks that fit no grid, a corner without noise: as if each plane were cleaned whole"
    white = 1 if dtype == 'float32' else 200
    x = (rng.random((2, 2, 250, 331))*white).astype(dtype)
    x[..., :200, :200] = white//2
    dn = Denoiser(network(net, **kwargs), dict(channels=1), 'cpu', tile=64)
    found = dict(sigma=None, strength=1., white=(0., float(white)), poisson=None)
    lazy = many.denoise_array(da.from_array(x, chunks=(1, 2, 70, 50)), dn, found=found)
    assert lazy.chunks[:2] == ((1, 1), (2,)) and lazy.dtype == dtype
    whole = Denoiser(dn.model, dn.card, 'cpu', tile=512)
    expected = np.stack([[on_scale(plane, whole, 0., white) for plane in planes] for planes in x])
    gap = np.abs(lazy.compute(scheduler='synchronous').astype(float) - expected)
    assert gap.max() <= (1e-4 if dtype == 'float32' else 1) and (gap > 1e-4).mean() < 1e-3
    assert (expected != x).mean() > .5

def test_sides():
    for n, chunk, tile, step, halo in [(1000, 64, 512, 8, 104), (515, 64, 128, 8, 104), (90, 30, 128, 4, 16),
                                       (4000, 300, 512, 8, 16), (4000, 1999, 512, 8, 16)]:
        parts = many.side_chunks(n, chunk, tile, step, halo)
        assert sum(parts) == n and all(o % step == 0 for o in parts[:-1])
        assert len(parts) == 1 or min(parts) >= halo
        if chunk == 300: assert parts[0] == 600      # on the grid, and on the borders of the chunks

@pytest.mark.parametrize('x,words', [
    (np.zeros((9, 9), np.int16), 'its numbers are int16'), (np.zeros(9, np.uint8), 'height, width'),
    (np.zeros((9, 9, 3), np.uint8), 'channels before both'),
    (np.zeros((0, 9, 9), np.uint8), 'height, width')])
def test_no_planes(x, words):
    with pytest.raises(DenoiseError, match=words): many.denoise_array(da.from_array(x), 'photo-grey')

def test_two_channels_are_no_colours():
    with pytest.raises(DenoiseError, match='leave --colour out'):
        many.denoise_array(da.zeros((2, 9, 9), dtype='uint8'), 'photo-colour', colour=True)

# ---- Zarr

AXES = [dict(name='c', type='channel'), dict(name='z', type='space', unit='micrometer'),
        dict(name='y', type='space', unit='micrometer'), dict(name='x', type='space', unit='micrometer')]

def ome(path, x, version):
    "A small OME-Zarr image of two levels"
    def level(i):
        scale = dict(type='scale', scale=[1, .5, 2**i, 2**i])
        return dict(path=f'{i}', coordinateTransformations=[scale])
    image = dict(version=version, axes=AXES, name='cell', datasets=[level(0), level(1)], type='mean')
    told = dict(multiscales=[image], omero=dict(channels=[dict(color='FF0000', window=dict(start=0, end=9))]))
    v3 = version == '0.5'
    if v3: told = dict(ome=told | dict(version=version))
    group = zarr.open_group(str(path), mode='w', zarr_format=3 if v3 else 2, attributes=told)
    kwargs = dict(chunks=(1, 1, 64, 48), dimension_names=list('czyx')) if v3 else \
        dict(chunks=(1, 1, 64, 48), chunk_key_encoding=dict(name='v2', separator='/'))
    order = '<' if v3 else '>'      # as bioformats2raw writes it
    for i, a in enumerate([x, x[..., ::2, ::2]]):
        group.create_array(str(i), shape=a.shape, dtype=a.dtype.newbyteorder(order), **kwargs)[:] = a
    return told

def volume(*shape): return (rng.random(shape)*4000).astype(np.uint16)

def plane_by_plane(x, dn, how):
    "The planes of a stack by themselves, on the scale of all"
    found, _ = decided(many.sample_array(x), dn, how)
    assert found['sigma'] is None
    return np.stack([on_scale(p, dn, *found['white']) for p in x.reshape(-1, *x.shape[-2:])]).reshape(x.shape)

@pytest.mark.parametrize('version', ['0.4', '0.5'])
def test_ome_zarr(tmp_path, model, version, capsys):
    "Every plane as by itself; axes, scale and colours as they were; one level; the command says what it did"
    x = volume(2, 3, 130, 100)//4 + 1500
    told = ome(tmp_path/'in.zarr', x, version)
    assert main(['denoise', str(tmp_path/'in.zarr'), '-o', str(tmp_path/'out'), '--model', model]) == 0
    assert 'Zarr 2×3×130×100, uint16, noise about' in capsys.readouterr().out
    node = zarr.open(str(tmp_path/'out'/'in.zarr'), mode='r')
    expected = plane_by_plane(x, load_denoiser(model, 'cpu'), Cleaning(model))
    assert np.abs(node['0'][:].astype(int) - expected).max() <= 1 and (expected != x).mean() > .5
    before, after = (o.get('ome', o) for o in (told, node.attrs.asdict()))
    first = before['multiscales'][0]
    del first['datasets'][1:], first['type']
    assert before == after and [*node.array_keys()] == ['0']
    source = zarr.open(str(tmp_path/'in.zarr'), mode='r')['0']
    assert node['0'].metadata == source.metadata
    assert [o.name for o in (tmp_path/'out').iterdir()] == ['in.zarr']

def test_plain_zarr_on_workers(tmp_path, client, model):
    "With a cluster as with threads; shards stay whole; a second time it is refused, kept or replaced"
    x = volume(7, 100, 90)
    zarr.create_array(str(tmp_path/'in.zarr'), data=x, chunks=(1, 50, 45), shards=(2, 100, 90),
                      attributes=dict(voxel=.3))
    how = Cleaning(model)
    many.denoise_zarr(tmp_path/'in.zarr', tmp_path/'out.zarr', how, client)
    many.denoise_zarr(tmp_path/'in.zarr', tmp_path/'here.zarr', how, jobs=2)
    out, here = (zarr.open(str(tmp_path/o), mode='r') for o in ('out.zarr', 'here.zarr'))
    assert (out[:] == here[:]).all() and (out[:] != x).mean() > .5
    assert out.shards == (2, 100, 90) and out.attrs.asdict() == dict(voxel=.3)
    words = ['denoise', str(tmp_path/'in.zarr'), '-o', str(tmp_path/'out.zarr'), '--strength', '0']
    assert main(words) == 2 and main([*words, '--resume']) == 0 and (out[:] != x).any()
    assert main([*words, '--overwrite']) == 0
    assert (zarr.open(str(tmp_path/'out.zarr'), mode='r')[:] == x).all()

def test_colour(tmp_path):
    "Three channels together, wherever their axis is"
    x = (rng.random((3, 2, 40, 50))*255).astype(np.uint8)
    ome(tmp_path/'in.zarr', x, '0.4')
    how = Cleaning('photo-colour', strength=1.)
    many.denoise_zarr(tmp_path/'in.zarr', tmp_path/'out.zarr', how, colour=True)
    y = zarr.open(str(tmp_path/'out.zarr'), mode='r')['0'][:]
    planes = np.moveaxis(x, 0, -1)
    dn = load_denoiser('photo-colour', 'cpu')
    found, _ = decided(Picture(np.concatenate([*planes])), dn, how)
    expected = [on_scale(p, many.cleaner(dn, found['sigma']), *found['white']) for p in planes]
    assert np.abs(np.moveaxis(y, 0, -1).astype(int) - np.stack(expected)).max() <= 1

def test_interrupted_zarr(tmp_path, monkeypatch):
    "A result that could not be made whole is not there; what a killed run left is taken away by the next"
    zarr.create_array(str(tmp_path/'in.zarr'), data=volume(3, 30, 30), chunks=(1, 30, 30))
    left = tmp_path/'.out.zarr.999999999.abcdefgh'
    (left/'new').mkdir(parents=True)
    def breaks(*args, **kwargs): raise OSError('the disk is gone')
    monkeypatch.setattr(da, 'store', breaks)
    with pytest.raises(OSError): many.denoise_zarr(tmp_path/'in.zarr', tmp_path/'out.zarr', Cleaning())
    assert [o.name for o in tmp_path.iterdir()] == ['in.zarr']

MEMORY = """
import sys, numpy as np, zarr
from dl_denoise.ledger import peak_memory
from dl_denoise.pictures.cleaning import Cleaning
from dl_denoise.pictures.many import denoise_zarr
source, out, model = sys.argv[1:]
z = zarr.create_array(source, shape=(80, 1024, 1024), chunks=(1, 512, 512), dtype='float32', compressors=None)
for i in range(80): z[i] = np.random.default_rng(i).random((1024, 1024), dtype=np.float32)
before = peak_memory()
denoise_zarr(source, out, Cleaning(model))
print(1e3*before, 1e3*peak_memory())
"""

@pytest.mark.skipif(sys.platform != 'linux', reason='memory is counted in other units elsewhere')
def test_memory(tmp_path, model):
    "A volume of 336 MB takes less than that by far: some blocks, and the sample that tells its noise"
    args = [str(tmp_path/'in.zarr'), str(tmp_path/'out.zarr'), model]
    done = subprocess.run([sys.executable, '-c', MEMORY, *args], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    before, after = map(float, done.stdout.split()[-2:])
    assert after - before < 200, f'{after:.0f} MB at the most, {before:.0f} before'
    assert zarr.open(args[1], mode='r')[79].std() > 0

# ---- errors

@pytest.mark.parametrize('words,code,told', [
    (['--scheduler', 'lokal:2'], 2, 'local:4'), (['--scheduler', 'local:0'], 2, 'local:4'),
    (['--scheduler', 'local:2', '--jobs', '2'], 2, 'give one of the two'),
    (['--scheduler', 'tcp://127.0.0.1:9'], 1, 'no Dask scheduler answers at tcp://127.0.0.1:9'),
    (['--colour'], 2, '--colour is for a Zarr')])
def test_wrong_words(folder, words, code, told, capsys):
    started = time.time()
    assert main(['denoise', str(folder/'in'), '-o', str(folder/'none'), *words]) == code
    err = capsys.readouterr().err
    assert told in err and err.count('\n') == 1 and time.time() - started < 30
    assert not (folder/'none').exists()

def test_missing_extra(folder, monkeypatch, capsys):
    monkeypatch.setattr('dl_denoise.core.find_spec', lambda name: None)
    assert main(['denoise', str(folder/'in'), '-o', 'x', '--scheduler', 'local:2']) == 2
    assert "pip install 'dl_denoise[dask]'" in capsys.readouterr().err

def test_no_image(tmp_path, capsys):
    zarr.open_group(str(tmp_path/'in.zarr'), mode='w')
    assert main(['denoise', str(tmp_path/'in.zarr'), '-o', str(tmp_path/'out.zarr')]) == 1
    assert 'multiscales' in capsys.readouterr().err
    assert main(['denoise', str(tmp_path/'in.zarr'), '-o', str(tmp_path/'in.zarr'/'x.zarr')]) == 2
    assert [o.name for o in tmp_path.iterdir()] == ['in.zarr']
