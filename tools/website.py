"""The site: processed by nbdev, rendered by Quarto, and checked.
Any warning and any link that leads nowhere is an error"""
import argparse, json, re, shutil, subprocess, sys, tarfile, tempfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
import yaml
from PIL import Image
import badges, export, gallery, reference
from signatures import in_the_sources_words

root = Path(__file__).resolve().parent.parent
SHOWN_CODE = '#| code-fold: show\n#| code-summary: "Exported source"\n'      # nbdev's, for `#| exports`
PAGES_HEADING = '## The pages'
CAPTION = r'^#\|\s*fig-cap:\s*"'
FOLDED = ['#| code-fold: true\n', '#| code-summary: "How this figure is made"\n']

def address():
    "Where the site will be"
    cfg = badges.settings()
    return cfg['doc_host'] + cfg['doc_baseurl'] + '/'

def fold(nb):
    "Fold the code of figures away, where it is longer than four lines and the page does not say otherwise"
    for c in nb['cells']:
        lines = ''.join(c['source']).splitlines(True)
        flags = [o for o in lines if o.startswith('#|')]
        is_figure = any(re.match(r'#\|\s*fig-alt', o)
                        for o in flags) and not any(re.match(r'#\|\s*(code-fold|echo|export)', o)
                                                    for o in flags)
        if c['cell_type'] == 'code' and is_figure and len(lines)-len(flags) > 4: c['source'] = FOLDED + lines
    return nb

def numbered_figures(nb):
    "Captions begin with the figure's number on its page"
    n = 0
    for c in nb['cells']:
        text = ''.join(c['source'])
        if c['cell_type'] != 'code' or not re.search(CAPTION, text, flags=re.M): continue
        n += 1
        c['source'] = re.sub(CAPTION, rf'\g<0>Figure {n}. ', text, flags=re.M).splitlines(True)
    return n

def widths(text):
    "Markdown tables whose dashes say how wide each column is: Pandoc goes by them as soon as a line is long"
    def wider(m):
        rows = [[o.strip() for o in re.split(r'(?<!\\)\|', l.strip())[1:-1]] for l in m[0].splitlines()]
        if len({*map(len, rows)}) != 1 or len(rows) < 2 or not all(re.fullmatch(':?-+:?', o)
                                                                   for o in rows[1]):
            return m[0]
        most = [min(60, max(len(re.sub(r'\]\([^)]*\)|[`*\[]', '', r[i]))
                            for k,r in enumerate(rows) if k != 1)) for i in range(len(rows[0]))]
        rule = [re.sub('-+', '-'*max(3, w), o) for w,o in zip(most, rows[1])]
        return m[0].replace(m[0].splitlines()[1], '| ' + ' | '.join(rule) + ' |', 1)
    return re.sub(r'(?:^[ \t]*\|.*\|[ \t]*$\n?){2,}', wider, text, flags=re.M)

def one_header(html):
    "A data frame whose index has a name without the row that pandas gives to that name"
    named = re.compile(r'<th></th>(.*?)</tr>\s*<tr>\s*<th>([^<]+)</th>(?:\s*<th></th>)+\s*</tr>', flags=re.S)
    return named.sub(r'<th>\2</th>\1</tr>', html)

def unlinked(text):
    "No Markdown links inside code, where nbdev puts them into signatures and Pandoc shows them as they are"
    return re.sub(r'^```.*?^```', lambda m: re.sub(r'\[([^\]\n]*)\]\(https?://[^)\s]*\)', r'\1', m[0]),
                  text, flags=re.S|re.M)

def taught(nb):
    """The names whose code the page shows (`#| exports`); such a cell stands open, and what nbdev puts
    over it to fold it is taken away"""
    names = set()
    for c in nb['cells']:
        text = ''.join(c['source'])
        if SHOWN_CODE not in text: continue
        c['source'] = text.replace(SHOWN_CODE, '').splitlines(True)
        names |= {*re.findall(r'^(?:def|class) (\w+)', text, flags=re.M)}
        patched = re.findall(r'^@patch\b.*\ndef (\w+)\(self:\s*(\w+)', text, flags=re.M)
        names |= {f'{owner}.{method}' for method, owner in patched}
    return names

