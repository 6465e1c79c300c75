"Strengths side by side, and which denoiser is chosen"
import numpy as np, pytest, skimage.data, torch
from PIL import Image
from dl_denoise.apps.cli import main
from dl_denoise.camera import CameraNoise
from dl_denoise.noise import GaussianNoise
from dl_denoise.pictures.cleaning import Cleaning, denoise_file, denoiser_for, preview
from dl_denoise.pictures.denoiser import load_denoiser
from dl_denoise.pictures.files import Picture, write_picture

def noisy(dtype=np.uint8, *more):
    white = np.iinfo(dtype).max
    x = np.random.default_rng(0).normal(.5, .1, (40, 100, *more)).clip(0, 1)
    return (x*white).round().astype(dtype)

def test_choice():
    grey, colour = Picture(noisy()), Picture(noisy(np.uint8, 3))
    assert denoiser_for(grey) == 'unet-grey'
    assert denoiser_for(grey, coarse=True) == 'photo-real-grey'
    assert denoiser_for(colour) == 'unet-colour'
    assert denoiser_for(colour, coarse=True) == 'photo-real'
    assert denoiser_for(colour, 'mine', True) == 'mine'

@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_sheet(dtype):
    pic, dn = Picture(noisy(dtype)), load_denoiser('photo-grey', device='cpu')
    sheet = np.asarray(preview(pic, dn, (0, .5, 1), size=90, white=np.iinfo(dtype).max))
    assert sheet.shape == (24 + 40, 3*90, 3)
    shown = [sheet[24:, 90*i:90*(i+1), 0].astype(float) for i in range(3)]
    part = pic.pixels[:, 5:95]/np.iinfo(dtype).max*255
    assert np.abs(shown[0] - part).max() <= .51                     # strength 0 is the picture
    assert shown[0].std() > shown[1].std() > shown[2].std()
    assert (sheet[:24, :90] < 100).any()                            # a label

def test_command(tmp_path, capsys):
    source = tmp_path/'a.png'
    write_picture(Picture(noisy()), source)
    assert not main(['denoise', str(source), '--preview'])
    assert str(tmp_path/'a-preview.png') in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a-preview.png', 'a.png']      # no result
    before = (tmp_path/'a-preview.png').read_bytes()
    assert main(['denoise', str(source), '--preview'])              # never written over
    assert 'there already' in capsys.readouterr().err and (tmp_path/'a-preview.png').read_bytes() == before
    assert not main(['denoise', str(source), '--preview', '-o', str(tmp_path/'out'/'b.png')])
    assert [p.name for p in (tmp_path/'out').iterdir()] == ['b-preview.png']
    for wrong in ([str(tmp_path)], [str(source), str(source)], [str(source), '-o', '-']):
        assert main(['denoise', *wrong, '--preview'])
    assert '--preview' in capsys.readouterr().err

def test_who_is_chosen(tmp_path):
    "Little fine noise in colour: the network that knows cameras; more: that for fine noise; --model rules"
    y = torch.from_numpy(skimage.data.astronaut()[:128, 130:258].copy()).permute(2, 0, 1)[None]/255
    for name, noise, how, told in (
        ('camera', CameraNoise(12800, quality=92), {}, "coarse noise, about"),
        ('camera', CameraNoise(3200, quality=92), {}, "by photo-real, which knows cameras' coarse noise"),
        ('fine', GaussianNoise(25/255), {}, 'by unet-colour'),
        ('asked', CameraNoise(3200), dict(model='photo-grey'), 'noise')):
        x = noise(y, torch.Generator().manual_seed(0)).clamp(0, 1)[0].permute(1, 2, 0)
        Image.fromarray((x*255).round().byte().numpy()).save(tmp_path/f'{name}.png')
        files = tmp_path/f'{name}.png', tmp_path/f'{name}-out.png'
        line = denoise_file(*files, load_denoiser, Cleaning(**how))
        assert told in line and (', by ' in line) == (not how), line
