"""Every paper that is linked has its entry in references.bib, every entry is used, and Pandoc makes
citations of the links"""
import json, re, shutil, subprocess, unicodedata
from pathlib import Path
import pytest

root = Path(__file__).resolve().parent.parent
BIB = root/'nbs'/'references.bib'
SITES = (r'arxiv\.org|doi\.org|proceedings\.mlr\.press|openaccess\.thecvf\.com|openreview\.net|jmlr\.org|'
         r'(?:papers|proceedings)\.n(?:eur)?ips\.cc|ieeexplore\.ieee\.org|link\.springer\.com|dl\.acm\.org')
URL = r'https?://(?:[^\s()<>"\'\]}]|\([^\s()]*\))+'          # brackets in pairs belong to it, as in some DOIs
LINK = rf'\[([^\]]*)\]\(({URL})\)|<a\s[^>]*?href="({URL})"[^>]*>(.*?)</a>'
YEAR = r'(?:1[89]|20)\d\d'
NAME = r"(?:van |von |de )*[A-Z][^\W\d_]+(?:-[^\W\d_]+)*"
AUTHORS = rf'{NAME}(?:, {NAME})*(?:,? and {NAME}| et al\.)?'

def texts():
    "What readers see: pages with their code, modules, and the files beside the README"
    yield from ((p, '\n\n'.join(''.join(c['source'])
                                for c in json.loads(p.read_text(encoding='utf8'))['cells']))
                for p in sorted(root.glob('nbs/**/*.ipynb')) if '.ipynb_checkpoints' not in p.parts)
    yield from ((p, p.read_text(encoding='utf8')) for o in ('dl_denoise/**/*.py', '*.md')
                for p in sorted(root.glob(o)))

def entries():
    "The entries of references.bib, each a dict with its key"
    found = re.findall(r'^@(\w+)\{([^,\s]+),\n(.*?)^\}', BIB.read_text(encoding='utf8'), flags=re.M|re.S)
    return [dict(re.findall(r'^\s*(\w+)\s*=\s*\{(.*)\},?\s*$', body, flags=re.M), type=kind, key=key)
            for kind,key,body in found]

def links():
    return [(p, (text or html or '').replace('\n', ' '), url or href) for p,t in texts()
            for text,url,href,html in re.findall(LINK, t, flags=re.S)]
def family(entry): return [o.split(',')[0].strip('{} ') for o in entry['author'].split(' and ')]

BY_URL = {o.get('url'): o for o in entries()}

def test_entries():
    es = entries()
    assert len(es) == BIB.read_text(encoding='utf8').count('\n@'), \
        'an entry is not of the form that is read here'
    for part in ('key', 'url', 'doi'):
        there = [o[part].lower() for o in es if part in o]
        assert len(there) == len(set(there)), \
            f'{part}: twice {sorted(o for o in there if there.count(o) > 1)}'
    for o in es:
        assert not {'author', 'title', 'year',
                    'url'} - {*o}, f"{o['key']} lacks {({'author', 'title', 'year', 'url'} - {*o})}"
        first = re.sub('[^a-z]', '', unicodedata.normalize('NFKD', family(o)[0]).lower())
        assert re.fullmatch(rf"{first}{o['year']}[a-z]?", o['key']), \
            f"{o['key']}: the key is the first author's name and the year"
        assert re.fullmatch(YEAR, o['year']) and re.fullmatch(URL, o['url'])
        if 'doi.org' in o['url']: assert o['url'] == f"https://doi.org/{o.get('doi')}"

def test_linked_papers_have_entries():
    for p,t in texts():
        for url in re.findall(URL, t):
            if re.match(rf'https?://(?:[\w-]+\.)*(?:{SITES})/', url):
                assert url.rstrip('.,;:*`\\') in BY_URL, \
                    f'{p.relative_to(root)}: {url} has no entry in references.bib, or another address'

def test_entries_are_used():
    used = {url for p,_,url in links() if p.suffix == '.ipynb'}
    assert not {*BY_URL} - used, 'no page links to these'

def test_names_and_years():
    "`[Zhang et al., 2017](...)` has the authors and the year of the entry"
    seen = 0
    for p,text,url in links():
        if url not in BY_URL or not (m := re.fullmatch(rf'(?:({AUTHORS}),? )?\(?({YEAR})[a-z]?\)?', text)):
            continue
        e, seen = BY_URL[url], seen+1
        assert m[2] == e['year'], f"{p.relative_to(root)}: [{text}], but {e['key']} is of {e['year']}"
        if m[1]:
            names = re.split(r', | and | et al\.', m[1])
            want = [family(e)[0], ''] if ' et al.' in m[1] else family(e)
            assert names == want and (' et al.' not in m[1] or len(family(e)) > 2), \
                f"{p.relative_to(root)}: [{text}], but {e['key']} is by {e['author']}"
    assert seen > 20

def test_no_paper_without_its_link():
    for p,t in texts():
        bare = re.sub(LINK, '', t, flags=re.S)
        found = re.search(rf'{NAME}(?: et al\.|,? and {NAME}),? \(?{YEAR}\b', bare)
        assert not found, f"{p.relative_to(root)}: '{found[0]}' without a link to the paper"

def pandoc():
    if there := shutil.which('pandoc'): return there
    try:
        import pypandoc
        return pypandoc.get_pandoc_path()
    except (ImportError, OSError): pytest.skip('Pandoc is not installed')

he15, he16, tobin, rudin = (f'https://{o}'
                            for o in ('arxiv.org/abs/1502.01852', 'arxiv.org/abs/1512.03385',
                                      'doi.org/10.2307/1907382', 'doi.org/10.1016/0167-2789(92)90242-F'))

@pytest.mark.parametrize('md,want', [
    (f'([He et al., 2016]({he16})): a stack', '(He et al. 2016): a stack'),
    (f'Nets ([He et al., 2016]({he16}), equation 4) add', 'Nets (He et al. 2016, equation 4) add'),
    (f'as [He et al. (2015)]({he15}) advise (for ReLUs)', 'as He et al. (2015) advise (for ReLUs)'),
    (f"Tobin's ([1958]({tobin})), made", 'Tobin’s (1958), made'),
    (f'least ([Rudin, Osher and Fatemi, 1992]({rudin})).', '1992).'),
    (f'([He et al., 2015]({he15}); [Tobin, 1958]({tobin})) say', '(He et al. 2015; Tobin 1958) say'),
    (f'A [ResNet]({he16}) is deep', 'A ResNet (He et al. 2016) is deep'),
    (f'<a href="{he15}">He et al. (2015)</a> advise', 'He et al. (2015) advise'),
    ('Other [links](https://example.org/2016) stay', 'Other links stay')])
def test_filter(md, want):
    command = [pandoc(), '--from=markdown', '--lua-filter=nbs/cite.lua', '--citeproc',
               '--bibliography=nbs/references.bib', '--wrap=none', '--to']
    made = lambda to: subprocess.run([*command, to], input=md, capture_output=True, text=True,
                                     encoding='utf8', cwd=root, check=True).stdout
    assert want in made('plain').split('\n')[0]
    if 'example' not in md:
        keys = re.findall(r'href="#(ref-\w+)"', made('html'))
        assert keys and all(f'id="{k}"' in made('html')
                            for k in keys), 'a citation is to lead to the list of references'
