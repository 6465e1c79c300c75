"Stacks of planes: written as they came, on one scale, and refused in a line where they are not whole"
import numpy as np, pytest, tifffile
from dl_denoise.core import DenoiseError
from dl_denoise.pictures.cleaning import Cleaning, denoise_file
from dl_denoise.pictures.files import read_picture
from dl_denoise.pictures.stacks import is_stack, open_stack
from test_files import blur

rng = np.random.default_rng(0)

def planes(*shape): return rng.integers(200, 4000, (*shape, 24, 32)).astype(np.uint16)

def cleaned(tmp_path, a, how=Cleaning(strength=0.), **kwargs):
    "A stack as tifffile writes it, cleaned from file to file; with strength 0, so that it stays as it is"
    tifffile.imwrite(tmp_path/'in.tif', a, **kwargs)
    told = denoise_file(tmp_path/'in.tif', tmp_path/'out.tif', lambda name: blur(), how)
    return told, tifffile.TiffFile(tmp_path/'out.tif')

@pytest.mark.parametrize('kwargs', [dict(compression='zlib'), {}])
@pytest.mark.parametrize('byteorder', '<>')
def test_pages(tmp_path, kwargs, byteorder):
    a = planes(5)
    told, t = cleaned(tmp_path, a, photometric='minisblack', byteorder=byteorder, **kwargs)
    with t:
        assert len(t.pages) == 5 and t.byteorder == byteorder
        assert (t.asarray() == a).all()
        assert (t.pages[0].compression == 1) == (not kwargs)
    assert '5 planes' in told and 'white taken at' in told

@pytest.mark.parametrize('axes, shape', [('TYX', (4,)), ('ZYX', (4,)), ('TZCYX', (2, 3, 2))])
def test_imagej_hyperstack(tmp_path, axes, shape):
    "Axes, pixel size, unit and look-up tables; tifffile writes ImageJ's stacks behind one page"
    a = planes(*shape)
    _, t = cleaned(tmp_path, a, imagej=True, resolution=(9.25, 9.25),
                   metadata=dict(axes=axes, unit='um', spacing=.3, Labels=['first']))
    with t:
        assert t.is_imagej and t.series[0].axes == axes
        assert (t.asarray() == a).all()
        assert t.imagej_metadata['unit'] == 'um' and t.imagej_metadata['spacing'] == .3
        assert t.imagej_metadata['Labels'] == 'first'

def test_ome(tmp_path):
    a = planes(3, 2)
    _, t = cleaned(tmp_path, a, ome=True, metadata=dict(axes='ZCYX', PhysicalSizeX=.108))
    with t:
        assert t.is_ome and t.series[0].axes == 'ZCYX' and 'PhysicalSizeX="0.108"' in t.ome_metadata
        assert (t.asarray() == a).all()

def test_colour(tmp_path):
    a = rng.integers(0, 256, (3, 24, 32, 3), dtype=np.uint8)
    _, t = cleaned(tmp_path, a, photometric='rgb')
    with t: assert (t.asarray() == a).all()

def test_one_scale(tmp_path):
    "A film that gets darker: each plane is cleaned on the scale of all"
    a = (planes(6)*np.linspace(1, .2, 6)[:, None, None]).astype(np.uint16)
    told, t = cleaned(tmp_path, a, Cleaning(), photometric='minisblack')
    with t: out = t.asarray().astype(float)
    expected = (a + np.roll(a.astype(float), 1, -1))/2
    assert np.abs(out - expected).max() <= 1              # no plane has lost what is above a white of its own

def test_floats_keep_one_range(tmp_path):
    a = (planes(4)*np.linspace(1, 5, 4)[:, None, None]).astype(np.float32)
    _, t = cleaned(tmp_path, a, Cleaning(), photometric='minisblack')
    with t: assert np.allclose(t.asarray(), (a + np.roll(a, 1, -1))/2, rtol=1e-3, atol=1)

def test_report(tmp_path):
    told, t = cleaned(tmp_path, planes(3), Cleaning(report=True), photometric='minisblack')
    t.close()
    assert (tmp_path/'out-report.png').exists() and '\n' in told

def test_refused(tmp_path):
    a = planes(3)
    tifffile.imwrite(tmp_path/'in.tif', a, photometric='minisblack')
    with pytest.raises(DenoiseError, match='only a TIFF file can hold'):
        denoise_file(tmp_path/'in.tif', tmp_path/'out.png', lambda name: blur())
    with pytest.raises(DenoiseError, match='stack of 3 pages'): read_picture(tmp_path/'in.tif')
    assert not list(tmp_path.glob('out*'))

def test_planes_of_two_sizes(tmp_path):
    with tifffile.TiffWriter(tmp_path/'in.tif') as tif:
        for a in (np.zeros((24, 32), np.uint8), np.zeros((24, 30), np.uint8)): tif.write(a, contiguous=False)
    with pytest.raises(DenoiseError, match='all planes of a stack have one size'):
        denoise_file(tmp_path/'in.tif', tmp_path/'out.tif', lambda name: blur())
    assert not (tmp_path/'out.tif').exists()

@pytest.mark.parametrize('imagej', [True, False])
def test_cut_short(tmp_path, imagej):
    how = dict(imagej=True) if imagej else dict(photometric='minisblack')
    tifffile.imwrite(tmp_path/'in.tif', planes(6), **how)
    data = (tmp_path/'in.tif').read_bytes()
    (tmp_path/'in.tif').write_bytes(data[:len(data)//2])
    with pytest.raises(DenoiseError): denoise_file(tmp_path/'in.tif', tmp_path/'out.tif', lambda name: blur())
    assert not (tmp_path/'out.tif').exists()

def test_what_is_no_stack(tmp_path):
    tifffile.imwrite(tmp_path/'one.tif', planes(1)[0])
    (tmp_path/'not.tif').write_bytes(b'II*\0nonsense')
    assert not any(map(is_stack, (tmp_path/'one.tif', tmp_path/'not.tif', tmp_path/'away.tif')))

def test_large_planes_are_refused_first(tmp_path):
    tifffile.imwrite(tmp_path/'in.tif', planes(2), photometric='minisblack')
    with pytest.raises(DenoiseError, match='the limit is'), \
            open_stack(tmp_path/'in.tif', max_megapixels=.0001) as stack: stack[0]
