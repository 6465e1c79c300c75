"The three examples of CONTRIBUTING.md, carried out in a copy of the project as they are printed"
import json, os, re, subprocess, sys
from pathlib import Path
import pytest

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root/'tools'))
import check

FENCE = re.compile(r'^```(\w+)\n(.*?)^```', flags=re.S | re.M)

def examples():
    "For each example: (the file that was named last, language, text) for each of its blocks"
    for section in re.split(r'^## (?=Add a |Releasing)',
                            (root/'CONTRIBUTING.md').read_text(encoding='utf8'), flags=re.M):
        if not section.startswith('Add a '): continue
        title, file, blocks, end = section.split('\n')[0], None, [], 0
        for m in FENCE.finditer(section):
            for named in re.findall(r'`(nbs/[\w/]+\.ipynb|_quarto\.yml)`', section[end:m.start()]):
                file = named
            blocks.append((file, m[1], m[2].rstrip('\n')))
            end = m.end()
        yield title, blocks

def cell(kind, text):
    return dict(cell_type=dict(python='code', markdown='markdown')[kind], metadata={}, source=text,
                **(dict(outputs=[], execution_count=None) if kind == 'python' else {}))

def changed(text, diff):
    "`text` with one change; what is to be replaced must be there once"
    old, new = ('\n'.join(l[1:] for l in diff.splitlines() if l[0] in keep) for keep in (' -', ' +'))
    assert text.count(old) == 1, f'CONTRIBUTING.md changes what is not there, or there twice:\n{old}'
    return text.replace(old, new)

def write(path, nb):
    path.write_text(json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + '\n', encoding='utf8')

def carry_out(folder, blocks):
    """Write an example's cells and changes into `folder`; returns its new pages, the cells that test,
    and the commands"""
    pages, tests, commands, waiting = [], {}, [], {}
    for file, kind, text in blocks:
        if kind == 'bash': commands.append(text); continue
        path = folder/file
        if kind != 'diff':
            waiting.setdefault(file, []).append(cell(kind, text))
            if kind == 'python' and not text.startswith('#| export'): tests.setdefault(file, []).append(text)
        elif path.suffix == '.yml':
            path.write_text(changed(path.read_text(encoding='utf8'), text), encoding='utf8')
        else:
            nb = json.loads(path.read_text(encoding='utf8'))
            sources = [''.join(c['source']) for c in nb['cells']]
            old = next(l[1:] for l in text.splitlines() if l[0] in '- ')
            i = next((i for i,s in enumerate(sources) if old in s), None)
            assert i is not None, f'{file} has no cell with\n{old}'
            nb['cells'][i]['source'] = changed(sources[i], text)
            nb['cells'][i:i] = waiting.pop(file, [])
            write(path, nb)
    for file, cells in waiting.items():
        assert not (folder/file).exists(), f'{file} exists; where in it do the cells go?'
        kernel = dict(display_name='python3', language='python', name='python3')
        write(folder/file, dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5))
        pages.append(file); tests.pop(file, None)
    return pages, tests, commands

USE = '''
import json, sys
from pathlib import Path
pages, tests, commands = json.load(open(sys.argv[1]))
import dl_denoise
assert Path(dl_denoise.__file__).is_relative_to(Path.cwd())
from execnb.shell import CaptureShell
# a new page runs, and its outputs are stored
for p in pages: CaptureShell(p).execute(p, p, exc_stop=True)
# new cells of an old page: beside its module and its imports
for p, cells in tests.items():
    sources = [''.join(c['source']) for c in json.load(open(p))['cells'] if c['cell_type'] == 'code']
    from importlib import import_module
    module = next(s.split()[2] for s in sources if s.startswith('#| default_exp'))
    space = {**vars(import_module('dl_denoise.' + module))}
    exec(next(s for s in sources if s.startswith('#| hide\\nimport')), space)
    for c in cells: exec(c, space)
from dl_denoise.apps.server import read_options
from dl_denoise.noise import NOISES, STRENGTHS, make_noise
assert set(NOISES) == set(STRENGTHS)
noise = read_options(dict(noise='even', strength=.3), ['cnn-mnist'])['noise']
print(noise, make_noise('even', .5), sep='\\n')
from dl_denoise.apps.cli import main
for c in commands: assert main(c.split()[1:]) == 0, c
'''

@pytest.fixture(scope='module')
def done(tmp_path_factory):
    "A copy of the project with all three examples, made again, used; and what that printed"
    copy = check.copy_tree(tmp_path_factory.mktemp('contributing')/'copy')
    pages, tests, commands = [], {}, []
    for _, blocks in examples():
        p, t, c = carry_out(copy, blocks)
        pages += p; tests |= t; commands += c
    check.make_again(copy)
    plan = copy.parent/'plan.json'
    plan.write_text(json.dumps([pages, tests, commands]))
    env = {**os.environ, 'PYTHONPATH': str(copy), 'MPLBACKEND': 'agg', 'OMP_NUM_THREADS': '1'}
    used = subprocess.run([sys.executable, '-W', 'ignore', '-c', USE, plan], cwd=copy, env=env,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
    assert used.returncode == 0, used.stdout[-1000:] + used.stderr[-3000:]
    return copy, pages, used.stdout

def test_examples_found():
    assert [t for t,_ in examples()] == ['Add a noise model', 'Add a network', 'Add a page']
    assert all(file for _, blocks in examples() for file, _, _ in blocks)

@pytest.mark.parametrize('file', ['CONTRIBUTING.md', 'CHANGELOG.md'])
def test_links(file):
    text = re.sub(r'```.*?```|`[^`\n]*`', '', (root/file).read_text(encoding='utf8'), flags=re.S)
    for target in re.findall(r'\]\(([^)\s#]+)', text):
        assert target.startswith('https://') or (root/target).exists(), f'{target} leads nowhere'

def test_commands():
    "Every make target that is named exists"
    targets = re.search(r'^\.PHONY: (.*)', (root/'Makefile').read_text(encoding='utf8'),
                        flags=re.M)[1].split()
    assert not {*re.findall(r'\bmake ([a-z-]+)(?=`|  )',
                            (root/'CONTRIBUTING.md').read_text(encoding='utf8'))} - {*targets}

def test_use(done):
    "The noise has its name, Demo 1 on the command line trains the network"
    copy, pages, out = done
    assert pages == ['nbs/02_clean/09_dilated.ipynb', 'nbs/01_measure/07_average.ipynb']
    assert out.startswith('EvenNoise(width=0.3)\nEvenNoise(width=0.5)\n'), out[-2000:]
    assert re.search(r'^Dilated +0\.\d+', out, flags=re.M), out[-2000:]
    assert (copy/'demo1'/'weights'/'dilated-digits.safetensors').exists()

def test_frame(done):
    "What tests/test_frame.py asks of every page holds for the new ones, and the sidebar has them"
    copy, pages, _ = done
    wanted = ' or '.join(['test_sidebar', 'test_all', 'test_readme_and_index', 'dilated',
                          *(Path(p).stem for p in pages), '01_noise'])
    ran = subprocess.run([sys.executable, '-m', 'pytest', '-q', 'tests/test_frame.py', '-k', wanted],
                         cwd=copy, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ran.returncode == 0, ran.stdout[-4000:]
    n = int(re.search(r'(\d+) passed', ran.stdout)[1])
    assert n >= 35, ran.stdout
