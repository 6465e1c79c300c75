"""Run the pages that show records of the ledger again, top to bottom, and store what they show.
Words after the command name other pages: those whose code has one of them"""
import os, re, sys
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbdev.clean import nbdev_clean
import badges

SHOWS = 'load_records('
LEFT_OUT = re.compile(r'^#\|\s*(slow|cuda|eval:\s*false)', flags=re.M)

def code_cells(nb): return [c for c in nb.cells if c.cell_type == 'code']

def pages_with(words):
    "The pages whose code has one of these words"
    def code(page): return '\n'.join(c.source for c in code_cells(nbformat.read(page, 4)))
    return [p for p in badges.pages() if any(w in code(p) for w in words)]

def run(page):
    "Run one page as the site shows it and store its outputs; cells that are left out keep theirs"
    nb = nbformat.read(page, 4)
    cells = [c for c in code_cells(nb) if not LEFT_OUT.search(c.source)]
    work = nbformat.v4.new_notebook(cells=cells, metadata=nb.metadata)
    NotebookClient(work, timeout=1800, kernel_name='python3',
                   resources=dict(metadata=dict(path=str(page.parent)))).execute()
    nbformat.write(nb, page)
    nbdev_clean(str(page))

def main(words):
    os.environ |= dict(DL_DENOISE_SAVE_OUTPUTS='1', MPLBACKEND='module://matplotlib_inline.backend_inline')
    failed = []
    for page in pages_with(words):
        name = page.relative_to(badges.root)
        print(name, flush=True)
        try: run(page)
        except CellExecutionError as e:
            print(str(e)[-2000:], file=sys.stderr)
            failed.append(str(name))
    if failed: sys.exit(f"These pages did not run, and were left as they were: {', '.join(failed)}")

if __name__ == '__main__': main(sys.argv[1:] or [SHOWS])
