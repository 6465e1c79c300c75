"The site: every page is whole and in its place, every link leads somewhere, every equation can be drawn"
import ast, base64, io, json, re, subprocess
from pathlib import Path
import pytest, yaml
from PIL import Image
from test_frame import LESSONS, PAGES, cells, every_lesson, every_page, flags, name, prose, root, source
import badges, check, reference, website

PARTS = ['Noise and how to measure it', 'Learning from clean images', 'Learning from noisy images only',
         'Your own pictures', 'From denoising to restoring', 'Playing with it', 'The ledger', 'To look up']
REST = '## The rest of the module'      # after the exercises: what a page exports and does not teach

@pytest.fixture(scope='session')
def processed(tmp_path_factory):
    "What Quarto would be given"
    return website.process(check.copy_tree(tmp_path_factory.mktemp('site')/'copy'))

# ---- the order

def test_sidebar():
    config = root/'nbs'/'_quarto.yml'
    assert config.resolve() == root/'_quarto.yml' and not Path(config.readlink()).is_absolute()
    assert [s for s,_ in website.sidebar()] == PARTS
    listed = sum((pages for _,pages in website.sidebar()), [])
    assert listed == sorted(listed), 'the order of the folders is the order of the site'
    assert len(listed) == len({*listed}), 'listed twice'
    assert {*listed} == {p.relative_to(root/'nbs').as_posix() for p in LESSONS}

def test_front_page_names_every_page():
    told = prose(root/'nbs'/'index.ipynb')
    assert not [p for p in LESSONS if f"]({p.relative_to(root/'nbs').as_posix()})" not in told]

def test_configuration():
    config = yaml.safe_load((root/'_quarto.yml').read_text(encoding='utf8'))
    site, html = config['website'], config['format']['html']
    local = [site['favicon'], site['image'], site['navbar']['logo'], config['bibliography'],
             *config['filters'], html['include-before-body'], html['include-after-body'],
             *[o for theme in html['theme'].values() for o in theme if o.endswith('.scss')],
             *[o['href'].split('#')[0] for side in ('left', 'right') for o in site['navbar'][side]]]
    assert not [o for o in local if not (root/'nbs'/o.lstrip('/')).exists() and not o.startswith('live/')]
    assert site['image'].startswith('/'), 'from the root of the site, or pages in folders do not find it'
    assert html['respect-user-color-scheme'] and html['code-overflow'] == 'scroll'
    assert html['format-links'] is False
    assert '+tex_math_dollars' in config['format']['commonmark']['variant']
    assert re.search(r'/katex@\d+\.\d+\.\d+/', html['html-math-method']['url']), 'a pinned version'
    assert len(site['image-alt']) > 20 and site['open-graph'] and site['twitter-card']

# ---- every page

@every_page
def test_processed(page, processed):
    made = processed/page.relative_to(root/'nbs')
    head = website.head(made)
    assert head['title'] and head['description'] and head['output-file'].endswith('.html')
    text = '\n'.join(map(source, cells(made)))
    assert '/content' not in text
    assert page.parent == root/'nbs' or 'colab-badge.svg' in text

@every_page
def test_shows_something(page):
    "A figure, a table or a number: no page is only words"
    shown = [o for c in cells(page, 'code') if 'hide' not in flags(c) for o in c['outputs']]
    pictures = [k for o in shown for k in o.get('data', {}) if k.startswith(('image/', 'application/'))]
    assert pictures or re.search(r'\d', json.dumps([o.get('data', o.get('text')) for o in shown]))

@every_lesson
def test_exercises(page):
    "Graded, with hints and answers folded away, and answers that a cell checks"
    all_cells = cells(page)
    start = next((i for i,c in enumerate(all_cells) if c['cell_type'] == 'markdown'
                  and re.search(r'^## Exercises$', source(c), flags=re.M)), None)
    assert start is not None, 'no exercises'
    text = source(all_cells[start]).split('## Exercises')[1]
    tasks = re.split(r'^\d+\. ', text, flags=re.M)[1:]
    assert len(tasks) > 1
    grades = [re.match(r'\*(Warm-up|Practice|Project)\.\* ', t) for t in tasks]
    assert all(grades), 'each begins with its grade: *Warm-up.*, *Practice.* or *Project.*'
    levels = [['Warm-up', 'Practice', 'Project'].index(g[1]) for g in grades]
    assert levels == sorted(levels), 'from easy to hard'
    for g,t in zip(grades, tasks):
        assert '<summary>Answer</summary>' in t, t[:80]
        assert g[1] == 'Warm-up' or '<summary>Hint</summary>' in t, t[:80]
    end = next((i for i,c in enumerate(all_cells) if source(c).startswith(REST)), None)
    checks = [c for c in all_cells[start:end] if c['cell_type'] == 'code' and 'hide' not in flags(c)]
    folded = [{'code-fold', 'code-summary'} <= flags(c) for c in checks]
    assert folded and all(folded), 'a cell that checks the answers, folded'
    assert all(re.search(r'\b(assert|test_\w+)\b', source(c)) for c in checks), 'a check that checks nothing'

