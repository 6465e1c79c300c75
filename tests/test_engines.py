"Engines: what they give, which one is chosen, what is remembered, and what happens when one fails"
import json, sys, threading, warnings
import numpy as np, pytest, skimage, torch
from PIL import Image
from dl_denoise.apps.cli import main
from dl_denoise.core import UsageError
from dl_denoise.metrics import psnr_of
from dl_denoise.models.blocks import best_precision, create_model
from dl_denoise.noise import GaussianNoise
from dl_denoise.pictures import engines
from dl_denoise.pictures.denoiser import Denoiser, load_denoiser
from dl_denoise.pictures.engines import (Runner, _memory_file, _picture, _remembered,
                                         installed_engines)

GREY = create_model('dncnn', depth=3, width=8)
needs_openvino = pytest.mark.skipif('openvino' not in installed_engines(),
                                    reason='OpenVINO is not installed')

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    "A cache folder of its own for each test"
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))

def photographs():
    "Three clean colour pictures and the same with noise of 25 of 255"
    for i, name in enumerate(('astronaut', 'coffee', 'chelsea')):
        part = getattr(skimage.data, name)()[100:260, 150:310].copy()
        y = torch.from_numpy(part).permute(2, 0, 1)[None]/255
        yield y, GaussianNoise(25/255)(y, torch.Generator().manual_seed(i))

def test_exact_unless_asked():
    "In Python nothing but torch in 32 bits, to the last bit, whatever the size"
    dn = load_denoiser('photo-real', device='cpu')
    x = torch.rand(1, 3, 368, 368)
    with torch.inference_mode():
        assert torch.equal(dn(x), dn.runner.net(x.to(memory_format=torch.channels_last)).contiguous())
    assert dn.runner.engine == 'exact' and not dn.runner.half and not _memory_file().exists()

@pytest.mark.parametrize('engine', ['torch', pytest.param('openvino', marks=needs_openvino)])
def test_close_to_32_bits(engine):
    "Within .02 dB on each of a few pictures, in 16 bits where the processor has them"
    exact, fast = (load_denoiser('photo-real', 'cpu', engine=e) for e in ('exact', engine))
    assert fast.runner.half == (best_precision('cpu') == 'bf16')
    for y, x in photographs():
        a, b = (psnr_of((dn(x) - y).square().mean().item()) for dn in (exact, fast))
        assert abs(a - b) < .02 and a > 29

@needs_openvino
def test_openvino_in_32_bits_is_torch():
    fast = Runner(GREY, engine='openvino', half=False)
    for shape in (1, 1, 45, 54), (2, 1, 8, 33):
        x = torch.rand(shape)
        assert (fast(x) - Runner(GREY)(x)).abs().max() < 1e-5

@needs_openvino
def test_openvino_reports_to_nobody():
    "The stub stands where the package that reports would"
    Runner(GREY, engine='openvino').program('openvino')
    assert sys.modules['openvino.tools.ovc.telemetry_utils'].tm.__name__.endswith('telemetry_stub')
    assert sys.modules.get('openvino_telemetry', True) is not None        # for others it can be imported

@needs_openvino
def test_openvino_in_threads():
    "Pictures of two threads do not get into each other's way"
    fast, done = Runner(GREY, engine='openvino', half=False), {}
    xs = [torch.rand(1, 1, 60 + i, 70) for i in range(6)]
    def work(i): done[i] = fast(xs[i])
    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert all((done[i] - Runner(GREY)(x)).abs().max() < 1e-5 for i, x in enumerate(xs))

# ---- the choice

def timed(monkeypatch, seconds):
    "Let the engines take so many seconds, and count what is tried"
    tried = []
    def quickest(run, x):
        tried.append(run)
        return seconds[len(tried) - 1]
    monkeypatch.setattr(engines, '_quickest', quickest)
    return tried

def test_the_fastest_is_taken_and_remembered(monkeypatch):
    monkeypatch.setattr(engines, 'installed_engines', lambda: ['torch'])
    tried = timed(monkeypatch, [2., 1.])
    one = Runner(GREY, engine='auto', half=True)
    monkeypatch.setattr(engines, '_CLOSE', 1.)           # the weights are random
    assert one.choice(1 << 20) == 'torch' and len(tried) == 2
    assert [*_remembered().values()] == ['torch']
    again = Runner(GREY, engine='auto', half=True)
    assert again.choice(1 << 20) == 'torch' and len(tried) == 2
    other = Runner(create_model('dncnn', depth=4, width=8), engine='auto', half=True)
    timed(monkeypatch, [1., 2.])
    assert other.choice(1 << 20) == 'exact'             # another network, another trial
    assert sorted(_remembered().values()) == ['exact', 'torch']

def test_what_a_trial_depends_on(monkeypatch):
    key = Runner(GREY, engine='auto').key()
    assert Runner(GREY, engine='auto').key() == key
    other = create_model('dncnn', depth=3, width=8)     # the same network with other weights
    assert Runner(other, engine='auto').key() != key
    assert Runner(GREY, engine='auto', half=not Runner(GREY, engine='auto').half).key() != key
    monkeypatch.setattr(engines, 'version', lambda name: '0')
    assert Runner(GREY, engine='auto').key() != key
    monkeypatch.undo()
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 77)
    assert Runner(GREY, engine='auto').key() != key

