"Faults of disk and network, at the functions that meet them."
import errno, os
from dataclasses import replace
import pytest
from dl_denoise.core import DenoiseError, atomic, cards, download
from dl_denoise.data import at_hand, denoise_dls, mnist, pictures
from dl_denoise.pictures.denoiser import evaluate_denoiser, load_denoiser, noisy_images
from dl_denoise.ledger import load_records
from dl_denoise.experiments.photographs import score_pictures
from dl_denoise.metrics import image_mse
from dl_denoise.noise import GaussianNoise

def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    "Writing fails for want of space: the old file stays, the temporary one goes"
    p = tmp_path/'a.txt'; p.write_text('old')
    class Full:
        def __init__(self, fd, mode, **kw): self.fd = fd
        def __enter__(self): return self
        def __exit__(self, *a): os.close(self.fd)
        def write(self, s): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, 'fdopen', Full)
    with pytest.raises(DenoiseError, match='no space left'):
        with atomic(p) as f: f.write('new')
    monkeypatch.undo()
    assert p.read_text() == 'old' and [o.name for o in tmp_path.iterdir()] == ['a.txt']

def test_dead_mirror(tmp_path):
    "No mirror answers: an error that names them, and no file"
    with pytest.raises(DenoiseError, match='could not download x.gz: http://127.0.0.1:9/x.gz'):
        download(['http://127.0.0.1:9/x.gz'], tmp_path/'x.gz', 'md5:0')
    assert not (tmp_path/'x.gz').exists()

def test_mnist_is_at_hand_in_ci():
    "CI must see the real data"
    if os.environ.get('CI'): assert at_hand('mnist'), 'CI needs MNIST: set DL_DENOISE_DATA'
    elif not at_hand('mnist'): pytest.skip('MNIST is not at hand')
    d = mnist()
    assert [len(o) for o in (d.train, d.valid, d.test)] == [50_000, 10_000, 10_000]

PHOTOGRAPHS = [n for n,c in cards().items() if c['record']['experiment'] == 'bsd']

@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_card_of_photographs(name):
    """Each packaged denoiser for photographs has its card from the ledger, and gives the PSNR of the
    ledger's record; a grey one for Set12, a smaller set than the card's"""
    card, of = cards()[name], {r['data']: r for r in load_records('bsd') if r.get('training') == name
                               and r['level'] == 25}
    assert card['record'] == of[card['record']['data']]
    data = 'set12' if 'set12' in of else 'cbsd68'
    if not at_hand(data): pytest.skip(f'{data} is not at hand')
    got = score_pictures(load_denoiser(name), pictures(data, card['channels']), GaussianNoise(25/255))['psnr']
    assert abs(got - of[data]['psnr']) < .01, (got, of[data]['psnr'])

@pytest.mark.parametrize('name', [n for n in cards() if n not in PHOTOGRAPHS])
def test_card(name):
    """Each packaged denoiser for digits gives its card's test MSE, within four standard errors: small
    networks on 2,000 images, large ones on 400"""
    if not at_hand('mnist'): pytest.skip('MNIST is not at hand')
    r, data = cards()[name]['record'], mnist()
    # from all of them: the first half of MNIST's test images is the neater one
    some = replace(data, test=data.test[::25 if r['parameters'] > 500_000 else 5])
    x, y = noisy_images(denoise_dls(some, GaussianNoise(.5, clip='clip=True' in r['noise']))[2])
    errors = image_mse(load_denoiser(name)(x), y)
    standard_error = errors.std()/len(errors)**.5
    assert standard_error < .03*r['mse'] and abs(errors.mean() - r['mse']) < 4*standard_error

def test_evaluate_all():
    "All 10,000 test images through the smallest network, as `dl_denoise evaluate` does: to 1 %"
    if not at_hand('mnist'): pytest.skip('MNIST is not at hand')
    dls = denoise_dls(mnist(), GaussianNoise(.5, clip=True))
    got = evaluate_denoiser(load_denoiser('cnn-mnist'), dls)['mse']
    assert abs(got/cards()['cnn-mnist']['record']['mse'] - 1) < .01
