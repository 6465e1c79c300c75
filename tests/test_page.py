"""The page that needs no server, in a real browser: its engine agrees with torch, its noise with the
formulas, and what is wrong is told"""
import io, json, re, shutil
from contextlib import ExitStack
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from dl_denoise.classical import Filter
from dl_denoise.data import digits
from dl_denoise.pictures.denoiser import load_denoiser
from dl_denoise.noise import NOISES
from dl_denoise.restoring.missing import Mask
from dl_denoise.restoring.sampling import Sampler, walk

from conftest import CACHE, lacking
import live

NETWORKS = list(live.NETWORKS)
WAIT = 120_000      # milliseconds; machines are shared

@pytest.fixture(scope='module')
def serve():
    "A function that serves a folder and returns its address"
    with ExitStack() as stack: yield lambda folder: stack.enter_context(live.served(folder))

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The page's folder with a local runtime, made once"
    pinned, out = json.loads((live.WEB/'runtime.json').read_text()), tmp_path_factory.mktemp('live')
    try:
        live.local_copy(tmp_path_factory.mktemp('try'), pinned, CACHE/f"{pinned['name']}-{pinned['version']}")
    except SystemExit as e: lacking(str(e))
    live.live(out, CACHE/f"{pinned['name']}-{pinned['version']}")
    return out

@pytest.fixture
def open_page(browser):
    """A function that opens an address in a new window; at the end the console must be clean, unless
    errors were expected"""
    opened = []
    def go(url, clean=True, path='index.html'):
        page, said = browser.new_page(), []
        page.set_default_timeout(WAIT)
        page.on('console', lambda m: said.append(f'{m.type}: {m.text}') if m.type in ('error', 'warning')
                else None)
        page.on('pageerror', lambda e: said.append(f'error: {e}'))
        page.goto(url + path)
        opened.append((page, said, clean))
        return page
    yield go
    for page, said, clean in opened:
        page.close()
        assert not (clean and said), said

@pytest.fixture
def page(open_page, serve, site):
    "The page when the first results are there"
    p = open_page(serve(site))
    ready(p, 'cnn-mnist', 'cae-mnist', 'median')
    return p

# ---- what is on the screen

def figure(page, name): return page.locator(f'figure[data-name={name}]')
def number(page, name, what='mse'):
    return float(figure(page, name).locator(f'.{what}').inner_text().split()[0])
def ready(page, *names):
    "Wait until there are numbers that belong to the noise now on the screen"
    for n in names:
        page.wait_for_function("n => /\\d/.test(document.querySelector(`figure[data-name=${n}] "
                               ".mse`)?.textContent)", arg=n)
def updates(page): return page.evaluate('Number(document.body.dataset.updates)')
def shown(page, canvas):
    "The grey values on a canvas"
    return np.array(page.evaluate("c => { const k = document.querySelector(c), d = "
                                  "k.getContext('2d').getImageData(0, 0, k.width, k.height).data; return "
                                  "[...d].filter((_, i) => i % 4 == 0); }", canvas))

WATCH = """async () => {
  const {engine} = await import('./engine-onnx.js'), was = engine.denoise;
  window.seen = {};
  engine.denoise = async (pixels, width, height, names) => {
    const results = await was(pixels, width, height, names);
    for (const o of results) window.seen[o.name] = {width, height, noisy: [...pixels], result: [...o.pixels]};
    return results;
  };
}"""

def watched(page, *names, change=lambda page: page.click('#again')):
    "Noisy and clean pixels of the newest results, after a change"
    page.evaluate(WATCH)
    change(page)
    page.wait_for_function('names => names.every(n => window.seen[n])', arg=list(names))
    page.wait_for_timeout(300)
    def image(o, part): return torch.tensor(o[part]).view(1, 1, o['height'], o['width'])
    seen = page.evaluate('window.seen')
    return {n: (image(o, 'noisy'), image(o, 'result')) for n,o in seen.items()}

def python(name): return Filter('median', size=3) if name == 'median' else load_denoiser(name, device='cpu')

# ---- the page

