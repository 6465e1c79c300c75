"The frame: what is made from the notebooks is in step, every page is whole, every link leads somewhere"
import ast, importlib, json, re, subprocess, sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
import pytest

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root/'tools'))
import badges, check, readme

PAGES = badges.pages()
LESSONS = [p for p in PAGES if p.parent != root/'nbs']
MODULES = sorted(root.glob('dl_denoise/**/*.py'))
# of one machine
PATHS = (r'(?<![\w.])(/home|/root|/Users|[A-Z]:\\\\Users)/?\w|site-packages/|'
         r'(?<!\w)' + re.escape(f'{root.parent}/'))
name = lambda p: p.relative_to(root).as_posix()
every_page = pytest.mark.parametrize('page', PAGES, ids=name)
every_lesson = pytest.mark.parametrize('page', LESSONS, ids=name)

@cache
def read(page): return json.loads(page.read_text(encoding='utf8'))['cells']
def cells(page, kind=None): return [c for c in read(page) if kind in (None, c['cell_type'])]
def source(c): return ''.join(c['source'])
def flags(c): return {m[1].strip() for m in re.finditer(r'^#\|\s*([^:\n]+)', source(c), flags=re.M)}
def prose(page): return '\n\n'.join(source(c) for c in cells(page, 'markdown'))

def test_in_step(tmp_path):
    "All is in step; and if something were not, it would be named"
    copy = check.copy_tree(tmp_path/'copy')
    for f,old,new in [('dl_denoise/noise.py', 'import math', 'import cmath'), ('README.md', '# ', '## '),
                      ('nbs/index.ipynb', '"metadata": {}', '"metadata": {"scrolled": true}')]:
        text = (copy/f).read_text(encoding='utf8')
        assert old in text
        (copy/f).write_text(text.replace(old, new, 1), encoding='utf8')
    (copy/'dl_denoise'/'old.py').write_text(f'# {check.GENERATED}')
    assert check.out_of_step(copy) == ['README.md: differs from nbs/index.ipynb',
                                       'dl_denoise/noise.py: differs from its notebook',
                                       'dl_denoise/old.py: no notebook makes it',
                                       'nbs/index.ipynb: is not clean, or its badge is old'], 'run make check'

def test_readme_and_index():
    assert (root/'README.md').read_text(encoding='utf8') == readme.readme()

@pytest.mark.parametrize('md,expected', [
    ('[Noise](01_measure/01_noise.ipynb#clip)', '[Noise](nbs/01_measure/01_noise.ipynb#clip)'),
    ('![four rows](images/demo1.png){width=80%}', '![four rows](nbs/images/demo1.png)'),
    ('[licence](../LICENSE), [out](https://example.org), [here](#two-commands)',
     '[licence](LICENSE), [out](https://example.org), [here](#two-commands)')])
def test_readme_links(md, expected): assert readme._markdown(md) == expected

def test_readme_cells(tmp_path):
    code = lambda src, *outputs: dict(cell_type='code', source=src, outputs=list(outputs))
    nb = dict(cells=[dict(cell_type='raw', source='---\ntitle: x\n---'),
                     dict(cell_type='markdown', source='# T'), code('#| hide\nimport this'),
                     code('1+1', dict(data={'text/plain': '2'})),
                     code('#| echo: false\ntable()',
                          dict(data={'text/plain': 'no', 'text/markdown': '| a |'}))])
    (tmp_path/'i.ipynb').write_text(json.dumps(nb))
    assert readme.readme(tmp_path/'i.ipynb').split('\n\n')[1:] == ['# T', '```python\n1+1\n```',
                                                                   '```\n2\n```', '| a |\n']

# ---- every page

@every_page
def test_title(page):
    first = cells(page)[0]
    assert first['cell_type'] == 'markdown' and re.fullmatch(r'# \S[^\n]*\n+> \S[^\n]*\n*', source(first)), \
        'the first cell is to be "# Title", an empty line, "> one line"; the site drops the rest'
    assert sum(bool(re.match(r'# ', o)) for c in cells(page, 'markdown')
               for o in re.sub(r'```.*?```', '', source(c), flags=re.S).splitlines()) == 1, \
        'more than one H1'

@every_lesson
def test_badge(page): assert page.read_text(encoding='utf8') == badges.with_badge(page), 'run make prepare'

def test_badge_follows_settings(monkeypatch):
    was = dict(badges.settings())
    monkeypatch.setattr(badges, 'settings',
                        lambda: {**was, 'user': 'someone', 'git_url': 'https://example.org/x'})
    text = badges.with_badge(LESSONS[0])
    assert '/github/someone/' in text and 'git+https://example.org/x@' in text
    assert f"/github/{was['user']}/" not in text.split('colab-install')[0]

def without_images(output):
    data = {k: v for k,v in output.get('data', {}).items() if not k.startswith('image/')}
    return {**output, 'data': data}