def test_assertions_of_settings():
    """An assertion that holds for a page's settings only says so, and stands in a cell after the one that
    shows the numbers"""
    found = [(name(p), c) for p in LESSONS for c in cells(p, 'code') if re.search(r', HERE\b', source(c))]
    assert len(found) > 20
    for page, c in found:
        last = ast.parse(source(c)).body[-1]
        assert not isinstance(last, ast.Expr), f'{page}: show first, then assert:\n{source(c)}'

COURSE = [p for p in LESSONS if re.match(r'0[1-6]_', p.parent.name)]

@pytest.mark.parametrize('page', COURSE, ids=name)
def test_result_first(page):
    """A figure, a table or what a command prints comes before the explanation: between the badge and it
    there are few words, and no code that is not folded"""
    words = 0
    for c in cells(page)[2:]:
        text, outputs = source(c), [k for o in c.get('outputs', []) for k in o.get('data', {})]
        if c['cell_type'] == 'markdown':
            if re.search(r'!\[|<iframe|^```(bash|\{=html\})', text, flags=re.M): break
            words += len(text)
        elif {'image/png', 'image/jpeg', 'text/html', 'text/markdown'} & {*outputs}: break
        elif not {'hide', 'default_exp', 'echo', 'code-fold'} & flags(c):
            statements = ast.parse(re.sub('^[!%].*', '', text, flags=re.M)).body
            assert all(isinstance(o, (ast.Import, ast.ImportFrom)) for o in statements), text
    assert words <= 600, f'{words} letters before the first result'

@every_lesson
def test_figures_on_any_ground(page):
    "Figures are transparent around what they show, and have a caption"
    for c in cells(page, 'code'):
        for png in (o['data']['image/png'] for o in c['outputs'] if 'image/png' in o.get('data', {})):
            picture = Image.open(io.BytesIO(base64.b64decode(png)))
            assert picture.mode == 'RGBA' and picture.getextrema()[3][0] == 0, \
                f'run tools/tables.py {name(page)}; this figure has a ground:\n{source(c)[:200]}'
            assert 'fig-cap' in flags(c), f'a figure without a caption:\n{source(c)[:200]}'

def test_folded_in_notebooks():
    "What is folded on the site is folded in Jupyter and on Colab"
    for page in LESSONS:
        for c in cells(page, 'code'):
            assert (c['metadata'] == badges.FOLDED) == ('code-fold' in flags(c)), \
                f'{name(page)}: run make prepare'

# ---- what the site makes of pages

def test_fold():
    figure = ['#| fig-alt: "five lines"\n', *['x = 1\n']*5]
    def folded(*lines):
        cell = dict(cell_type='code', source=[*lines])
        return website.fold(dict(cells=[cell]))['cells'][0]['source'] != [*lines]
    assert folded(*figure)
    assert not folded(*figure[:4])
    assert not folded(*figure[1:])
    assert not folded('#| echo: false\n', *figure)

def test_numbered_figures():
    figure = dict(cell_type='code', source=['#| fig-cap: "a"\n', 'plot()'])
    words = dict(cell_type='markdown', source=['text'])
    nb = dict(cells=[dict(figure), words, dict(figure)])
    assert website.numbered_figures(nb) == 2
    captions = [c['source'][0] for c in nb['cells']]
    assert captions == ['#| fig-cap: "Figure 1. a"\n', 'text', '#| fig-cap: "Figure 2. a"\n']

