"Exported networks: each packaged denoiser, from Python and from the command line"
import importlib.util, os, subprocess, sys
import pytest
from dl_denoise.core import DenoiseError, UsageError, cards

for name in ('onnx', 'onnxruntime'):
    if importlib.util.find_spec(name) is None and os.environ.get('CI') != 'true':
        pytest.skip(f'the package {name} is not installed', allow_module_level=True)
import onnx, onnxruntime, torch
from dl_denoise.pictures import tiles as large
from dl_denoise.apps.export import LIMIT, OPSETS, export_onnx, onnx_difference
from dl_denoise.pictures.denoiser import Denoiser, load_denoiser
from dl_denoise.pictures.tiles import onnx_graph
from dl_denoise.models.blocks import create_model
from test_cli import process, run

def opened(path): return onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])

def told(path): return {o.key: o.value for o in onnx.load(str(path)).metadata_props}

@pytest.mark.parametrize('name', list(cards()))
def test_every_denoiser(name, tmp_path):
    """The file computes what torch computes, in sizes that are multiples of nothing, and says where it
    comes from"""
    e = export_onnx(name, tmp_path/'model.onnx')
    assert [*tmp_path.iterdir()] == [e['file']]
    assert e['bytes'] == e['file'].stat().st_size
    assert e['difference'] < LIMIT
    session, dn = opened(e['file']), load_denoiser(name, device='cpu')
    for shape in ((1, 28, 28), (4, 33, 50), (2, 6, 9)):
        x = torch.rand(shape[0], dn.card['channels'], *shape[1:])
        assert abs(session.run(['clean'], {'noisy': x.numpy()})[0] - dn(x).numpy()).max() < 1e-4
    card = cards()[name]
    expected = dict(name=name, licence=card['licence'], noise=card['record']['noise'],
                    test_mse=str(card['record']['mse']))
    assert {k: told(e['file'])[k] for k in expected} == expected
    onnx.checker.check_model(str(e['file']), full_check=True)

@pytest.mark.parametrize('opset', [OPSETS[0], 17, OPSETS[-1]])
@pytest.mark.parametrize('name', ['cae-mnist', 'cnn-mnist'])
def test_opset(name, opset, tmp_path):
    e = export_onnx(name, tmp_path/'model.onnx', opset=opset)
    assert [(o.domain, o.version) for o in onnx.load(str(e['file'])).opset_import] == [('', opset)]
    assert e['opset'] == opset

def test_colour(tmp_path):
    "Three channels, and a denoiser without a card"
    dn = Denoiser(create_model('cae', channels=3, width=4), dict(channels=3), device='cpu')
    e = export_onnx(dn, tmp_path/'colour.onnx')
    assert opened(e['file']).get_inputs()[0].shape == ['batch', 3, 'height', 'width']
    assert told(e['file'])['name'] == 'CAE' and 'test_mse' not in told(e['file'])

def test_not_overwritten(tmp_path):
    path = tmp_path/'model.onnx'
    path.write_text('precious')
    with pytest.raises(UsageError, match='is there already'): export_onnx('cnn-mnist', path)
    assert path.read_text() == 'precious'
    export_onnx('cnn-mnist', path, overwrite=True)
    assert told(path)['name'] == 'cnn-mnist'

def test_a_bad_export_is_not_kept(tmp_path, monkeypatch):
    "A graph that computes something else is refused, and a file that was there stays"
    path = tmp_path/'model.onnx'
    path.write_text('precious')
    other = onnx_graph(load_denoiser('cae-mnist', device='cpu').runner.net, 1, 17)
    monkeypatch.setattr(large, 'onnx_graph', lambda *args: other)
    with pytest.raises(DenoiseError, match='differs from torch by'):
        export_onnx('cnn-mnist', path, overwrite=True)
    assert path.read_text() == 'precious' and [*tmp_path.iterdir()] == [path]

def test_traced_without_padding(tmp_path):
    "What the check is for: the autoencoder traced with a size that needs no padding"
    dn = load_denoiser('cae-mnist', device='cpu')
    assert onnx_difference(onnx_graph(dn.runner.net, 1, 17, size=(28, 28)), dn) > .01

def test_command(tmp_path):
    path = tmp_path/'new'/'model.onnx'
    r = process('export', 'cae-mnist', path)
    assert r.returncode == 0 and not r.stderr, r.stderr
    assert 'opset 17' in r.stdout and 'differs from torch by at most' in r.stdout
    before = path.read_bytes()
    assert run('export', 'cae-mnist', path).returncode == 2 and path.read_bytes() == before
    r = run('export', 'cnn-mnist', path, '--opset', '13', '--overwrite')
    assert r.returncode == 0 and 'opset 13' in r.stdout and path.read_bytes() != before

@pytest.mark.parametrize('args,words', [(['cnn-minst', 'a.onnx'], "did you mean 'cnn-mnist'?"),
                                        (['cnn-mnist', 'a.onnx', '--opset', '99'], 'from 11 to 20, got 99'),
                                        (['cnn-mnist', '.'], 'is a folder'), (['cnn-mnist'], 'file')])
def test_wrong_words(args, words):
    r = run('export', *args)
    assert r.returncode == 2 and words in r.stderr and r.stderr.count('\n') == 1 and not r.stdout

def test_without_the_extra(tmp_path):
    "Where onnx is not installed, the message says what to install"
    code = ("import sys; sys.modules['onnx'] = None; from dl_denoise.apps.cli import main; "
            f"code = main(['export', 'cnn-mnist', r'{tmp_path/'a.onnx'}']); "
            "assert 'torch' not in sys.modules; sys.exit(code)")
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert r.returncode == 2 and "pip install 'dl_denoise[onnx]'" in r.stderr and not [*tmp_path.iterdir()]
