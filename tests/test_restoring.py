"Restoring: operators, the blind network, the sampler, the reader, and the commands inpaint and deblur"
import gzip
import numpy as np, pytest, torch
from PIL import Image
from dl_denoise.apps.cli import main
from dl_denoise.core import UsageError
from dl_denoise.data import at_hand, mnist
from dl_denoise.pictures.denoiser import load_denoiser
from dl_denoise.pictures.files import read_picture
from dl_denoise.restoring.missing import Blur, Mask, Smaller, coverage, samples
from dl_denoise.restoring.plug_and_play import first_guess, marked, plug_and_play, restore
from dl_denoise.restoring.sampling import Sampler, load_reader

@pytest.fixture(scope='module')
def blind(): return load_denoiser('blind-mnist', 'cpu')

SOME = (torch.rand(24, 32, generator=torch.Generator().manual_seed(0)) > .7).float()

@pytest.mark.parametrize('operator', [Mask(SOME), Smaller(2), Smaller(4), Blur(.8), Blur(3.)], ids=repr)
def test_operator(operator):
    "The adjoint is one, and solve solves"
    gen = torch.Generator().manual_seed(1)
    x, v = torch.randn(2, 2, 3, 24, 32, generator=gen, dtype=torch.float64).float()
    y = torch.randn(operator(x).shape, generator=gen)
    left, right = (operator(x)*y).sum(), (x*operator.adjoint(y)).sum()
    assert abs(left - right) < 1e-5*operator(x).norm()*y.norm()
    z = operator.solve(v, y, .2)
    assert (operator.adjoint(operator(z) - y) + .2*(z - v)).abs().max() < 1e-4

def test_scale(blind):
    "No constant anywhere: twice the image, twice the result; and every size"
    for size in ((28, 28), (17, 40)):
        x = torch.randn(2, 1, *size)
        with torch.no_grad(): assert torch.allclose(blind.model(3*x), 3*blind.model(x), atol=1e-4)

def test_samples(blind):
    "What was measured is kept, a seed gives the same again, another seed another"
    y = torch.zeros(2, 1, 28, 28)
    y[:, :, 6:22, 12:16] = 1.
    keep = torch.ones(28, 28)
    keep[14:] = 0
    A, fast = Mask(keep), Sampler(beta=.5)
    a, b, c = (samples(A(y), A, blind, n=2, seed=s, sampler=fast) for s in (0, 0, 1))
    assert a.shape == (2, 2, 1, 28, 28) and torch.equal(a, b) and not torch.equal(a, c)
    assert (A(a) - A(y)).abs().max() < .02 and 0 <= a.min() and a.max() <= 1
    assert coverage(torch.stack([y - .1, y + .1]), y)[0] == 1

def test_reader():
    "It reads as well as it says"
    reader = load_reader()
    assert reader.accuracy >= .99
    folder = at_hand('mnist')
    labels = folder and folder/'t10k-labels-idx1-ubyte.gz'
    if not labels or not labels.exists(): pytest.skip("MNIST's labels are not at hand")
    truth = torch.from_numpy(np.frombuffer(gzip.decompress(labels.read_bytes())[8:], np.uint8).copy())[:1000]
    with torch.no_grad(): read = reader(mnist().test[:1000].float()/255).argmax(1)
    assert (read == truth).float().mean() > .985

def test_first_guess():
    "A hole is filled whatever its size, and nothing else is touched"
    y = torch.full((1, 1, 80, 90), .6)
    keep = torch.ones(80, 90)
    keep[5:75, 5:85] = 0
    guess = first_guess(y*keep, Mask(keep))
    assert (guess - .6).abs().max() < .05 and torch.equal(guess*keep, y*keep)

def test_wrong():
    for fails in (lambda: restore(torch.zeros(1, 1, 8, 8), 'blur', None), lambda: Blur(-1.),
                  lambda: Smaller(1), lambda: Mask(torch.full((2, 2), .5)),
                  lambda: plug_and_play(torch.zeros(1, 1, 8, 8), Blur(1.), None, levels=(0, 0))):
        with pytest.raises(UsageError): fails()