@every_page
def test_outputs(page):
    for c in cells(page, 'code'):
        assert not [o for o in c['outputs'] if o['output_type'] == 'error'], \
            f'an error is stored:\n{source(c)}'
        assert not [o for o in c['outputs'] if o.get('name') == 'stderr'], \
            f'a warning is stored:\n{source(c)}'
        assert not re.search(PATHS, json.dumps([without_images(o) for o in c['outputs']])), \
            f"a path of somebody's machine is stored:\n{source(c)}"
        if source(c).startswith(('!', '%')) or {'hide', 'eval', 'slow', 'cuda'} & flags(c): continue
        body = ast.parse(re.sub(r'^[%!].*', '', source(c), flags=re.M)).body
        last = body[-1] if body and not source(c).rstrip().endswith(';') else None
        if isinstance(last, ast.Expr) and not isinstance(last.value, (ast.Call, ast.Await)):
            assert c['outputs'], \
                f'this cell ends in a value, but no output is stored; run the notebook:\n{source(c)}'

@every_page
def test_figures(page):
    for c in cells(page, 'code'):
        image = any(k.startswith('image/') for o in c['outputs'] for k in o.get('data', {}))
        if image:
            assert re.search(r'^#\|\s*fig-alt:\s*"?\S.{15,}', source(c), flags=re.M), \
                f'a figure without a description (#| fig-alt: "..."):\n{source(c)[:300]}'
        if 'fig-alt' in flags(c) and not 'hide' in flags(c):
            assert image or c['outputs'], \
                f'the figure is not stored; run the notebook:\n{source(c)[:300]}'
    for alt, target in re.findall(r'!\[([^\]]*)\]\(([^)]*)\)', prose(page)):
        assert len(alt) > 5, f'{target} has no description'

@every_page
def test_small(page): assert page.stat().st_size < 1.5e6

@every_page
def test_imports_alone(page):
    """The build of the site runs every cell that imports something, and only those:
    they must not hold anything else"""
    for c in cells(page, 'code'):
        if {'export', 'exports', 'eval'} & flags(c): continue
        nodes = [o for top in ast.parse(re.sub(r'^[%!].*', '', source(c), flags=re.M)).body
                 for o in ast.walk(top)]
        if any(isinstance(o, (ast.Import, ast.ImportFrom)) for o in nodes):
            assert not any(isinstance(o, (ast.Expr, ast.Assign)) for o in nodes), \
                f'put the imports into a cell of their own:\n{source(c)}'

# ---- links

def slug(heading):
    "The anchor that Pandoc gives to a heading"
    s = re.sub(r'\[([^\]]*)\]\([^)]*\)|[`*_]', r'\1', heading).lower()
    return re.sub(r'^[^a-z]+', '', re.sub(r'\s+', '-', re.sub(r'[^\w\s.-]', '', s).strip()))

def anchors(page):
    text = prose(page) if page.suffix == '.ipynb' else page.read_text(encoding='utf8')
    return {slug(re.sub(r'\s*\{.*\}$', '', h))
            for h in re.findall(r'^#+\s+(.*)$', text, flags=re.M)} | set(re.findall(r'\{#([\w-]+)', text))

@pytest.mark.parametrize('page', [*PAGES, root/'README.md'], ids=name)
def test_links(page):
    text = prose(page) if page.suffix == '.ipynb' else page.read_text(encoding='utf8')
    text = re.sub(r'```.*?```|`[^`\n]*`', '', text, flags=re.S)
    for target in re.findall(r'\]\(([^)\s]+)', text) + re.findall(r'(?:src|href)="([^"]+)"', text):
        if re.match(r'(https?|mailto):', target): continue
        path, _, anchor = target.partition('#')
        to = (page.parent/path).resolve() if path else page
        assert to.exists(), f'{target} leads nowhere'
        if anchor and to.suffix in ('.ipynb', '.md'):
            assert anchor in anchors(to), f'{target}: no such heading; there are {sorted(anchors(to))}'

# ---- the code

@every_lesson
def test_short_cells(page):
    for c in cells(page, 'code'):
        if {'export', 'exports'} & flags(c):
            assert len(source(c).strip().splitlines()) <= 45, \
                f'{len(source(c).splitlines())} lines in one cell:\n{source(c)[:200]}'

@pytest.mark.parametrize('module', MODULES, ids=name)
def test_documented(module):
    body = ast.parse(module.read_text(encoding='utf8')).body
    public = next((ast.literal_eval(o.value) for o in body if isinstance(o, ast.Assign)
                   and o.targets[0].id == '__all__'), []) if body else []
    for o in body:
        if isinstance(o, (ast.FunctionDef, ast.ClassDef)) and o.name in public:
            assert ast.get_docstring(o), f'{o.name} has no docstring'

def test_version():
    import dl_denoise
    assert dl_denoise.__version__ == badges.settings()['version'] == version('dl_denoise')

def test_all():
    space = {}
    exec('from dl_denoise.all import *', space)
    public = [m for m in MODULES if m.stem not in ('__init__', '__main__', '_modidx', 'all', 'cli', 'server',
                                                   'export', 'widgets')]
    for m in public:
        there = importlib.import_module('.'.join(m.relative_to(root).with_suffix('').parts)).__all__
        assert not {*there} - {*space}, f'dl_denoise.all lacks names of {name(m)}'

def test_no_paths_of_a_machine():
    files = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
                           cwd=root, capture_output=True, text=True).stdout.split('\0')
    for f in filter(None, files):
        p = root/f
        if p.suffix in ('.py', '.ipynb', '.md', '.yml', '.json', '.ini',
                        '') and p.is_file() and p != Path(__file__):
            assert not re.search(PATHS, p.read_text(encoding='utf8', errors='ignore')), \
                f'{f} names a path of one machine'
