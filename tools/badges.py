"""Put a Colab badge and an install cell under the title of every page, their addresses from
settings.ini; and mark folded cells for Jupyter and Colab"""
import argparse, json, re, sys
from configparser import ConfigParser
from pathlib import Path

root = Path(__file__).resolve().parent.parent
IDS = 'colab-badge', 'colab-install'
# how Colab and JupyterLab write what the site calls code-fold
FOLDED = dict(cellView='form', jupyter=dict(source_hidden=True))

def settings():
    "What settings.ini says"
    cfg = ConfigParser(delimiters=['='])
    cfg.read(root/'settings.ini', encoding='utf8')
    return cfg['DEFAULT']

def pages(folder=None):
    "All notebooks that are pages, in order"
    nbs = Path(folder or root/'nbs')
    return sorted(p for p in nbs.rglob('*.ipynb')
                  if not any(o.startswith(('.', '_')) for o in p.relative_to(nbs).parts))

def colab_cells(path):
    "The two cells of one page: the badge, and the installation, which does nothing except on Colab"
    cfg = settings()
    page = path.relative_to(root).as_posix()
    # in HTML, since on the site a linked picture that stands alone in Markdown opens itself
    badge = (f"<a href=\"https://colab.research.google.com/github/{cfg['user']}/{cfg['repo']}/blob/"
             f"{cfg['branch']}/{page}\"><img alt=\"Open in Colab\" "
             'src="https://colab.research.google.com/assets/colab-badge.svg"></a>')
    package = f"{cfg['lib_name']}[app,onnx] @ git+{cfg['git_url']}@{cfg['branch']}"
    install = ['#| hide\n', '#| eval: false\n',
               f'! [ -e /content ] && pip install -q "{package}"  # on Colab only']
    return [dict(cell_type='markdown', id=IDS[0], metadata={}, source=[badge]),
            dict(cell_type='code', execution_count=None, id=IDS[1], metadata={}, outputs=[], source=install)]

def with_badge(path):
    "The text that the notebook at `path` should have"
    nb = json.loads(path.read_text(encoding='utf8'))
    cells = [c for c in nb['cells'] if c.get('id') not in IDS]
    title = next(i for i,c in enumerate(cells) if c['cell_type'] == 'markdown'
                 and ''.join(c['source']).startswith('# '))
    for c in cells:
        if c['cell_type'] == 'code':
            c['metadata'] = FOLDED if re.search(r'^#\| code-fold: true', ''.join(c['source']),
                                                flags=re.M) else {}
    nb['cells'] = cells[:title+1] + colab_cells(path) + cells[title+1:]
    return json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + '\n'

def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('files', nargs='*', type=Path, help='notebooks; by default all pages')
    p.add_argument('--check', action='store_true',
                   help='change nothing; say what would change and leave with 1')
    args = p.parse_args()
    wrong = []
    for f in [o.resolve() for o in args.files] or pages():
        if f.parent == root/'nbs': continue         # the front page
        text = with_badge(f)
        if text == f.read_text(encoding='utf8'): continue
        wrong.append(f.relative_to(root))
        if not args.check: f.write_text(text, encoding='utf8')
    for f in wrong: print(f"{f}: badge {'is missing or old; run make prepare' if args.check else 'written'}")
    return 1 if wrong and args.check else 0

if __name__ == '__main__': sys.exit(main())