def test_first_look(page, site):
    "Without a click: a sample, noise, results that are better than the noise; no more loaded than is shown"
    assert page.locator('#message').is_hidden() and page.locator('#samples button').count() == 10
    listed = {o['name'] for o in json.loads((site/'models.json').read_text())}
    inputs = page.locator('#denoisers input')
    shown_names = {o.get_attribute('data-name') for o in inputs.all()}
    assert listed == {*NETWORKS, 'median'} == shown_names
    for n in ('cnn-mnist', 'cae-mnist', 'median'): assert number(page, n) < .6*number(page, 'noisy')
    loaded = page.evaluate("performance.getEntriesByType('resource').map(o => o.name)")
    assert any(o.endswith('cnn-mnist.onnx') for o in loaded)
    assert not any(o.endswith(('win5rb-mnist.onnx', 'blind-mnist.onnx')) for o in loaded)
    assert all(o.startswith(('http://127.0.0.1:', 'blob:', 'data:')) for o in loaded)

def test_same_as_torch(page):
    "The browser's results for what it drew are torch's, and they are what is on the screen"
    for n in ('dncnn-mnist', 'win5rb-mnist', 'blind-mnist'): page.check(f'input[data-name={n}]')
    ready(page, *NETWORKS)
    results = watched(page, *NETWORKS, 'median')
    assert {*results} == {*NETWORKS, 'median'}
    for name, (noisy, result) in results.items():
        ours = python(name)(noisy)
        assert (ours - result).abs().max() < 1e-4, name
        assert number(page, name) < number(page, 'noisy')
        on_page = shown(page, f'figure[data-name={name}] canvas')
        assert abs(on_page - ours.clamp(0, 1).mul(255).flatten().numpy()).max() < 1

@pytest.mark.parametrize('width,height', [(29, 30), (31, 28), (5, 7), (64, 44)])
def test_any_size(page, width, height):
    x = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    results = page.evaluate("async ([x, w, h, names]) => (await (await "
                            "import('./engine-onnx.js')).engine.denoise(new Float32Array(x), w, h, "
                            "names)).map(o => [o.name, [...o.pixels]])",
                            [x.flatten().tolist(), width, height,
                             ['cnn-mnist', 'cae-mnist', 'dncnn-mnist', 'blind-mnist', 'median']])
    for name, result in results:
        assert (python(name)(x).flatten() - torch.tensor(result)).abs().max() < 1e-4, name

@pytest.mark.parametrize('args,words', [
    ('new Float32Array(784), 28, 28, ["cnn"]', "There is no denoiser 'cnn' here. Known: cnn-mnist"),
    ('new Float32Array(783), 28, 28, ["cnn-mnist"]', 'has 784 pixels, got 783')])
def test_engine_refuses(page, args, words):
    assert words in page.evaluate(f"async () => (await "
                                  f"import('./engine-onnx.js')).engine.denoise({args}).then(() => '', e "
                                  f"=> e.message)")

def test_slider(page):
    "The slider moves the noise, and the results follow"
    page.focus('#strength')
    told, before = page.inner_text('#strength-said'), number(page, 'noisy')
    for key in ['ArrowLeft']*10:
        n = updates(page)
        page.keyboard.press(key)
        page.wait_for_function('n => document.body.dataset.updates > n', arg=n)
    assert page.inner_text('#strength-said') != told and number(page, 'noisy') < before
    results = watched(page, 'cnn-mnist', change=lambda p: p.keyboard.press('End'))
    assert (load_denoiser('cnn-mnist',
                          device='cpu')(results['cnn-mnist'][0]) - results['cnn-mnist'][1]).abs().max() < 1e-4
    assert number(page, 'noisy') > before

def test_draw(page):
    "A stroke with the mouse is seen and denoised"
    page.click('#clear')
    box = page.locator('#clean').bounding_box()
    at = lambda x, y: (box['x'] + x*box['width'], box['y'] + y*box['height'])
    def draw(page):
        page.mouse.move(*at(.3, .3))
        page.mouse.down()
        page.mouse.move(*at(.7, .7), steps=5)
        page.mouse.up()
    noisy, result = watched(page, 'cnn-mnist', change=draw)['cnn-mnist']
    drawn = shown(page, '#clean').reshape(28, 28)
    assert drawn[14, 14] > 200 and drawn[:5].max() == 0
    assert result[0, 0, 14, 14] > .5 and number(page, 'cnn-mnist') < .3*number(page, 'noisy')

def test_change_model(page):
    "A network that is switched on is loaded and shown, one that is switched off goes"
    assert figure(page, 'dncnn-mnist').is_hidden()
    page.check('input[data-name=dncnn-mnist]'); ready(page, 'dncnn-mnist')
    page.uncheck('input[data-name=cnn-mnist]')
    assert figure(page, 'dncnn-mnist').is_visible() and figure(page, 'cnn-mnist').is_hidden()
    assert number(page, 'dncnn-mnist') < number(page, 'noisy')