# ---- the commands

def scene(mode):
    "A smooth picture of a mode, and its pixels"
    r, c = np.mgrid[:40, :56]
    grey = 90 + 60*np.sin(r/9) + 40*np.cos(c/11)
    a = grey.round().astype(np.uint8)
    if mode == 'I;16': return (a.astype(np.uint16)*257)
    if mode == 'L': return a
    rgb = np.stack([a, a[::-1], 255 - a], -1)
    return rgb if mode == 'RGB' else np.dstack([rgb, (c*4).astype(np.uint8)])

@pytest.mark.parametrize('mode', ['L', 'RGB', 'RGBA', 'I;16'])
def test_inpaint(mode, tmp_path, capsys):
    "Only masked pixels change, and they come near to what was there; alpha and bits stay"
    a = scene(mode)
    lost = np.zeros(a.shape[:2], bool)
    lost[18:21, 5:50] = True
    broken = a.copy()
    broken[lost] = 0
    if mode == 'RGBA': broken[..., 3] = a[..., 3]
    Image.fromarray(broken).save(tmp_path/'a.png')
    Image.fromarray(lost.astype(np.uint8)*255).save(tmp_path/'m.png')
    args = ['inpaint', f'{tmp_path}/a.png', '--mask', f'{tmp_path}/m.png', '-o', f'{tmp_path}/b.png',
            '--steps', '3']
    assert main(args) == 0, capsys.readouterr().err
    assert 'of its pixels changed' in capsys.readouterr().out
    before, after = read_picture(tmp_path/'a.png'), read_picture(tmp_path/'b.png')
    assert after.pixels.dtype == before.pixels.dtype and after.pixels.shape == before.pixels.shape
    assert (after.pixels[~lost] == before.pixels[~lost]).all()
    if before.alpha is not None: assert (after.alpha == before.alpha).all()
    truth = a[..., :3] if a.ndim == 3 else a
    off = np.abs(after.pixels[lost].astype(float) - truth[lost]).mean()/np.iinfo(a.dtype).max
    assert off < .05, off
    assert main(args) == 2 and '--overwrite' in capsys.readouterr().err

def test_mask_by_colour(tmp_path):
    a = scene('RGB')
    a[10:12] = 255, 0, 0
    Image.fromarray(a).save(tmp_path/'a.png')
    lost = marked(read_picture(tmp_path/'a.png'), '#ff0000')
    assert lost[10:12].all() and lost.sum() == 2*56

def test_mask_of_another_size(tmp_path, capsys):
    Image.fromarray(scene('L')).save(tmp_path/'a.png')
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path/'m.png')
    code = main(['inpaint', f'{tmp_path}/a.png', '--mask', f'{tmp_path}/m.png', '-o', f'{tmp_path}/b.png'])
    assert code == 2 and 'of one size' in capsys.readouterr().err and not (tmp_path/'b.png').exists()

def test_deblur(tmp_path, capsys):
    "Nearer to the sharp picture than the blurred one is"
    r, c = np.mgrid[:64, :64]
    sharp = np.where((r//16 + c//16) % 2, 200, 60).astype(np.uint8)
    x = torch.from_numpy(sharp.copy())[None, None]/255.
    soft = (Blur(1.5)(x)[0, 0].numpy()*255).round().astype(np.uint8)
    Image.fromarray(soft).save(tmp_path/'a.png')
    args = ['deblur', f'{tmp_path}/a.png', '--sigma-blur', '1.5', '-o', f'{tmp_path}/b.png']
    assert main(args) == 0, capsys.readouterr().err
    after = read_picture(tmp_path/'b.png').pixels
    def error(a): return np.square(a.astype(float) - sharp).mean()
    assert error(after) < .5*error(soft)