def test_small_work_waits_for_nothing(monkeypatch):
    monkeypatch.setattr(Runner, 'trial', lambda self: 1/0)
    x = torch.rand(1, 1, 50, 50)
    assert torch.equal(Runner(GREY, engine='auto')(x), Runner(GREY)(x))

@pytest.mark.parametrize('text', ['', 'nonsense', '[1]', '{"a": "torch"}'])
def test_a_damaged_memory(text, monkeypatch):
    "is as good as none"
    monkeypatch.setattr(Runner, 'trial', lambda self: dict(exact=1.))
    _memory_file().parent.mkdir(parents=True)
    _memory_file().write_text(text)
    one = Runner(GREY, engine='auto')
    assert one.fastest() == 'exact'
    assert json.loads(_memory_file().read_text())[one.key()] == 'exact'

def test_no_place_to_remember(monkeypatch, tmp_path):
    (tmp_path/'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'file'))
    monkeypatch.setattr(Runner, 'trial', lambda self: dict(exact=1.))
    assert Runner(GREY, engine='auto').fastest() == 'exact'

def test_a_remembered_engine_that_is_gone(monkeypatch):
    "is not asked for again"
    monkeypatch.setattr(Runner, 'trial', lambda self: dict(openvino=1.))
    Runner(GREY, engine='auto').fastest()
    monkeypatch.setattr(engines, 'installed_engines', lambda: ['torch'])
    monkeypatch.setattr(Runner, 'key', lambda self: [*_remembered()][0])
    monkeypatch.setattr(Runner, 'trial', lambda self: dict(exact=1.))
    assert Runner(GREY, engine='auto').fastest() == 'exact'

# ---- failures

def test_one_that_fails_is_left_out_with_one_warning(monkeypatch):
    def broken(net, channels, half): raise RuntimeError('no such instruction\nand much more')
    monkeypatch.setitem(engines.PROGRAMS, 'openvino', broken)
    monkeypatch.setattr(engines, 'installed_engines', lambda: ['openvino'])
    x = torch.rand(1, 1, 400, 400)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        assert torch.equal(Runner(GREY, engine='auto')(x), Runner(GREY)(x))
        Runner(GREY, engine='auto')(x)
    said = [str(w.message) for w in told if 'left out' in str(w.message)]
    assert said == ['the engine openvino cannot run this network and is left out: no such instruction']

def test_one_that_is_too_coarse_is_left_out(monkeypatch):
    "Fast, but half a grey level off"
    def coarse(net, channels, half):
        exact = engines.with_torch(net, channels, False)
        return lambda x: exact(x) + .5/255
    monkeypatch.setitem(engines.PROGRAMS, 'openvino', coarse)
    monkeypatch.setattr(engines, 'installed_engines', lambda: ['openvino'])
    assert [*Runner(GREY, engine='auto', half=False).trial(64)] == ['exact']

@pytest.mark.parametrize('engine', ['openvino', 'onnxruntime'])
def test_not_installed(engine, monkeypatch):
    monkeypatch.setattr(engines, 'find_spec', lambda name: None)
    with pytest.raises(UsageError, match=r'pip install .dl_denoise\[(openvino|onnx)\]'):
        Denoiser(GREY, device='cpu', engine=engine)
    assert installed_engines() == ['torch']

# ---- the command

def test_the_command_chooses_by_itself(tmp_path, monkeypatch, capsys):
    "denoise takes auto, and exact gives the bits of 32-bit torch"
    x = (_picture(3, 400, 410)[0].permute(1, 2, 0).clamp(0, 1)*255).round().byte().numpy()
    Image.fromarray(x).save(tmp_path/'in.png')
    asked = []
    def fastest(self):
        asked.append(self.engine)
        return 'exact'
    monkeypatch.setattr(Runner, 'fastest', fastest)
    args = ['denoise', str(tmp_path/'in.png'), '--model', 'photo-real', '-o']
    assert main([*args, str(tmp_path/'auto.png')]) == 0 and asked and {*asked} == {'auto'}
    asked.clear()
    assert main([*args, str(tmp_path/'exact.png'), '--engine', 'exact']) == 0 and not asked
    expected = load_denoiser('photo-real', 'cpu')(x)
    assert np.array_equal(np.asarray(Image.open(tmp_path/'exact.png')), expected)
    assert main([*args, str(tmp_path/'no.png'), '--engine', 'exakt']) == 2
    assert "did you mean 'exact'?" in capsys.readouterr().err

# ---- tiles

def test_tiles_grow_with_the_halo():
    "A network that looks far gets larger tiles, so that the margins cost about a third at most"
    dn = load_denoiser('photo-real', device='cpu')
    read = sum((r.stop - r.start)*(c.stop - c.start) for _, (r, c), _ in dn.windows(4000, 6000))
    assert dn.halo > 90 and 1 < read/(4000*6000) < 1.4
    near = Denoiser(GREY, device='cpu')
    inner, outer, _ = near.windows(2000, 2000)[0]
    assert inner[0].stop == 512 and outer[0].stop == 515