def test_load_picture(page):
    "A picture that is larger than a digit, whose sides no network prefers; then a file that is none"
    y, x = np.mgrid[:90, :122]
    file = io.BytesIO()
    Image.fromarray((127 + 100*np.sin(x/9)*np.cos(y/7)).astype(np.uint8)).save(file, 'PNG')
    page.select_option('#size', '128')
    waves = dict(name='waves.png', mimeType='image/png', buffer=file.getvalue())
    results = watched(page, 'cae-mnist', change=lambda p: p.set_input_files('#file', waves))
    noisy, result = results['cae-mnist']
    assert noisy.shape[-2:] == (90, 122)
    assert (load_denoiser('cae-mnist', device='cpu')(noisy) - result).abs().max() < 1e-4
    page.set_input_files('#file', dict(name='letter.png', mimeType='image/png', buffer=b'no picture'))
    page.wait_for_selector('#message:visible')
    assert 'letter.png' in page.inner_text('#message') and 'not a picture' in page.inner_text('#message')
    assert len(shown(page, '#clean')) == 90*122

# ---- rub out

WALK = '''async ([start, fresh, picture, hole]) => {
  const {fitting, walk} = await import('./sampler.js'), {QUICK} = await import('./rub.js');
  const {engine} = await import('./engine-onnx.js'), seen = [], floats = o => new Float32Array(o);
  const clean = await walk({x: floats(start), hole, settings: QUICK, draw: () => floats(fresh.shift()),
    known: fitting(floats(picture), hole), denoise: x => engine.denoiseBatch('blind-mnist', x, 28, 28),
    watch: o => { seen.push([[...o.x], [...o.sigma]]); }});
  return [seen, [...clean]];
}'''

def settings(page, name, file):
    "The sampler's settings in a script, with Python's names"
    o = page.evaluate(f"async () => (await import('./{file}')).{name}")
    return Sampler(**{'first_step' if k == 'firstStep' else k: v for k, v in o.items()})

def test_sampler_same_as_python(page):
    "With the same noise every step is that of dl_denoise.restoring, and so are the completions"
    assert settings(page, 'SETTINGS', 'sampler.js') == Sampler()
    sampler, shape = settings(page, 'QUICK', 'rub.js'), (2, 1, 28, 28)
    y, keep = digits(28).test[:1].float()/255, torch.ones(28, 28)
    keep[12:, 5:] = 0
    start = sampler.grey + sampler.start*torch.randn(shape, generator=torch.Generator().manual_seed(0))
    start = torch.where(keep > 0, y, start)
    gen, fresh = torch.Generator().manual_seed(1), []
    for _ in range(90): fresh.append(torch.randn(shape, generator=gen).flatten().tolist())
    ours = []
    with torch.no_grad():
        known = lambda guess: Mask(keep).solve(guess, Mask(keep)(y), 1e-4)
        clean = walk(sampler, python('blind-mnist'), start, 1, known, where=1 - keep,
                     watch=lambda t, x, sigma: ours.append((x.clone(), sigma.flatten())))
    theirs, found = page.evaluate(WALK, [start.flatten().tolist(), fresh, y.flatten().tolist(),
                                         (1 - keep).flatten().tolist()])
    assert 20 < len(ours) == len(theirs) < 90
    for (x, sigma), (a, b) in zip(ours, theirs):
        assert (x.flatten() - torch.tensor(a)).abs().max() < 1e-4
        assert (sigma - torch.tensor(b)).abs().max() < 1e-4
    assert (clean.flatten() - torch.tensor(found)).abs().max() < 1e-4

def test_sampler_draws(page):
    "What it begins with is normal; the same seed gives the same, another seed another"
    a, b, c = page.evaluate('''async () => {
        const {normals} = await import('./sampler.js');
        return [5, 5, 6].map(seed => [...normals(seed)(40_000)]); }''')
    assert a == b and abs(np.corrcoef(a, c)[0, 1]) < .03
    assert abs(np.mean(a)) < .025 and abs(np.std(a) - 1) < .02 and abs(np.mean(np.power(a, 4)) - 3) < .25

def completed(page, button):
    "The pictures, after a button was pressed"
    page.click(button)
    page.wait_for_function("() => /steps in/.test(document.querySelector('#progress-said').textContent)")
    return np.array([shown(page, f'#completions figure:nth-child({k}) canvas') for k in range(1, 7)])