def test_light_figures(tmp_path):
    "WebP on the pages, the first at once; what others show of the site stays PNG"
    for name in ('images/hero', 'a_files/figure-html/1', 'a_files/figure-html/2'):
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 3)).save(tmp_path/f'{name}.png')
    card = '<meta property="og:image" content="https://a.b/images/hero.png">'
    def figure(name):
        place = f'a_files/figure-html/{name}'
        return f'<a href="{place}"><img src="{place}"></a>'
    page = tmp_path/'a.html'
    page.write_text(card + '<img src="images/hero.png">' + figure('1.png') + figure('2.png'))
    website.light_figures(tmp_path)
    def lazy(name): return figure(name).replace('<img ', '<img loading="lazy" ')
    assert page.read_text() == card + '<img src="images/hero.webp">' + lazy('1.webp') + lazy('2.webp')
    assert (tmp_path/'images'/'hero.png').exists() and (tmp_path/'images'/'hero.webp').exists()
    assert [o.suffix for o in (tmp_path/'a_files'/'figure-html').iterdir()] == ['.webp']*2

def test_widths():
    table = '| a | longer |\n| --- | ---: |\n| `long name` | 1 |\n'
    wider = '| a | longer |\n| --------- | ------: |\n| `long name` | 1 |\n'
    assert website.widths(f'x\n\n{table}\ny') == f'x\n\n{wider}\ny'
    assert website.widths('| no | table |\n\ntext') == '| no | table |\n\ntext'

def test_equations_have_addresses(processed):
    texts = ['By equation (1) and equation (2):', '$$a \\tag{1}$$ and $$b$$']
    assert [*website.numbered(texts)] == ['By [equation (1)](#eq-1) and equation (2):',
                                          '[]{#eq-1}$$a \\tag{1}$$ and $$b$$']
    for page in PAGES:
        text = '\n'.join(map(source, cells(processed/page.relative_to(root/'nbs'), 'markdown')))
        assert not re.search(r'\\qquad *\(\d', text), f'{name(page)}: number equations by \\tag{{1}}'
        asked, there = ({*re.findall(o, text)} for o in (r'\]\(#(eq-\w+)\)', r'\[\]\{#(eq-\w+)\}'))
        assert not asked - there

def test_one_header():
    import pandas as pd
    frame = pd.DataFrame(dict(MSE=[1], PSNR=[2]), index=pd.Index(['CNN'], name='method'))
    html = website.one_header(frame.to_html())
    assert html.count('<tr') == 2 and '<th>method</th>' in html
    plain = frame.rename_axis(None).to_html()
    assert website.one_header(plain) == plain

def test_terms_have_addresses(processed):
    assert website.placed_terms('**Mean, of noise** is\na **b**') == \
        '[**Mean, of noise**]{#term-mean-of-noise} is\na **b**'
    text = '\n'.join(map(source, cells(processed/'08_lookup'/'01_glossary.ipynb', 'markdown')))
    terms = re.findall(r'\{#(term-\S+)\}', text)
    assert len(terms) > 50 and len(terms) == len({*terms})

def test_no_links_in_code(processed):
    linked = '[a](https://b)\n```python\nf(x) # [`a`](https://b)\n```'
    assert website.unlinked(linked) == '[a](https://b)\n```python\nf(x) # `a`\n```'
    shown = [''.join(o['data']['text/markdown']) for p in PAGES
             for c in cells(processed/p.relative_to(root/'nbs'), 'code')
             for o in c['outputs'] if 'text/markdown' in o.get('data', {})]
    assert len(shown) > 100
    assert not [s for s in shown for code in re.findall(r'^```.*?^```', s, flags=re.S|re.M)
                if '](http' in code]

def test_llms(processed):
    text = website.llms(processed)
    assert text.startswith('# dl_denoise\n\n> ')
    assert text.count('\n## ') == len(PARTS) + 1
    assert text.count('\n- [') == len(LESSONS) + len(reference.rooms())
    assert f'({website.address()}01_measure/noise.html): ' in text

def test_gallery(processed):
    "The front page shows a card with a picture for every lesson"
    text = '\n'.join(map(source, cells(processed/'index.ipynb')))
    cards = re.findall(r'<a class="card" href="([^"]+)"><img src="([^"]+)"', text)
    assert len({*cards}) == len(LESSONS)
    assert all((processed/picture).stat().st_size < 60e3 for _, picture in cards)