def shown(output, module, folder, names=()):
    """Make an output fit for the site; false if nothing of it is left to show. Of `names` the code
    follows, so that nothing else needs to be told of them"""
    data = output.get('data')
    if data is None: return True
    if data.pop('application/vnd.jupyter.widget-view+json', None): data.pop('text/plain', None)
    data.pop('application/javascript', None)
    if 'text/html' in data:
        # as Markdown, since for any output in HTML Quarto loads RequireJS and jQuery
        html = one_header(''.join(data.pop('text/html')).strip())
        data['text/markdown'] = f'```{{=html}}\n{html}\n```' if html else ''
    elif 'text/markdown' in data:
        markdown = in_the_sources_words(''.join(data['text/markdown']), module, folder, names)
        data['text/markdown'] = unlinked(widths(markdown))
        data.pop('text/plain', None)
    return any(map(''.join, data.values()))

def anchors(nb):
    "The names that a page explains, as the ends of addresses"
    texts = [''.join(o.get('data', {}).get('text/markdown', '')) for c in nb['cells']
             for o in c.get('outputs', [])]
    return {*re.findall(r'^(?:### .* |\[\])\{#(\S+) \.api\}$', '\n'.join(texts), flags=re.M)}

def one_place_each(nb):
    "nbdev gives a class and a function that differ in case only one address: the first keeps it"
    seen = set()
    def first(m):
        again = m[1] in seen
        seen.add(m[1])
        return '{.api}' if again else m[0]
    for c in nb['cells']:
        for data in (o.get('data', {}) for o in c.get('outputs', [])):
            if 'text/markdown' not in data: continue
            data['text/markdown'] = re.sub(r'\{#(\S+) \.api\}', first, ''.join(data['text/markdown']))

def placed_terms(text):
    "A glossary whose terms, in bold at the beginning of a paragraph, have addresses"
    def placed(m):
        place = re.sub(r'\W+', '-', m[1].lower()).strip('-')
        return f'[{m[0]}]{{#term-{place}}}'
    return re.sub(r'^\*\*([^*\n]+)\*\*', placed, text, flags=re.M)

def numbered(texts):
    "Equations with a number have an address, and `equation (1)` in the text of their page leads to it"
    there = {*re.findall(r'\\tag\{(\w+)\}', '\n'.join(texts))}
    def to(m): return f'[{m[0]}](#eq-{m[2]})' if m[2] in there else m[0]
    for text in texts:
        text = re.sub(r'(?<![\[\w])([Ee]quation) \((\w+)\)(?!\]| of)', to, text)
        yield re.sub(r'\$\$(?=[^$]*\\tag\{(\w+)\}[^$]*\$\$)', r'[]{#eq-\1}$$', text)

def linked(text, there):
    "Text whose links to names lead only to names that have a place; nbdev links others, too"
    def checked(m):
        page, _, name = m[2].partition('#')
        if page not in there or not name or name in there[page]: return m[0]
        return m[1] if m[1].startswith('`') else f'[{m[1]}]({page})'
    return re.sub(r'\[([^\]\n]*)\]\((' + re.escape(address()) + r'[^)\s]*)\)', checked, text)