def test_rub_out(open_page, serve, site):
    "The second tab: what is left of the digit stays, what was rubbed out is drawn five times, each another"
    page = open_page(serve(site), path='index.html#rub-out')
    page.wait_for_selector('#samples button:nth-child(10)')
    assert page.locator('#results').is_hidden() and page.locator('#completions').is_visible()
    assert page.locator('#completions .waiting').count() == 6
    whole = shown(page, '#clean').reshape(28, 28)
    page.click('#complete')
    assert page.evaluate('scrollY') == 0                                   # all of it is within reach
    assert 'Nothing is rubbed out' in page.inner_text('#progress-said')
    page.select_option('#tool', '8')
    box, size = page.locator('#clean').bounding_box(), page.locator('#completions').bounding_box()
    at = lambda x, y: (box['x'] + x/28*box['width'], box['y'] + y/28*box['height'])
    page.mouse.move(*at(14, 10))
    page.mouse.down()
    page.mouse.move(*at(14, 18), steps=3)
    page.mouse.up()
    hole = np.zeros((28, 28), bool)
    hole[6:22, 10:18] = True
    left = shown(page, '#clean').reshape(28, 28)
    assert (left[hole] == 0).all() and (left == whole)[~hole].all()        # no red in the hole's blue
    *five, spread = completed(page, '#complete').reshape(6, 28, 28)
    for o in five: assert abs(o - whole)[~hole].max() <= 1 and o[hole].max() > 100
    assert len({o.tobytes() for o in five}) == 5
    assert spread[hole].max() > 30 and spread[~hole].max() <= 1
    assert abs(np.clip(2*np.std(five, 0, ddof=1), 0, 255) - spread).max() < 3
    again = completed(page, '#complete')
    assert (again[:5].reshape(5, 28, 28) == five).all()
    assert (completed(page, '#others')[:5].reshape(5, 28, 28) != five).any((1, 2)).all()
    assert page.locator('#completions').bounding_box() == size             # nothing has moved
    assert page.get_attribute('#completions', 'aria-busy') == 'false'
    assert int(page.inner_text('#progress-said').split()[0]) < 60
    page.click('#half')                                                    # they do not fit another hole
    assert page.locator('#completions .waiting').count() == 6
    page.click('#tab-denoise')
    ready(page, 'cnn-mnist')
    assert (shown(page, '#clean').reshape(28, 28) == whole).all() and page.url.endswith('#denoise')

# ---- what is pinned

def changed(site, tmp_path, name):
    "A copy of the site with one byte more in a file"
    copy = tmp_path/'site'
    shutil.copytree(site, copy)
    with open(copy/name, 'ab') as f: f.write(b'\n')
    return copy

@pytest.mark.parametrize('name', ['runtime/ort.wasm.bundle.min.mjs',
                                  'runtime/ort-wasm-simd-threaded.wasm', 'cnn-mnist.onnx'])
def test_wrong_hash(open_page, serve, site, tmp_path, name):
    "A file that was changed is not used, and the page says which; what does not need it still works"
    page = open_page(serve(changed(site, tmp_path, name)), clean=False)
    page.wait_for_selector('#message:visible')
    assert f'{Path(name).name} is not the file that this page was made with' in page.inner_text('#message')
    ready(page, 'median', *['cae-mnist']*('onnx' in name))
    assert not re.search(r'\d', figure(page, 'cnn-mnist').locator('.mse').inner_text())

def test_no_network(open_page, serve, site, tmp_path):
    copy = tmp_path/'site'
    shutil.copytree(site, copy)
    setting = json.loads((copy/'runtime.json').read_text())
    (copy/'runtime.json').write_text(json.dumps({**setting, 'folder': 'gone/'}))
    page = open_page(serve(copy), clean=False)
    page.wait_for_selector('#message:visible')
    assert re.search(r'could not be loaded from 127\.0\.0\.1:\d+\. Is there a network\?',
                     page.inner_text('#message'))