def test_reference(processed):
    "Every public name has its place, with its parameters; the sidebar leads to it"
    sections = yaml.safe_load((processed/'_quarto.yml').read_text(encoding='utf8'))['website']['sidebar']
    listed = {o['href'] for o in sections['contents'][-1]['contents']}
    assert listed == {f'reference/{room}.qmd' for room in reference.rooms()}
    assert all(reference.docstring_of(o) for o in reference.rooms()), 'a room says in its __init__ what it is'
    text = '\n'.join((processed/page).read_text(encoding='utf8') for page in listed)
    known = [n for names in nbdev_index().values() for n in names]
    assert len(known) > 200
    missing = [n for n in known if f'{{#{n.removeprefix("dl_denoise.")} .api}}' not in text]
    assert not missing
    places = re.findall(r'\{#(\S+) \.api\}', text)
    assert len(places) == len({*places}), 'two names with one place'

def nbdev_index():
    "Module -> its public functions and classes"
    from dl_denoise._modidx import d
    return {m: [n for n in names if not any(o.startswith('_') for o in n.removeprefix(m).split('.')[1:])
                and n.count('.') == m.count('.') + 1] for m, names in d['syms'].items()}

def test_leftovers(tmp_path):
    "What was meant for a program is found in the text of a page; TeX in an equation is none"
    (tmp_path/'a.html').write_text('<p>::: {.grid}</p><p>**bold</p>'
                                   '<pre>f(x=&lt;function f at 0x7f&gt;)</pre>')
    (tmp_path/'b.html').write_text(r'<p><span class="math inline">\frac12</span> <code>**kw</code></p>')
    (tmp_path/'c.html').write_text(r'<p>\frac12</p>')
    found = website.leftovers(tmp_path)
    assert [o.split(':')[0] for o in found] == ['a.html']*3 + ['c.html']

def test_broken_links(tmp_path):
    "Links of a built site are followed, relative ones and those by its address"
    (tmp_path/'a').mkdir()
    def to(address): return f'<a href="{address}"></a>'
    home = website.address()
    targets = 'a/b.html#here', f'{home}a/b.html', 'https://example.org/x', 'a/b.html#away'
    (tmp_path/'index.html').write_text(''.join(map(to, targets)) + '<img src="no.png">')
    (tmp_path/'a'/'b.html').write_text('<h2 id="here"></h2>' + to('../') + to(f'{home}c.html'))
    assert website.broken(tmp_path) == [f'a/b.html: {home}c.html leads nowhere',
                                        'index.html: a/b.html#away: no such place on that page',
                                        'index.html: no.png leads nowhere']

def test_warnings():
    log = ('WARN: Unable to resolve link target: x.ipynb\n[12/30] 02_clean/03_cnn.ipynb\n'
           '[WARNING] Citeproc: citation nobody2000 not found')
    assert len(website.warnings(log)) == 2

# ---- the code that the pages teach

TAUGHT = {
    '01_measure/01_noise': ['Noise', 'GaussianNoise', 'PoissonNoise', 'SpeckleNoise', 'SaltPepperNoise',
                            'ImpulseNoise', 'BernoulliNoise', 'TextNoise'],
    '01_measure/02_data': ['Splits', 'NoisyDL', 'denoise_dls'],
    '01_measure/03_metrics': ['mse', 'psnr', 'ssim'],
    '02_clean/01_learner': ['DenoiseLearner', 'denoise_learner'],
    '02_clean/03_cnn': ['CNN', 'cnn'], '02_clean/04_cae': ['CAE', 'cae'],
    '02_clean/08_unet': ['ResidualBlock', 'UNet', 'unet'],
    '05_restoring/01_slope': ['pull', 'slope', 'Mixture'],
    '05_restoring/02_sampling': ['Sampler', 'noise_left', 'walk'],
    '05_restoring/03_missing': ['Mask', 'Smaller', 'Blur', 'samples', 'coverage'],
    '05_restoring/04_plug_and_play': ['plug_and_play', 'restore'],
    '02_clean/05_dncnn': ['DnCNN', 'dncnn'], '02_clean/06_win5rb': ['Win5RB', 'win5rb'],
    '03_noisy/01_noise2noise': ['CopiesDL'], '03_noisy/03_clipping': ['clip_bias', 'predict_n2n',
                                                                                'CensoredLoss'],
    '03_noisy/11_one_picture': ['halves', 'TinyCNN', 'Halves', 'ImagePrior'],
    '03_noisy/04_losses': ['AnnealedL0', 'pick_loss'], '03_noisy/05_frozen': ['FrozenNoise'],
    '04_pictures/03_tiles': ['windows', 'reach', 'fold_bn'], '04_pictures/10_medical': ['RicianNoise'],
    '04_pictures/07_sigma': ['estimate_sigma', 'estimate_noise', 'compression', 'estimate_poisson',
                             'anscombe', 'inverse_anscombe'],
    '04_pictures/08_evidence': ['sure', 'autocorrelation', 'eight_ways'],
    '04_pictures/12_engines': ['with_torch', 'with_openvino', 'Runner'],
    '04_pictures/13_adapt': ['quiet_squares', 'FoundNoise', 'LikeNoise', 'stein_each', 'adapt']}

