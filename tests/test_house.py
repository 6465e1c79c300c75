"""The house: notebooks and modules have one name and one place, imports point downwards, no line is
too long to read"""
import ast, json, re
from graphlib import TopologicalSorter
from pathlib import Path
import pytest
import badges
from conftest import root

# From below: a module may import its own room and what stands under it, never what stands above
FLOORS = [
    ['core'],
    ['noise', 'camera', 'metrics', 'plot', 'ledger', 'ranges'],
    ['data'],
    ['models', 'classical'],
    ['learner'],
    ['noisy'],
    ['pictures'],
    ['restoring'],
    ['experiments'],
    ['apps'],
    ['all']]
ROOMS = {       # a part of the site -> the rooms that its pages may make; '' is the top of the package
    '01_measure': {''}, '02_clean': {'', 'models', 'experiments'}, '03_noisy': {'noisy', 'experiments'},
    '04_pictures': {'pictures', 'experiments'}, '06_play': {'apps'},
    '05_restoring': {'restoring', 'experiments'}, '07_ledger': {'', 'experiments'}}
LONGEST = 110

MODULES = {'.'.join(p.relative_to(root/'dl_denoise').with_suffix('').parts): p
           for p in sorted(root.glob('dl_denoise/**/*.py')) if not p.stem.startswith('_')}
floor_of = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}

def imports(name):
    "The modules of this package that a module imports, at its top or inside a function"
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding='utf8'))):
        if isinstance(node, ast.Import): named = [o.name for o in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ['dl_denoise', *name.split('.')][:-node.level] if node.level else []
            source = '.'.join([*package, *([node.module] if node.module else [])])
            named = [source, *(f'{source}.{o.name}' for o in node.names)]
        else: continue
        found |= {o.removeprefix('dl_denoise.') for o in named if o.startswith('dl_denoise.')}
    return found & {*MODULES}

def test_every_module_has_a_floor():
    assert {m.split('.')[0] for m in MODULES} == {*floor_of}

def test_no_circle():
    [*TopologicalSorter({m: imports(m) for m in MODULES}).static_order()]      # raises CycleError

@pytest.mark.parametrize('module', MODULES)
def test_imports_point_down(module):
    here = floor_of[module.split('.')[0]]
    up = [o for o in imports(module) if floor_of[o.split('.')[0]] > here]
    assert not up, f'{module} stands below {", ".join(up)}; what both need belongs further down'

def made_by(page):
    "The module that a page makes, as its `default_exp` cell says"
    cells = json.loads(page.read_text(encoding='utf8'))['cells']
    asked = [re.match(r'#\| default_exp (\S+)\n# (\S.*)', ''.join(c['source'])) for c in cells]
    return next((m.groups() for m in asked if m), None)

@pytest.mark.parametrize('page', badges.pages(), ids=lambda p: p.stem)
def test_one_name_one_place(page):
    made = made_by(page)
    if made is None: return
    room, _, name = made[0].rpartition('.')
    assert re.sub(r'^\d+_', '', page.stem) == name, f'{page.name} makes {made[0]}'
    assert room in ROOMS[page.parent.name], f'{page.parent.name} makes no modules in {room or "the top"}'

def test_every_module_has_a_page():
    pages = [made_by(p) for p in badges.pages()]
    assert {o[0] for o in pages if o} == {*MODULES}

# ---- lines

def long_lines(text): return [o for o in text.splitlines() if len(o) > LONGEST]

CODE = [p for pattern in ('tests/*.py', 'tools/*.py', 'benchmarks/*.py', 'setup.py')
        for p in sorted(root.glob(pattern))]

@pytest.mark.parametrize('file', CODE, ids=lambda p: p.name)
def test_lines_of_files(file):
    assert not long_lines(file.read_text(encoding='utf8'))

@pytest.mark.parametrize('page', badges.pages(), ids=lambda p: p.stem)
def test_lines_of_pages(page):
    cells = json.loads(page.read_text(encoding='utf8'))['cells']
    code = [''.join(c['source']) for c in cells if c['cell_type'] == 'code' and c['id'] != badges.IDS[1]]
    # a description is prose
    told = [o for o in '\n'.join(code).splitlines() if not o.startswith('#| fig-')]
    assert not long_lines('\n'.join(told))