def test_policy(open_page, serve, site):
    "Nothing else is let in: no script from the page's text, nothing from elsewhere but the runtime's address"
    away = json.loads((live.WEB/'runtime.json').read_text())
    html = live.page((live.WEB/'index.html').read_text(), away)
    assert away['version'] in away['folder']
    assert f"connect-src 'self' {re.match('https://[^/]+', away['folder'])[0]};" in html
    assert 'https:' not in (site/'index.html').read_text().split('Content-Security-Policy')[1].split('>')[0]
    page = open_page(serve(site), clean=False)
    assert page.evaluate("fetch('https://example.org/').then(() => 'let in', e => 'refused')") == 'refused'
    page.evaluate("() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; "
                  "document.body.append(s); }")
    assert page.evaluate('window.ran ?? 0') == 0

def test_wrong_local_copy(tmp_path):
    "tools/live.py takes no other file for the runtime"
    pinned = json.loads((live.WEB/'runtime.json').read_text())
    for name, *_ in (pinned['script'], pinned['binary']): (tmp_path/name).write_text('another file')
    with pytest.raises(SystemExit, match='its hash is not the one in runtime.json'):
        live.local_copy(tmp_path, pinned, tmp_path)

# ---- noise drawn in the browser

N = 200_000
SUMS = """async ([kind, param, clip, y, n, seed]) => {
  const {addNoise} = await import('./noise.js');
  const x = addNoise(new Float32Array(n).fill(y), {kind, param, clip, seed});
  let mean = 0, next = 0; const m = [0, 0, 0];
  for (const v of x) mean += v/n;
  for (const v of x) { const d = (v - mean)**2; m[0] += d/n; m[1] += d*d/n; }
  for (let i = 1; i < n; i++) next += (x[i] - mean)*(x[i-1] - mean)/n;
  return [mean, m[0], m[1], next, x.reduce((a, b) => Math.min(a, b)), x.reduce((a, b) => Math.max(a, b))];
}"""

@pytest.mark.parametrize('kind,param', [('gaussian', .1), ('gaussian', .5), ('poisson', 1.),
                                        ('poisson', 20.), ('poisson', 3.5), ('poisson', 1000.),
                                        ('speckle', .3), ('impulse', .3), ('salt_pepper', .3),
                                        ('bernoulli', .3)])
def test_noise(open_page, serve, kind, param):
    """Mean and variance are those of dl_denoise.noise's formulas, within five standard errors;
    neighbours have nothing to do with each other"""
    page = open_page(serve(live.WEB), clean=False, path='noise.js')
    for clip in ((False, True) if kind in ('gaussian', 'poisson', 'speckle') else (False,)):
        noise = NOISES[kind](param, **({'clip': True} if clip else {}))
        for y in (0., .2, .55, 1.):
            mean, var, fourth, next, low, high = page.evaluate(SUMS, [kind, param, clip, y, N, 7])
            t = torch.tensor(np.float32(y)).double()
            assert abs(mean - noise.mean(t).item()) <= 5*(var/N)**.5 + 1e-6, (noise, y)
            assert abs(var - noise.var(t).item()) <= 5*(max(0, fourth - var**2)/N)**.5 + 1e-6, (noise, y)
            assert abs(next) <= 5*var/N**.5 + 1e-9, (noise, y)
            assert not clip or (low >= 0 and high <= 1)

def test_noise_seed(open_page, serve):
    """The same seed draws the same noise, another seed other noise; the pattern stays while the strength
    changes, and the clean image is left as it was"""
    page = open_page(serve(live.WEB), clean=False, path='noise.js')
    a, b, c, twice, clean = page.evaluate("""async () => {
      const {addNoise} = await import('./noise.js'), y = new Float32Array(1000).fill(.5);
      const draw = (param, seed) => addNoise(y, {kind: 'gaussian', param, clip: false, seed});
      return [draw(.5, 1), draw(.5, 1), draw(.5, 2), draw(1, 1), y].map(v => [...v]); }""")
    assert a == b and clean == [.5]*1000 and abs(np.corrcoef(a, c)[0, 1]) < .2
    assert np.allclose(2*(np.array(a) - .5), np.array(twice) - .5, atol=1e-5)

def test_noise_kinds(open_page, serve):
    "What the page offers exists in the package, and the slider's ends are values that it takes"
    page = open_page(serve(live.WEB), clean=False, path='noise.js')
    offered = page.evaluate('''async () => {
        const {KINDS} = await import('./noise.js');
        return Object.entries(KINDS).map(([k, o]) => [k, o.param(0), o.param(1), o.clips]); }''')
    for kind, low, high, clips in offered:
        for v in (low, high): NOISES[kind](v)
        assert clips == (kind in ('gaussian', 'poisson', 'speckle'))