@pytest.mark.parametrize('page', TAUGHT)
def test_code_is_on_the_page(page, processed):
    "Networks, noise models, loaders, losses: a reader of the site sees their body"
    shown = '\n'.join(map(source, cells(processed/f'{page}.ipynb', 'code')))
    bodies = {*re.findall(r'^(?:class|def) (\w+)', shown, flags=re.M)}
    assert not {*TAUGHT[page]} - bodies

# ---- the drawing of the whole

def test_whole():
    svg = (root/'nbs'/'images'/'whole.svg').read_text(encoding='utf8')
    pages = {p.relative_to(root/'nbs').with_name(re.sub(r'^\d+_', '', p.stem) + '.html').as_posix()
             for p in LESSONS}
    linked = {*re.findall(r'<a href="([^"]+)"', svg)}
    assert len(linked) > 10 and not linked - pages

# ---- what only Node can tell: do equations and colours compile?

@pytest.fixture(scope='session')
def node(node_modules): return node_modules('katex@0.16.25', 'sass@1.94.2', 'bootstrap@5.3.8')

def equations(text):
    text = re.sub(r'```.*?```|`[^`\n]*`', '', text, flags=re.S)
    display = re.findall(r'\$\$(.+?)\$\$', text, flags=re.S)
    rest = re.sub(r'\$\$.+?\$\$', '', text, flags=re.S)
    inline = re.findall(r'(?<![\\$\w])\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\d)', rest)
    return [(o, True) for o in display] + [(o, False) for o in inline]

def test_equations(node):
    found = [(name(p), *o) for p in PAGES for o in equations(prose(p))]
    assert len(found) > 100
    script = '''const katex = require('katex');
        for (const [page, tex, displayMode] of JSON.parse(require('fs').readFileSync(0)))
            try { katex.renderToString(tex, {displayMode, throwOnError: true, strict: 'error'}) }
            catch (e) { console.log(page + ': ' + tex + ': ' + e.message) }'''
    done = subprocess.run(['node', '-e', script], cwd=node, input=json.dumps(found), capture_output=True,
                          text=True)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr

@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_theme(node, theme, tmp_path):
    """Both themes compile as Quarto would: the defaults of the last file first;
    and text is readable on them (WCAG AA)"""
    config = yaml.safe_load((root/'_quarto.yml').read_text(encoding='utf8'))
    files = [root/'nbs'/o for o in config['format']['html']['theme'][theme] if o.endswith('.scss')]
    layers = [dict(re.findall(r'/\*-- scss:(\w+) --\*/(.*?)(?=/\*-- scss:|\Z)',
                              f.read_text(encoding='utf8'), flags=re.S)) for f in files]
    defaults = ''.join(l.get('defaults', '') for l in layers[::-1])
    rules = ''.join(l.get('rules', '') for l in layers)
    scss = f'@import "bootstrap/scss/functions";{defaults}@import "bootstrap/scss/bootstrap";{rules}'
    (tmp_path/'t.scss').write_text(scss + ''.join(f'.c-{n} {{ color: ${n}; }}'
                                                  for n in ('paper', 'ink', 'accent', 'quiet', 'card')))
    done = subprocess.run(['npx', '--no-install', 'sass', '--quiet', '--load-path', node/'node_modules',
                           tmp_path/'t.scss'], cwd=node, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    colour = {n: c for n,c in re.findall(r'\.c-(\w+) {\s*color: (#\w{6})', done.stdout)}
    def light(c):
        return sum(w*((v/12.92) if v <= .03928 else ((v+.055)/1.055)**2.4)
                   for w,v in zip((.2126, .7152, .0722), (int(c[i:i+2], 16)/255 for i in (1, 3, 5))))
    for text in ('ink', 'accent', 'quiet'):
        for ground in ('paper', 'card'):
            a, b = sorted((light(colour[text]), light(colour[ground])))
            assert (b+.05)/(a+.05) > 4.5, f'{text} on {ground}'
