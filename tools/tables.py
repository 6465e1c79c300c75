"Run again every page that shows records of the ledger or packaged networks, and store its outputs"
import argparse, json, os, re, sys
from copy import deepcopy
from pathlib import Path
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
import badges

SHOWS_RECORDS = re.compile(r'\b(load_records|cards|load_denoiser)\(')
LEFT_OUT = re.compile(r'^#\|\s*(eval:\s*false|slow|cuda)\b', flags=re.M)
HIDDEN = re.compile(r'^#\|\s*hide\s*$', flags=re.M)
# figures that stand on a light page and on a dark one
STYLE = 'from dl_denoise import plot\nplot.plt.rcParams.update(plot.PAGE)\ndel plot'
# the whole of what pages shorten in tests, and figures
ENVIRONMENT = dict(DL_DENOISE_SAVE_OUTPUTS='1', MPLBACKEND='module://matplotlib_inline.backend_inline')

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
    "Run a page from top to bottom where it stands; cells that the tests leave out keep their outputs"
    nb = nbformat.read(page, as_version=4)
    runs = [c for c in nb.cells if c.cell_type == 'markdown' or not LEFT_OUT.search(c.source)]
    style = nbformat.v4.new_code_cell(STYLE)
    part = nbformat.v4.new_notebook(cells=[style, *runs], metadata=deepcopy(nb.metadata))
    os.environ |= ENVIRONMENT
    NotebookClient(part, timeout=1800, resources=dict(metadata=dict(path=str(page.parent)))).execute()
    for cell in runs:
        if cell.cell_type == 'code': cell.outputs = outputs(cell)
    nbformat.write(nb, page)

def run_all(todo):
    "Run these pages; one in which a claim no longer holds is left as it was. Returns those"
    failed = []
    for page in todo:
        print(page.resolve().relative_to(badges.root), flush=True)
        try: run(page.resolve())
        except CellExecutionError as e:
            print(str(e)[-2000:], file=sys.stderr)
            failed.append(page.name)
    return failed

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('pages', nargs='*', type=Path, help='notebooks; by default all that show records')
    p.add_argument('--list', action='store_true', help='only say which')
    args = p.parse_args()
    todo = args.pages or pages()
    if args.list: sys.exit(print(*[o.resolve().relative_to(badges.root) for o in todo], sep='\n'))
    if failed := run_all(todo):
        sys.exit(f"These pages say what is no longer so, and were left as they were: {', '.join(failed)}")
