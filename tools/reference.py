"""The reference: one page for each room of the package, made from its source when the site is built"""
import ast, json
from functools import cache
from pathlib import Path
import badges, export
from signatures import defined, plain, signature

root = Path(__file__).resolve().parent.parent
TOP = 'foundations'                 # the modules that stand in no room
GIT = '{git_url}/blob/{branch}/'

@cache
def lessons(folder=root):
    "Module -> (page, title): the notebook that makes it"
    found = {}
    for page in sorted((folder/'nbs').rglob('*.ipynb')):
        asked = export.docstring(page)
        first = ''.join(json.loads(page.read_text(encoding='utf8'))['cells'][0]['source'])
        if asked: found[asked[0]] = page.relative_to(folder/'nbs').as_posix(), first.split('\n')[0][2:]
    return found

def source(module, folder=root): return folder/'dl_denoise'/f"{module.replace('.', '/')}.py"

def public(module, folder=root):
    "The functions and classes that a module exports, in the order of its text, each before its methods"
    file = source(module, folder)
    tree = ast.parse(file.read_text(encoding='utf8'))
    exported = next(ast.literal_eval(o.value) for o in tree.body
                    if isinstance(o, ast.Assign) and o.targets[0].id == '__all__')
    def wanted(name, node):
        owner, *method = name.split('.')
        told = not method or (not method[0].startswith('_') and ast.get_docstring(node))
        return owner in exported and told
    names = [n for n, node in defined(file).items() if wanted(n, node)]
    return sorted(names, key=lambda n: names.index(n.split('.')[0]) if n.split('.')[0] in names else 0)

def rooms(folder=root):
    "Room -> its modules that have something to look up, in the order of the course"
    found = {}
    for module in lessons(folder):
        room = module.split('.')[0] if '.' in module else TOP
        if module != 'all' and public(module, folder): found.setdefault(room, []).append(module)
    return found

def address(module, name): return f'{module}.{name}'

def entry(module, name, folder=root):
    "One name: its head as it is written, the first line of its docstring, where it is explained"
    file, (page, _) = source(module, folder), lessons(folder)[module]
    node = defined(file)[name]
    first = plain((ast.get_docstring(node) or '').split('\n\n')[0])
    git = GIT.format(**badges.settings()) + f'{file.relative_to(folder).as_posix()}#L{node.lineno}'
    level = '####' if '.' in name else '###'
    return (f'{level} `{name}` {{#{address(module, name)} .api}}\n\n'
            f'```python\n{signature(file, name)}\n```\n\n{first}\n\n'
            f'[explained](../{page}){{.source}} · [source]({git}){{.source}}\n')

def section(module, folder=root):
    "One module, under its docstring"
    page, title = lessons(folder)[module]
    told = ast.get_docstring(ast.parse(source(module, folder).read_text(encoding='utf8')))
    entries = [entry(module, name, folder) for name in public(module, folder)]
    return (f'## `{module}` {{#{module}}}\n\n{plain(told)}; explained on the page [{title}](../{page}).\n\n'
            + '\n'.join(entries))

def docstring_of(room, folder=root):
    "What a room holds"
    if room == TOP: return 'What all else stands on: noise, data, metrics, the learner, the ledger'
    return ast.get_docstring(ast.parse((folder/'dl_denoise'/room/'__init__.py').read_text(encoding='utf8')))

def page(room, folder=root):
    "The text of one room's page"
    head = json.dumps(f'Reference: {room}'), json.dumps(docstring_of(room, folder))
    return (f'---\ntitle: {head[0]}\ndescription: {head[1]}\ntoc-depth: 3\n---\n\n'
            + '\n'.join(section(module, folder) for module in rooms(folder)[room]))

def write(proc, folder=root):
    "Write the pages of all rooms among the processed ones; returns them, relative to `proc`"
    (proc/'reference').mkdir(exist_ok=True)
    made = []
    for room in rooms(folder):
        made.append(f'reference/{room}.qmd')
        (proc/made[-1]).write_text(page(room, folder), encoding='utf8')
    return made
