"What the pages on noise and evidence do not test themselves: real photographs, determinism, faults"
import numpy as np, pytest, torch
from dl_denoise.camera import CameraNoise
from dl_denoise.core import DenoiseError, UsageError
from dl_denoise.data import at_hand, pictures
from dl_denoise.pictures.evidence import eight_ways, evidence, report, sure, verdict
from dl_denoise.pictures.denoiser import load_denoiser
from dl_denoise.ranges import white_of
from dl_denoise.noise import GaussianNoise
from dl_denoise.pictures.sigma import (anscombe, estimate_noise, estimate_poisson, estimate_sigma,
                                       inverse_anscombe)

S = 25/255
@pytest.fixture(scope='module')
def dn(): return load_denoiser('photo-grey', device='cpu')
@pytest.fixture(scope='module')
def photos(dn):
    "Noisy, clean, restored"
    if not at_hand('bsd68'): pytest.skip('BSD68 is not at hand')
    g = torch.Generator().manual_seed(0)
    clean = [y[None].float()/255 for y in pictures('bsd68')[:40:8]]
    noisy = [GaussianNoise(S)(y, g) for y in clean]
    return [(x, y, dn(x)) for x, y in zip(noisy, clean)]

def test_sure_on_photographs(dn, photos):
    "Over five pictures of BSD68 within 8 %; benchmarks/sure.py has all 68"
    told, true = zip(*((sure(dn, x, S)[0], (r - y).pow(2).mean().item()) for x, y, r in photos))
    assert abs(sum(told)/sum(true) - 1) < .08

def test_verdict_on_photographs(dn, photos):
    said = [verdict(evidence(x, r)) for x, _, r in photos]
    assert sum('looks like noise' in o for o in said) >= 4, said
    assert all('noise is left' in verdict(evidence(x, x)) for x, *_ in photos)

def test_weak_noise(dn, photos):
    "Texture is taken neither for noise nor for noise that is left"
    clean, g = [y for _, y, _ in photos], torch.Generator().manual_seed(1)
    weak = [GaussianNoise(5/255)(y, g) for y in clean]
    assert sum('hardly any noise' in verdict(evidence(y, dn(y))) for y in clean) == 5
    assert sum('looks like noise' in verdict(evidence(x, dn(x))) for x in weak) >= 4
    assert sum(abs(estimate_sigma(x)*255 - 5) < .5 for x in weak) >= 4
    assert all(abs(estimate_sigma(x)/S - 1) < .05 for x, *_ in photos)

@pytest.mark.parametrize('channels, most', [(3, .8), (1, .7)])
def test_coarse_noise(channels, most):
    "Most cameras' noise within a quarter where neighbours show a fifth of it; clean pictures have hardly any"
    if not at_hand('cbsd68'): pytest.skip('CBSD68 is not at hand')
    good, seen, n = 0, 0, 0
    for i, y in enumerate(pictures('cbsd68', channels)[:24:2]):
        y = y[None, :, :320, :320].float()/255
        assert estimate_noise(y).little and 'hardly any noise' in str(estimate_noise(y))
        for iso in (3200, 12800):
            x = CameraNoise(iso, quality=92, smoothing=.5, light=3e-5, spread=0)(
                y, torch.Generator().manual_seed(iso + i))      # another camera for each
            level, true = estimate_noise(x), 255*(x - y).std().item()
            good, n = good + (abs(level.sigma/true - 1) < .25), n + 1
            assert level.coarse and level.low < level.sigma < level.high
        # the strongest noise is seen, in colour in every picture
        told = not level.little and str(level).startswith('coarse noise, about')
        if channels == 3: assert told and level.seen > 2
        seen += told
    assert good >= most*n and seen >= most*n/2, (good, seen, n)

def test_fine_noise_as_before():
    "Of Gaussian noise the mask decides, in grey and in colour"
    g = torch.Generator().manual_seed(0)
    for channels in (1, 3):
        x = GaussianNoise(S)(torch.full((1, channels, 96, 96), .5), g)
        level = estimate_noise(x)
        assert not level.coarse and level.sigma == 255*estimate_sigma(x)
        assert level.low < level.sigma < level.high and str(level).startswith('noise about 2')
    assert not estimate_noise(torch.full((1, 3, 16, 16), .5)).seen        # too small for the network

def test_sure_without_what_is_clipped(dn, photos):
    "As files have it: rounded to 8 bits and clipped"
    rows = []
    for x, y, _ in photos:
        x = (x.clamp(0, 1)*255).round()/255
        r = dn(x)
        inside = (r > 2*S) & (r < 1 - 2*S)
        rows.append((sure(dn, x, S, where=inside)[0], (r - y)[inside].pow(2).mean().item()))
    told, true = map(sum, zip(*rows))
    assert abs(told/true - 1) < .1

def test_repeats(dn):
    x = torch.rand(1, 1, 40, 50, generator=torch.Generator().manual_seed(0))
    assert sure(dn, x, S) == sure(dn, x, S) != sure(dn, x, S, seed=1)
    assert all((a == b).all() for a,b in zip(eight_ways(dn, x), eight_ways(dn, x)))

def test_kinds_of_pictures():
    a = np.random.default_rng(0).normal(128, 25, (64, 64)).clip(0, 255).astype(np.uint8)
    want = estimate_sigma(a)
    assert abs(want*255 - 25) < 2
    for same in (torch.from_numpy(a), a/255., np.stack([a]*3, -1), torch.from_numpy(a)[None, None]):
        assert abs(estimate_sigma(same) - want) < 1e-6
    deep = a.astype(np.uint16)*257                     # its white is found, not the end of the numbers
    assert abs(estimate_sigma(deep)*white_of(deep)/65535 - want) < 1e-4
    for odd in (a.astype(int), torch.full((16, 16), torch.nan), np.zeros((3, 3, 3, 3, 3), np.uint8)):
        with pytest.raises(DenoiseError): estimate_sigma(odd)

def test_faults(dn, tmp_path):
    x = torch.rand(1, 1, 40, 50)
    with pytest.raises(UsageError, match='sigma must be'): sure(dn, x, 0)
    with pytest.raises(UsageError, match='more than'): report(x[..., :8], dn)
    with pytest.raises(DenoiseError): estimate_poisson(torch.rand(8, 8))
    assert verdict(evidence(torch.full((40, 40), .5),
                            torch.full((40, 40), .5))).startswith('there was hardly any noise')

@pytest.mark.parametrize('a,b', [(1., 0.), (1/30, 0.), (1/30, 1e-3), (.01, .05)])
def test_anscombe_has_no_step(a, b):
    "The inverse grows all along, also where the table ends"
    v = inverse_anscombe(torch.linspace(0, anscombe(torch.tensor(300*a), a, b).item(), 5000,
                                        dtype=torch.float64), a, b)
    assert (v.diff() >= -1e-9).all() and v.diff().max() < .5*a and abs(v[-1]/a - 300) < 1
