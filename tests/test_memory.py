"A large picture in a process of its own: memory depends on the tile, not on the picture"
import subprocess, sys
import pytest

CODE = """
import numpy as np, torch
torch.set_num_threads(2)
from dl_denoise.ledger import peak_memory
from dl_denoise.pictures.denoiser import Denoiser
from dl_denoise.models.blocks import create_model
dn = Denoiser(create_model('dncnn', depth=2, width=64), device='cpu', engine={engine!r})
picture = np.random.default_rng(0).integers(0, 256, {shape}, dtype=np.uint8)
before = peak_memory()
out = dn(picture)
assert out.shape == picture.shape and out.dtype == np.uint8
print(before, peak_memory())
"""

@pytest.mark.skipif(sys.platform != 'linux', reason='memory is counted in other units elsewhere')
@pytest.mark.parametrize('engine', ['exact', 'onnxruntime'])
def test_large_picture(engine):
    """The width of the packaged networks, but few layers: memory is that of neighbouring layers, however
    many there are. All 64 channels of this picture at once would take 3.2 GB"""
    done = subprocess.run([sys.executable, '-c', CODE.format(engine=engine, shape=(2500, 5000))],
                          capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    before, after = map(float, done.stdout.split()[-2:])
    assert after < 2, f'{after:.2f} GB at the most, {before:.2f} before'
