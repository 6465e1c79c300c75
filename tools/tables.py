"Run again every page that shows records of the ledger or packaged networks, and store its outputs"
import argparse, json, re, tempfile
from pathlib import Path
import nbformat
from nbclient import NotebookClient
import badges

SHOWS_RECORDS = re.compile(r'\b(load_records|cards|load_denoiser)\(')
LEFT_OUT = re.compile(r'^#\|\s*(eval:\s*false|slow|cuda)\b', flags=re.M)
HIDDEN = re.compile(r'^#\|\s*hide\s*$', flags=re.M)

def pages():
    "The pages with a cell that reads the ledger or a packaged network"
    for page in badges.pages():
        nb = json.loads(page.read_text(encoding='utf8'))
        code = [''.join(c['source']) for c in nb['cells'] if c['cell_type'] == 'code']
        if any(SHOWS_RECORDS.search(o) for o in code): yield page

def outputs(cell):
    "What a page keeps of a cell: no warnings, and nothing of what it hides"
    if HIDDEN.search(cell.source): return []
    return [o for o in cell.outputs if o.get('name') != 'stderr']

def run(page):
    "Run a page from top to bottom in an empty folder; cells that the tests leave out keep their outputs"
    nb = nbformat.read(page, as_version=4)
    runs = [c for c in nb.cells if c.cell_type == 'markdown' or not LEFT_OUT.search(c.source)]
    part = nbformat.v4.new_notebook(cells=runs, metadata=nb.metadata)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(part, timeout=1800, resources=dict(metadata=dict(path=folder))).execute()
    for cell in runs:
        if cell.cell_type == 'code': cell.outputs = outputs(cell)
    nbformat.write(nb, page)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('pages', nargs='*', type=Path, help='notebooks; by default all that show records')
    p.add_argument('--list', action='store_true', help='only say which')
    args = p.parse_args()
    for page in args.pages or pages():
        print(page.resolve().relative_to(badges.root), flush=True)
        if not args.list: run(page)