def process(folder=root):
    "What Quarto is given: nbdev's pages, with the code of figures folded; returns their folder"
    run = ('from nbdev.quarto import refresh_quarto_yml; from nbdev.serve import proc_nbs; '
           'refresh_quarto_yml(); proc_nbs(n_workers=2, force=True)')
    subprocess.run([sys.executable, '-c', run], cwd=folder, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)
    pages = {p: json.loads(p.read_text(encoding='utf8')) for p in (folder/'_proc').rglob('*.ipynb')}
    for p, nb in pages.items():
        fold(nb)
        numbered_figures(nb)
        module, _ = export.docstring(folder/'nbs'/p.relative_to(folder/'_proc')) or (None, None)
        nb['metadata'].pop('widgets', None)
        names = taught(nb)
        for c in nb['cells']:
            c['outputs'] = [o for o in c.get('outputs', []) if shown(o, module, folder, names)]
            if c['cell_type'] == 'markdown':
                c['source'] = widths(''.join(c['source']))
                if 'glossary' in p.stem: c['source'] = placed_terms(c['source'])
                del c['outputs']
        one_place_each(nb)
        words = [c for c in nb['cells'] if c['cell_type'] == 'markdown']
        for c, text in zip(words, numbered([c['source'] for c in words])): c['source'] = text
    there = {f'{address()}{p.relative_to(folder/"_proc").with_name(output_file(nb))}': anchors(nb)
             for p, nb in pages.items()}
    for p, nb in pages.items():
        for c in nb['cells']:
            # Quarto wants a list of lines: it joins what it is given
            if c['cell_type'] == 'markdown': c['source'] = linked(c['source'], there).splitlines(True)
            for data in (o.get('data', {}) for o in c.get('outputs', [])):
                if 'text/markdown' in data: data['text/markdown'] = linked(data['text/markdown'], there)
        p.write_text(json.dumps(nb, ensure_ascii=False), encoding='utf8')
    add_gallery(folder/'_proc')
    add_reference(folder/'_proc', folder)
    return folder/'_proc'

def add_gallery(proc):
    "The front page's list of pages becomes a gallery"
    index = proc/'index.ipynb'
    nb = json.loads(index.read_text(encoding='utf8'))
    list_of_pages = next(c for c in nb['cells'] if ''.join(c['source']).startswith(PAGES_HEADING))
    sections = [(section, [(o, target(proc/o, proc)) for o in pages]) for section, pages in sidebar()]
    text = f'{PAGES_HEADING}\n\n{gallery.gallery(proc, sections)}'
    list_of_pages['source'] = text.splitlines(True)
    index.write_text(json.dumps(nb, ensure_ascii=False), encoding='utf8')

def add_reference(proc, folder):
    "The reference's pages, and their places in the sidebar"
    made = reference.write(proc, folder)
    path = proc/'_quarto.yml'
    config = yaml.safe_load(path.read_text(encoding='utf8'))
    places = [dict(href=p, text=Path(p).stem) for p in made]
    config['website']['sidebar']['contents'].append(dict(section='Reference, room by room', contents=places))
    path.unlink()               # it may be a link to the project's own
    path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding='utf8')

def front_matter(nb): return yaml.safe_load(''.join(nb['cells'][0]['source']).strip().strip('-'))
def output_file(nb): return front_matter(nb)['output-file']
def target(page, proc):
    "Where a processed page will be, from the root of the site"
    return page.relative_to(proc).with_name(head(page)['output-file']).as_posix()

def head(page):
    "Title, description and output file of a processed page"
    return front_matter(json.loads(page.read_text(encoding='utf8')))

def sidebar(folder=root):
    "(section, pages) in the order of the site"
    config = yaml.safe_load((folder/'_quarto.yml').read_text(encoding='utf8'))
    contents = config['website']['sidebar']['contents']
    return [(o['section'], o['contents']) for o in contents if isinstance(o, dict)]

def llms(proc):
    "The text of llms.txt: every page with its description, for programs that read (llmstxt.org)"
    cfg, parts = badges.settings(), []
    for section, pages in sidebar():
        parts.append(f'## {section}\n')
        for p in pages:
            h = head(proc/p)
            target = address() + Path(p).with_name(h['output-file']).as_posix()
            parts.append(f"- [{h['title']}]({target}): {h['description']}")
        parts.append('')
    parts.append('## Reference\n')
    for room in reference.rooms():
        parts.append(f'- [{room}]({address()}reference/{room}.html): {reference.docstring_of(room)}')
    parts.append('')
    top = (f"# {cfg['title']}\n\n> {cfg['description']}\n\n"
           f"Install with `pip install {cfg['lib_name']}`; source: {cfg['git_url']}\n\n")
    return top + '\n'.join(parts)

# ---- links

class Links(HTMLParser):
    "What a page has as anchors, and where it leads"
    def __init__(self, text):
        super().__init__()
        self.ids, self.targets = set(), []
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[k] for k in ('id', 'name') if attrs.get(k)}
        self.targets += [attrs[k] for k in ('href', 'src') if attrs.get(k)]

def broken(folder):
    "One line for each link of the built site that leads nowhere in it"
    folder, wrong = Path(folder).resolve(), []
    @cache
    def page(p): return Links(p.read_text(encoding='utf8'))
    for p in sorted(folder.rglob('*.html')):
        here = address() + p.relative_to(folder).as_posix()
        for target in page(p).targets:
            url = urlsplit(urljoin(here, target))
            if not url.geturl().startswith(address()): continue
            to = folder/unquote(url.geturl()[len(address()):].split('#')[0].split('?')[0])
            if to.is_dir(): to = to/'index.html'
            if not to.exists(): wrong.append(f'{p.relative_to(folder)}: {target} leads nowhere')
            elif url.fragment and to.suffix == '.html' and unquote(url.fragment) not in page(to).ids:
                wrong.append(f'{p.relative_to(folder)}: {target}: no such place on that page')
    return wrong

# ---- what no page may show

LEFT = {'a div of Pandoc': r'^\s*:{3,}', 'bold that is none': r'\*\*\w',
        'TeX': r'\\(frac|sigma|mathbb|operatorname|text)(?![a-z])',
        'an object without a name': r'<function |<factory>|object at 0x', "nbdev's NoneType": r'\bNoneType\b',
        'a path of a machine': r'(?<![\w.])/(home|root|Users)/\w|site-packages[/]',
        'a link that is none': r'\]\((https?:|\.\./)\S+\)'}

class Words(HTMLParser):
    "The text that a page shows, without code, scripts and equations, which are drawn later"
    void = {'area', 'base', 'br', 'col', 'embed', 'hr', 'img', 'input', 'link', 'meta', 'source', 'track',
            'wbr'}
    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.code = [], [], []
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        if tag in self.void: return
        is_math = 'math' in (dict(attrs).get('class') or '').split()
        self.open.append('math' if is_math else tag)
    def handle_endtag(self, tag):
        if tag in self.void or not self.open: return
        self.open.pop()
    def handle_data(self, data):
        if {'math', 'script', 'style', 'head'} & {*self.open}: return
        (self.code if {'pre', 'code'} & {*self.open} else self.text).append(data)

def leftovers(folder):
    "One line for each thing on a page of the built site that was meant for a program, not for a reader"
    wrong = []
    for p in sorted(Path(folder).rglob('*.html')):
        words = Words(p.read_text(encoding='utf8'))
        shown_text, code = '\n'.join(words.text), '\n'.join(words.code)
        for what, pattern in LEFT.items():
            both = what in ('an object without a name', "nbdev's NoneType", 'a path of a machine')
            found = re.search(pattern, shown_text + code if both else shown_text, flags=re.M)
            if found: wrong.append(f'{p.relative_to(folder)}: {what}: {found[0].strip()}')
    return wrong

# ---- what the site brings with it

def npm(package, folder):
    "The files of a package of npm, unpacked into `folder`/package"
    try:
        subprocess.run(['npm', 'pack', '--silent', '--pack-destination', folder, package], check=True,
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as e:
        sys.exit(f"npm could not fetch {package}: {getattr(e, 'stderr', None) or e}")
    with tarfile.open(next(Path(folder).glob('*.tgz'))) as tar: tar.extractall(folder, filter='data')
    return Path(folder)/'package'

def own_math(folder):
    "Let the pages take KaTeX from the site itself; without it equations stay TeX"
    config = yaml.safe_load((root/'_quarto.yml').read_text(encoding='utf8'))
    url = config['format']['html']['html-math-method']['url']
    with tempfile.TemporaryDirectory() as tmp:
        dist = npm(re.search(r'katex@[\d.]+', url)[0], tmp)/'dist'
        own = folder/'site_libs'/'katex'
        shutil.copytree(dist/'fonts', own/'fonts', ignore=shutil.ignore_patterns('*.ttf', '*.woff'))
        for name in ('katex.min.js', 'katex.min.css'): shutil.copyfile(dist/name, own/name)
    for p in folder.rglob('*.html'):
        text = p.read_text(encoding='utf8')
        here = '../'*(len(p.relative_to(folder).parts) - 1)
        # the page for addresses that do not exist is shown at any of them
        if p == folder/'404.html': here = urlsplit(address()).path
        p.write_text(text.replace(url, f'{here}site_libs/katex/'), encoding='utf8')

def light_figures(folder):
    "Figures as WebP without loss; those after a page's first are loaded when they are scrolled to"
    figure = re.compile(r'(<img\b[^>]*?)(src="[^"]*(?:_files/figure-html|images)/[^"]+)\.png"')
    for p in [*folder.rglob('*_files/figure-html/*.png'), *folder.glob('images/*.png')]:
        with Image.open(p) as im: im.save(p.with_suffix('.webp'), lossless=True, method=4)
        if p.parent.name == 'figure-html': p.unlink()       # the others are the site's card elsewhere
    for p in folder.rglob('*.html'):
        text = p.read_text(encoding='utf8')
        first = figure.search(text)
        if not first: continue
        end = first.end()
        lazy = figure.sub(r'\1loading="lazy" \2.png"', text[end:])
        text = figure.sub(r'\1\2.webp"', text[:end] + lazy)
        text = re.sub(r'(_files/figure-html/[^"]+)\.png"', r'\1.webp"', text)
        p.write_text(text, encoding='utf8')

# ---- all of it

def warnings(log):
    "The lines of Quarto's output that tell of something wrong"
    return [o for o in log.splitlines() if re.search(r'\bWARN|unable to resolve|not found', o, flags=re.I)]

def build(out):
    "Build the site into a folder"
    if not shutil.which('quarto'):
        sys.exit('The site is built by Quarto, which is not installed. Get it from '
                 'https://quarto.org/docs/get-started and run make docs again; make check-site checks '
                 'what can be checked without it.')
    proc = process()
    made = proc/badges.settings()['doc_path']
    done = subprocess.run(['quarto', 'render', '--no-cache'], cwd=proc, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    if done.returncode: sys.exit('Quarto could not render the site.')
    own_math(made)
    light_figures(made)
    (made/'llms.txt').write_text(llms(proc), encoding='utf8')
    with tempfile.TemporaryDirectory() as tmp:
        live = [sys.executable, root/'tools'/'live.py', made/'live', '--runtime', f'{tmp}/runtime']
        subprocess.run(live, check=True, stdout=subprocess.DEVNULL)
    wrong = warnings(done.stdout) + broken(made) + leftovers(made)
    if wrong: sys.exit('\n'.join(['The site is not whole:', *wrong]))
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(made, out)
    print(f'The site is in {out}: open {out}/index.html')

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('out', nargs='?', default=root/badges.settings()['doc_path'], type=Path,
                   help='the folder to build into')
    p.add_argument('--links', metavar='FOLDER',
                   help='build nothing; only follow the links of a site that was built')
    args = p.parse_args()
    if not args.links: build(args.out)
    elif wrong := broken(args.links): sys.exit('\n'.join(wrong))
